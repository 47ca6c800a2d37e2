"""Configuration of package managers: tokens for registries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named, text
from keylease.discovery.sources.source import Source

_REGISTRY: Final = re.compile(
    rb"""(?:https?:)?//(?:[^\s@/'"]{0,200}@)?([A-Za-z0-9.\-]+(?::\d+)?)
       | ^\[([^\]\n]{1,100})\] | machine[ ]+(\S{1,200})""",
    re.MULTILINE | re.VERBOSE,
)
_REFERENCE: Final = re.compile(
    rb"(?:_authToken|password|token)[ \t]*[=:][ \t]*[\"']?\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?"
)


class PackageManagers(Source):
    """npm, yarn, pip, poetry, uv, cargo, gem, Maven, Gradle, Composer, NuGet, and .netrc."""

    kind: ClassVar[PlaceKind] = PlaceKind.PACKAGE_CONFIGURATION
    names: ClassVar[frozenset[str]] = frozenset(
        {
            ".condarc",
            ".netrc",
            ".npmrc",
            ".pypirc",
            ".yarnrc",
            ".yarnrc.yml",
            "_netrc",
            "auth.json",
            "auth.toml",
            "bunfig.toml",
            "credentials.toml",
            "gradle.properties",
            "npmrc",
            "nuget.config",
            "pip.conf",
            "pip.ini",
            "settings-security.xml",
            "settings.xml",
            "uv.toml",
        }
    )
    _elsewhere: ClassVar[dict[str, str]] = {
        "auth.json": "composer",
        "auth.toml": "poetry",
        "credentials.toml": "cargo",
        "settings.xml": ".m2",
    }
    """Names that others use too, and what the path has to say."""

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """Names that others use too need their folder."""
        return self._elsewhere.get(name, "") in path

    def context(self, document: Document, offset: int) -> Context:
        """The registry or host for which the token is."""
        line = _REGISTRY.search(document.line(offset))
        found = line or document.last(_REGISTRY, offset)
        host = text(next(part for part in found.groups() if part)) if found else ""
        return Context(self.kind, document.name_before(offset), detail=host)

    def mentions(self, document: Document) -> Iterator[Named]:
        """Tokens that come from the environment."""
        for match in document.all(_REFERENCE):
            yield Named(text(match[1]), match.start(1), "package manager variable")
