"""Picks a few members out of a JSON object of any length while it passes.

Used where a body is too long to be held. It follows strings and nesting only; a text that is no
JSON gives members that cannot be decoded, or none, and never an error. A member that occurs twice
counts as the last one, as with every decoder.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

MAXIMUM_MEMBER: Final = 16 * 1024
"""Bytes of one member's value that are kept; a longer one is dropped."""
_MAXIMUM_KEY: Final = 128
_STRUCTURE: Final = re.compile(rb'["{}\[\],:]')
_NESTING: Final = re.compile(rb'["{}\[\]]')

Member = tuple[str, ...]


class JsonMembers:
    """Collects the raw values of ``wanted`` members: of the object, or of an object in it."""

    def __init__(self, wanted: Collection[Member]) -> None:
        """``wanted`` holds paths of one or two names."""
        self.found: dict[Member, bytes] = {}
        self._wanted = frozenset(wanted)
        self._parents = frozenset(path[0] for path in wanted if len(path) > 1)
        self._depth = 0
        self._path: list[str] = []
        """The keys that lead to here, down to the depth that is followed."""
        self._in_string = False
        self._escaped = False
        self._text: bytearray | None = None
        """The string being read, where it may be a key."""
        self._key: str | None = None
        self._value: bytearray | None = None
        """The wanted value being read."""
        self._value_depth = 0
        self._expect_key = False
        self._done = False
        """The object has ended, or there never was one."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        position = 0
        while position < len(chunk) and not self._done:
            position = (
                self._inside_string(chunk, position)
                if self._in_string
                else self._outside(chunk, position)
            )

    def _keep(self, data: bytes) -> None:
        if self._value is not None:
            self._value += data
            if len(self._value) > MAXIMUM_MEMBER:
                self._value = None
        if self._text is not None:
            self._text += data
            if len(self._text) > _MAXIMUM_KEY:
                self._text = None

    def _inside_string(self, chunk: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            self._keep(chunk[position : position + 1])
            return position + 1
        # Searches for one byte each are many times faster than one for either of them. Neither
        # byte is searched for twice in the same place.
        begun = position
        quote = chunk.find(b'"', position)
        while (escape := chunk.find(b"\\", position, quote if quote >= 0 else len(chunk))) >= 0:
            position = escape + 2
            if position > len(chunk):
                self._escaped = True
            elif position > quote >= 0:
                quote = chunk.find(b'"', position)
        end = quote + 1 if quote >= 0 else len(chunk)
        if self._value is not None or self._text is not None:
            self._keep(chunk[begun:end])  # a copy, and most strings are none that is wanted
        if quote >= 0:
            self._in_string = False
            if self._text is not None:
                self._key = self._text[:-1].decode("utf-8", "replace")
                self._text = None
        return end

    def _outside(self, chunk: bytes, position: int) -> int:
        followed = self._depth == len(self._path) + 1
        match = (_STRUCTURE if followed else _NESTING).search(chunk, position)
        end = len(chunk) if match is None else match.start()
        if self._value is not None or self._text is not None:
            self._keep(chunk[position:end])
        if match is None:
            return end
        self._structure(match[0], followed=followed)
        return match.end()

    def _structure(self, byte: bytes, *, followed: bool) -> None:
        if byte == b'"':
            self._keep(byte)
            self._in_string = True
            if followed and self._expect_key:
                self._text = bytearray()
        elif byte == b"{":
            self._open(followed=followed, byte=byte, is_object=True)
        elif byte == b"[":
            self._open(followed=followed, byte=byte, is_object=False)
        elif byte in b"}]":
            self._close(byte, followed=followed)
        elif byte == b":":
            self._colon()
        else:
            self._end_value()
            self._expect_key = True

    def _open(self, *, followed: bool, byte: bytes, is_object: bool) -> None:
        if self._depth == 0:
            self._depth = 1
            self._expect_key = is_object
            self._done = not is_object
            return
        self._keep(byte)
        self._depth += 1
        if is_object and followed and len(self._path) == 0 and self._key in self._parents:
            self._path.append(str(self._key))
            self._key = None
            self._expect_key = True

    def _close(self, byte: bytes, *, followed: bool) -> None:
        if followed:
            self._end_value()
            self._expect_key = False
            if self._path:
                self._path.pop()
        else:
            self._keep(byte)
        self._depth -= 1
        self._done = self._depth <= 0

    def _colon(self) -> None:
        if not self._expect_key:
            return
        self._expect_key = False
        if self._key is not None and (*self._path, self._key) in self._wanted:
            self._value = bytearray()
            self._value_depth = self._depth
            self.found.pop((*self._path, self._key), None)

    def _end_value(self) -> None:
        if self._value is not None and self._depth == self._value_depth and self._key is not None:
            self.found[*self._path, self._key] = bytes(self._value)
            self._value = None
        self._key = None
