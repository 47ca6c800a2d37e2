"""What a file is, told from its first bytes and never from its name."""

from __future__ import annotations

import codecs
from enum import Enum, auto
from typing import Final

from keylease.discovery.pieces import Readable

HEAD: Final = 8 * 1024
"""Bytes that are looked at; as git does, and as many."""
_TAR_AT: Final = 257
_UNSUPPORTED: Final = (
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x04\x22\x4d\x18",  # lz4
)
UNSUPPORTED: Final = "7z, rar and lz4 are not read; unpack it, and scan what was in it."
_SQLITE: Final = b"SQLite format 3\x00"
_MUCH: Final = 0.4
_LITTLE: Final = 0.05
_LEAST: Final = 8
"""Bytes below which where zeros stand says nothing."""


class Content(Enum):
    """What to do with a file."""

    TEXT = auto()
    UTF_16_LE = auto()
    UTF_16_BE = auto()
    UTF_32_LE = auto()
    UTF_32_BE = auto()
    ZIP = auto()
    GZIP = auto()
    BZIP2 = auto()
    XZ = auto()
    ZSTD = auto()
    TAR = auto()
    UNSUPPORTED_ARCHIVE = auto()
    BINARY = auto()


CODECS: Final = {
    Content.UTF_16_LE: "utf-16-le",
    Content.UTF_16_BE: "utf-16-be",
    Content.UTF_32_LE: "utf-32-le",
    Content.UTF_32_BE: "utf-32-be",
}
COMPRESSED: Final = frozenset({Content.GZIP, Content.BZIP2, Content.XZ, Content.ZSTD})


def classify(head: bytes) -> Content:  # noqa: PLR0911 - one return for each kind
    """Tell from the first ``HEAD`` bytes of a file."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Content.ZIP
    if head.startswith(b"\x1f\x8b\x08"):
        return Content.GZIP
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return Content.BZIP2
    if head.startswith(b"\xfd7zXZ\x00"):
        return Content.XZ
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return Content.ZSTD
    if b"\0" not in head[:HEAD]:
        return Content.TEXT
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return Content.TAR
    if head.startswith(_SQLITE):
        # Its text lies in it as it is, and editors and command lines keep tokens in such files.
        return Content.TEXT
    if head.startswith(_UNSUPPORTED):
        return Content.UNSUPPORTED_ARCHIVE
    return _wide(head[:HEAD]) or Content.BINARY


def _wide(head: bytes) -> Content | None:
    """UTF-16 and UTF-32, by their mark, or by where their zeros stand in mostly Latin text."""
    for mark, content in (
        (codecs.BOM_UTF32_LE, Content.UTF_32_LE),
        (codecs.BOM_UTF32_BE, Content.UTF_32_BE),
        (codecs.BOM_UTF16_LE, Content.UTF_16_LE),
        (codecs.BOM_UTF16_BE, Content.UTF_16_BE),
    ):
        if head.startswith(mark):
            return content
    if len(head) < _LEAST:
        return None
    half = max(len(head) // 2, 1)
    even, odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if odd > _MUCH and even < _LITTLE:
        return Content.UTF_16_LE
    if even > _MUCH and odd < _LITTLE:
        return Content.UTF_16_BE
    return None


class Transcoded:
    """A stream of UTF-16 or UTF-32 as UTF-8. What is no text becomes a replacement character."""

    def __init__(self, stream: Readable, content: Content) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(CODECS[content])(errors="replace")
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """At most twice ``size`` bytes; none at the end."""
        while True:
            part = self._stream.read(max(size // 2, 4))
            text = self._decoder.decode(part, final=not part)
            if text and not self._begun:
                self._begun = True
                text = text.removeprefix("\ufeff")
            if text or not part:
                return text.encode("utf-8", errors="replace")
