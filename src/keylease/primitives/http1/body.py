"""Where a body ends (RFC 9112 sections 6 and 7): one reader per framing, both directions.

Each has ``feed(data)``, which gives the pieces of the body in ``data``, then ``done`` and ``rest``,
the bytes behind the end. A reader is asked no more once it is done.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from keylease.primitives.http1.grammar import STRAY_BYTE, TOKEN, TRAILERS

MAXIMUM_CHUNK_LINE: Final = 256
"""Bytes; RFC 9112 section 7.1.1 asks recipients to bound chunk extensions, which we drop."""
MAXIMUM_TRAILERS: Final = 4 * 1024

_SIZE_LINE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3
"""What a chunked body goes on with."""
_EXTENSIONS: Final = (
    rb"(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb'|"[\t\x20\x21\x23-\x5b\x5d-\x7e]*+"))?)*'
)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?![0-9A-Fa-f])" + _EXTENSIONS + rb"\r\n")
_DIGIT: Final = bytes(
    b"0123456789abcdef".find(bytes((code,)).lower()) & 0xFF for code in range(256)
)
"""For each byte, its value as a hexadecimal digit, or ``_NO_DIGIT``."""
_NO_DIGIT: Final = 0xFF
_DIGITS_AT_MOST: Final = 8
_CHUNK_LINE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,8}(?:;[\t\x20-\x7e]*+)?\r?")


class FramingInvalid(ValueError):
    """A body does not follow its framing; the text says how and may be shown to the peer."""


class BodyReader(Protocol):
    """Finds the end of one body."""

    __slots__ = ()

    done: bool
    rest: bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in ``data``; raises ``FramingInvalid``."""
        ...


class FixedBody(BodyReader):
    """A body of ``Content-Length`` bytes."""

    __slots__ = ("done", "left", "rest")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """At most one piece."""
        self.left -= len(data)
        if self.left > 0:
            return [data]
        self.done = True
        if self.left == 0:
            return [data]
        self.rest = data[self.left :]
        return [data[: self.left]]


class BodyUntilEnd(BodyReader):
    """The body of an answer that ends with its connection (RFC 9112 section 6.3 rule 8)."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """All of it."""
        return [data]


class ChunkedBody(BodyReader):
    """The chunked coding (RFC 9112 section 7.1). Extensions and trailers are checked and dropped.

    A chunk that arrived in one read is one piece; a chunk that arrives in several is passed on as
    it comes, never held back.
    """

    __slots__ = ("_held", "_left", "_step", "begun", "done", "rest")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._step = _SIZE_LINE
        self.begun = False
        """A first chunk line was valid."""
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """One piece per chunk, or per part of one."""
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while position < size and not self.done:
            following = self._take(data, position, pieces)
            if following < 0:
                self._held = data[position:]
                break
            position = following
        if self.done:
            self.rest = data[position:]
        return pieces

    def _take(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """The position behind what the next step took, or -1 when it needs more bytes."""
        step = self._step
        if step == _SIZE_LINE:
            return self._size_line(data, position)
        if step == _DATA:
            return self._data(data, position, pieces)
        if step == _DATA_END:
            return self._data_end(data, position)
        return self._trailers(data, position)

    def _size_line(self, data: bytes, position: int) -> int:
        # Nearly every line is a number and nothing else; what is not is left to the pattern.
        size = 0
        end = position
        last = min(position + _DIGITS_AT_MOST, len(data))
        while end < last:
            digit = _DIGIT[data[end]]
            if digit == _NO_DIGIT:
                break
            size = size << 4 | digit
            end += 1
        if end > position and data[end : end + 2] == b"\r\n":
            return self._begin_chunk(size, end + 2)
        line = _CHUNK_LINE.match(data, position, position + MAXIMUM_CHUNK_LINE)
        if line is None:
            begun = _CHUNK_LINE_BEGUN.fullmatch(data, position)
            if begun is None or len(data) - position >= MAXIMUM_CHUNK_LINE:
                raise FramingInvalid("A chunk does not begin with a valid size line.")
            return -1
        return self._begin_chunk(int(line[1], 16), line.end())

    def _begin_chunk(self, size: int, position: int) -> int:
        self.begun = True
        self._left = size
        self._step = _DATA if size else _TRAILERS
        return position

    def _data(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        end = position + self._left
        if end > len(data):
            self._left = end - len(data)
            pieces.append(data[position:])
            return len(data)
        self._left = 0
        pieces.append(data[position:end])
        self._step = _DATA_END
        return end

    def _data_end(self, data: bytes, position: int) -> int:
        end = data[position : position + 2]
        if end == b"\r\n":
            self._step = _SIZE_LINE
            return position + 2
        if end == b"\r":
            return -1
        raise FramingInvalid("A chunk is longer than its size line says.")

    def _trailers(self, data: bytes, position: int) -> int:
        """Trailer fields are dropped: nothing may change its meaning after it was checked."""
        if data[position : position + 2] == b"\r\n":  # there are none
            self.done = True
            return position + 2
        section = TRAILERS.match(data, position)
        if section is not None and section.end() - position <= MAXIMUM_TRAILERS:
            self.done = True
            return section.end()
        if (
            STRAY_BYTE.search(data, position)
            or b"\r\n\r\n" in data[position:]
            or len(data) - position > MAXIMUM_TRAILERS
        ):
            raise FramingInvalid("The trailer section is not valid.")
        return -1
