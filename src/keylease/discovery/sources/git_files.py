"""What people write into git's own files: remotes with a password, stored credentials, hooks."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, text
from keylease.discovery.sources.source import Source

_SECTION: Final = re.compile(rb"^[ \t]*\[([^\]\n]{1,100})\]", re.MULTILINE)


class GitFiles(Source):
    """``.git/config``, ``.gitconfig``, ``.git-credentials``, ``.git/hooks``."""

    kind: ClassVar[PlaceKind] = PlaceKind.GIT_CONFIGURATION
    names: ClassVar[frozenset[str]] = frozenset({".gitconfig", ".git-credentials", ".gitmodules"})

    def context(self, document: Document, offset: int) -> Context:
        """The section, such as ``remote "origin"``."""
        section = document.last(_SECTION, offset)
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            detail=text(section[1]) if section else "",
        )
