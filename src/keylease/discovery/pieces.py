"""Pieces: what is looked at in one go, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

WINDOW: Final = 8 * 1024 * 1024
"""Bytes of a large file that are looked at together. Decides about the memory of a scan."""
OVERLAP: Final = 256 * 1024
"""Bytes by which windows overlap. A secret of up to half of this, in its encoded form, is found
wherever a border falls; the longest that are known are private keys of about 13 KiB in base64."""


class Piece(NamedTuple):
    """A part of a file, or all of it."""

    data: bytes
    path: str
    """With the way into archives: ``outer.zip!/inner``."""
    first_line: int = 1
    before: int = 0
    """Bytes of the first line that lie before this piece."""
    low: int = 0
    """A match that begins before this place belongs to the piece before."""
    high: int | None = None
    """A match that begins here or after belongs to the next piece; None when there is none."""


class Readable(Protocol):
    """Something that gives bytes until it gives none."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; fewer do not mean the end, none do."""
        ...


def windows(stream: Readable, path: str, beginning: bytes = b"") -> Iterator[Piece]:
    """Cut a stream into overlapping pieces. ``beginning`` was read from it already."""
    data, ended = _fill(stream, beginning)
    first_line, before, low = 1, 0, 0
    while True:
        if ended:
            if data:
                yield Piece(data, path, first_line, before, low)
            return
        step = len(data) - OVERLAP
        yield Piece(data, path, first_line, before, low, step + OVERLAP // 2)
        lines = data.count(b"\n", 0, step)
        before = step - data.rfind(b"\n", 0, step) - 1 if lines else before + step
        first_line += lines
        low = OVERLAP // 2
        data, ended = _fill(stream, data[step:])


def _fill(stream: Readable, data: bytes) -> tuple[bytes, bool]:
    parts, size = [data], len(data)
    while size < WINDOW:
        part = stream.read(WINDOW - size)
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
    return b"".join(parts), False
