"""The keys above a line of YAML, told from indentation alone.

A YAML parser gives up on templates (Helm), on damaged files and on half a file; where something
stands can be told without one. Flow style on one line is treated as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_LINE: Final = re.compile(
    rb"""^(?P<indent>[ ]*)(?P<dashes>(?:-[ ]+)*)
         (?P<key>"[^"\n]{1,200}"|'[^'\n]{1,200}'
               |[^\s#'"{\[&*!|>%@`-][^:\n]{0,200}?|-[^ :\n][^:\n]{0,200}?)
         [ ]*:(?=[ \r\n]|\Z)[ ]*(?P<value>[^\n]*)""",
    re.VERBOSE | re.MULTILINE,
)
_DOCUMENT: Final = re.compile(rb"^---(?:[ \r\n]|\Z)", re.MULTILINE)


class Key(NamedTuple):
    """A line ``key: value``."""

    name: str
    value: str
    """The rest of the line, without quotes and comments."""
    indent: int
    """The column of the key; a key after ``- `` counts from behind the dash."""
    item: bool
    """It begins an item of a list."""
    start: int
    """Offset of the line."""
    value_start: int


class Outline:
    """The keys of a YAML text, in order."""

    def __init__(self, data: bytes) -> None:
        self.keys = tuple(_keys(data))
        self._starts = [match.start() for match in _DOCUMENT.finditer(data)]

    def path(self, offset: int) -> tuple[Key, ...]:
        """The keys in which ``offset`` lies, outermost first."""
        document = self.document_start(offset)
        found: list[Key] = []
        limit = 1 << 30
        for key in reversed(self.keys):
            if key.start > offset:
                continue
            if key.start < document:
                break
            if key.indent < limit:
                found.append(key)
                limit = key.indent
            if limit == 0:
                break
        return tuple(reversed(found))

    def document_start(self, offset: int) -> int:
        """Where the document of a stream (``---``) begins in which ``offset`` lies."""
        return max((start for start in self._starts if start <= offset), default=0)

    def document(self, offset: int) -> Iterator[Key]:
        """The keys of that document."""
        start = self.document_start(offset)
        end = min((other for other in self._starts if other > max(offset, start)), default=1 << 62)
        return (key for key in self.keys if start <= key.start < end)

    def value(self, offset: int, *path: str) -> str:
        """The value at a path of keys from the document's top, or nothing."""
        depth: list[Key] = []
        for key in self.document(offset):
            while depth and depth[-1].indent >= key.indent:
                depth.pop()
            depth.append(key)
            if tuple(entry.name for entry in depth) == path:
                return key.value
        return ""

    def siblings(self, key: Key) -> Iterator[Key]:
        """The keys of the same mapping, in a list the same item, ``key`` included."""
        at = self.keys.index(key)
        first = at
        while not self.keys[first].item and first > 0:
            before = self.keys[first - 1]
            if before.indent < key.indent:
                break
            first -= 1
        for other in self.keys[first:]:
            if other.start > key.start and (
                other.indent < key.indent or (other.item and other.indent == key.indent)
            ):
                return
            if other.indent == key.indent:
                yield other


def _keys(data: bytes) -> Iterator[Key]:
    for match in _LINE.finditer(data):
        dashes = match["dashes"]
        yield Key(
            name=match["key"].strip(b"\"' ").decode("utf-8", errors="replace"),
            value=_plain(match["value"]),
            indent=len(match["indent"]) + len(dashes),
            item=bool(dashes),
            start=match.start(),
            value_start=match.start("value"),
        )


def _plain(value: bytes) -> str:
    text = value.decode("utf-8", errors="replace").strip()
    if text[:1] in {'"', "'"}:
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return text.split(" #", 1)[0].strip()
