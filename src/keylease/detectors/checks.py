"""Checksums that providers write into their secrets, and one way to write a private key."""

from __future__ import annotations

import re
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


def canonical_pem(text: str) -> str:
    """A PEM block as files have it: escaped line breaks, quotes and indentation taken off."""
    label, dashes, rest = text.removeprefix("-----BEGIN ").partition("-----")
    body, end, _ = rest.partition("-----END")
    if not dashes or ":" in body:
        return text  # with headers in it, or cut off at once: as it stands
    lines = re.sub(r"\\{1,4}[nr]|[\"',\s]", "", body)
    wrapped = "\n".join(lines[place : place + 64] for place in range(0, len(lines), 64))
    return f"-----BEGIN {label}-----\n{wrapped}\n" + (f"-----END {label}-----\n" if end else "")
