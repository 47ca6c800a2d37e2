"""Where in a TOML text its tables, keys and values stand.

``tomllib`` gives values without places. This reads a text that ``tomllib`` has already accepted,
so it needs to know where things begin and end and nothing else; it follows TOML 1.0's grammar for
keys, the four kinds of string, comments, arrays and inline tables, and takes every other value as
the characters up to its delimiter.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

Path = tuple[str | int, ...]
"""Keys and array indexes from the top of the document."""

_BLANK: Final = re.compile(r"[ \t]*")
_BETWEEN: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_STRINGS: Final = (
    ('"""', re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)),
    ('"', re.compile(r'"(?:[^"\\\n]|\\.)*"')),
    ("'", re.compile(r"'[^'\n]*'")),
)
_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


class Position(NamedTuple):
    """Counts from 1."""

    line: int
    column: int


def positions(text: str) -> dict[Path, Position]:
    """Where each table, array, key and array element of a valid document begins.

    A key's place is that of the key, an element's that of its value, a table's that of the first
    header or dotted key that names it. Raises ``RecursionError`` where ``tomllib`` does.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}
        """How many tables each array of tables has so far."""

    def scan(self) -> dict[Path, Position]:
        current: Path = ()
        while True:
            self._skip(_BETWEEN)
            if self._at >= len(self._text):
                break
            if self._text.startswith("[[", self._at):
                current = self._array_header()
            elif self._text[self._at] == "[":
                current = self._table_header()
            else:
                self._key_and_value(current)
        starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        return _to_positions(self._found, starts)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None or self._at > len(self._text):
            raise AssertionError(f"not the text that tomllib accepted, at offset {self._at}")
        self._at = match.end()
        return match[0]

    def _resolve(self, parts: list[tuple[str, int]]) -> Path:
        """A header's path: a name of an array of tables means the last of its tables."""
        path: Path = ()
        for part, offset in parts:
            path = (*path, part)
            self._found.setdefault(path, offset)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _array_header(self) -> Path:
        start = self._at
        self._at += 2
        parts = self._key()
        self._at += 2
        path = (*self._resolve(parts[:-1]), parts[-1][0])
        number = self._counts.get(path, 0)
        self._counts[path] = number + 1
        self._found.setdefault(path, parts[-1][1])
        self._found[*path, number] = start
        return (*path, number)

    def _table_header(self) -> Path:
        start = self._at
        self._at += 1
        parts = self._key()
        self._at += 1
        path = self._resolve(parts)
        self._found[path] = start
        return path

    def _key_and_value(self, table: Path) -> None:
        path = table
        for part, offset in self._key():
            path = (*path, part)
            self._found.setdefault(path, offset)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[tuple[str, int]]:
        """The parts of a dotted key and where they are; ends before what follows the key."""
        parts = []
        while True:
            self._skip(_BLANK)
            start = self._at
            quote = self._text[start]
            if quote == '"':
                raw = self._skip(_STRINGS[2][1])[1:-1]
                parts.append((_unescaped(raw), start))
            elif quote == "'":
                parts.append((self._skip(_STRINGS[3][1])[1:-1], start))
            else:
                parts.append((self._skip(_BARE_KEY), start))
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        for opening, pattern in _STRINGS:
            if self._text.startswith(opening, self._at):
                self._skip(pattern)
                return
        if self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_BETWEEN)
            if self._text[self._at] == "]":
                break
            self._found[*path, number] = self._at
            self._value((*path, number))
            number += 1
            self._skip(_BETWEEN)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BETWEEN)  # TOML 1.1 allows line breaks here
            if self._text[self._at] == "}":
                break
            self._key_and_value(path)
            self._skip(_BETWEEN)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1


def _unescaped(raw: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if code[0] in "uU" else _ESCAPED.get(code, code)

    return _ESCAPE.sub(replace, raw)


def _to_positions(found: dict[Path, int], starts: list[int]) -> dict[Path, Position]:
    result = {}
    line = 0
    for path, offset in sorted(found.items(), key=lambda item: item[1]):
        while line + 1 < len(starts) and starts[line + 1] <= offset:
            line += 1
        result[path] = Position(line + 1, offset - starts[line] + 1)
    return result
