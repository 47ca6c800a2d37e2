"""A text with a place, and how sources tell what stands around an offset in it."""

from __future__ import annotations

import bisect
import re
from typing import Final, NamedTuple

from keylease.contracts.findings import OwnerCandidate, PlaceKind

_ASSIGNED: Final = re.compile(
    rb"""([A-Za-z_][A-Za-z0-9_.\-]{0,127})   # the name
         ["'`\\]*\ {0,4}\]?\ {0,4}          # it may be quoted, or a subscript
         (?::\ {0,4}[A-Za-z_][\w\[\]. |]{0,40}=|:=|=>|=|:)   # annotated, assigned, or a member
         \ {0,4}[A-Za-z_.]{0,40}            # a prefix or a call around the value
         [("'`\\<>\ \[]{0,6}
         (?:Bearer\ |Basic\ |token\ )?\Z""",
    re.VERBOSE,
)
_FLAG: Final = re.compile(rb"--?([A-Za-z][A-Za-z0-9\-]{0,63})[ =]['\"]?\Z")
_BEFORE: Final = 240
"""Bytes before a value in which its name is looked for."""


class Context(NamedTuple):
    """What a source says about a place in a document."""

    kind: PlaceKind
    name: str = ""
    environment: str = ""
    detail: str = ""
    owners: tuple[OwnerCandidate, ...] = ()


class Named(NamedTuple):
    """The name of a secret whose value is kept elsewhere, and where it stands."""

    name: str
    offset: int
    reason: str
    environment: str = ""
    detail: str = ""
    refers_to: str = ""
    """The object that the value is taken from, and its member."""


class Document:
    """A piece's data under the path it has."""

    def __init__(self, data: bytes, path: str, *, whole: bool = True) -> None:
        """``whole`` is False for a window of a larger file."""
        self.whole = whole
        self.data = data
        self.path = path
        self.name = path[path.rfind("/") + 1 :]
        self._found: dict[re.Pattern[bytes], tuple[list[int], list[re.Match[bytes]]]] = {}

    def all(self, pattern: re.Pattern[bytes]) -> list[re.Match[bytes]]:
        """Every match of a pattern; searched for once, however often it is asked for."""
        return self._matches(pattern)[1]

    def before(self, pattern: re.Pattern[bytes], offset: int) -> int:
        """How many matches of a pattern begin before ``offset``."""
        return bisect.bisect_left(self._matches(pattern)[0], offset)

    def last(self, pattern: re.Pattern[bytes], offset: int) -> re.Match[bytes] | None:
        """The last match that begins before ``offset``."""
        count = self.before(pattern, offset)
        return self.all(pattern)[count - 1] if count else None

    def _matches(self, pattern: re.Pattern[bytes]) -> tuple[list[int], list[re.Match[bytes]]]:
        if pattern not in self._found:
            matches = list(pattern.finditer(self.data))
            self._found[pattern] = ([match.start() for match in matches], matches)
        return self._found[pattern]

    def line_start(self, offset: int) -> int:
        """Where the line begins in which ``offset`` lies."""
        return self.data.rfind(b"\n", 0, offset) + 1

    def line(self, offset: int) -> bytes:
        """The line around ``offset``, without its end and at most 4 KiB of it."""
        start = self.line_start(offset)
        end = self.data.find(b"\n", offset, offset + 4096)
        return self.data[start : end if end >= 0 else offset + 4096].rstrip(b"\r")

    def name_before(self, offset: int) -> str:
        """The name that a value at ``offset`` is assigned to on its line, or nothing."""
        start = max(self.line_start(offset), offset - _BEFORE)
        before = self.data[start:offset]
        found = _ASSIGNED.search(before) or _FLAG.search(before)
        return text(found[1]) if found else ""


def text(data: bytes) -> str:
    """Bytes of a document as text; what is no UTF-8 is replaced."""
    return data.decode("utf-8", errors="replace")
