"""Checksums that providers write into their secrets."""

from __future__ import annotations

import zlib
from typing import Final

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def crc32_text(text: str, digits: str, width: int) -> str:
    """The CRC-32 of ASCII text as a number in the given digits, with leading zeros."""
    number = zlib.crc32(text.encode("ascii", "replace"))
    result = ""
    while number:
        number, digit = divmod(number, len(digits))
        result = digits[digit] + result
    return result.rjust(width, digits[0])
