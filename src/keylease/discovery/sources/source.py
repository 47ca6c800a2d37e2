"""What a source is: it knows one family of files, and says what a place in them means.

The scanner finds secrets in any text. A source adds the context: the kind of place, the name that
holds the value, the environment it is for, whose it may be; and it finds names without values. It
works on text that may be damaged or half there, so it never raises for what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, Named
from keylease.discovery.names import environment_of


class Source:
    """One family of files. The base class takes any text as a plain file."""

    kind: ClassVar[PlaceKind] = PlaceKind.FILE
    names: ClassVar[frozenset[str]] = frozenset()
    """File names that are of this family, in lower case."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of file names that may be of this family, in lower case."""
    beginnings: ClassVar[tuple[str, ...]] = ()
    """Beginnings of file names that may be, in lower case."""

    past: ClassVar[bool] = True
    """Whether a name that such a file had once still says something: where a secret was kept."""

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - for those that look
        """Whether a file that may be of this family is. ``path`` and ``name`` in lower case."""
        return True

    def context(self, document: Document, offset: int) -> Context:
        """What stands around a value at ``offset``."""
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(document.path),
        )

    def mentions(self, document: Document) -> Iterator[Named]:  # noqa: ARG002 - as above
        """Names of secrets whose values are kept elsewhere."""
        yield from ()

    def practices(self, document: Document) -> Iterator[Named]:  # noqa: ARG002 - as above
        """Ways in which this place gets credentials without a stored secret."""
        yield from ()

    def damage(self, document: Document) -> str:  # noqa: ARG002 - as above
        """What is wrong with a document of this family, for the report; or nothing."""
        return ""
