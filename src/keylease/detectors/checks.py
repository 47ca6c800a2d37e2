"""Checksums that providers write into their secrets, and one way to write a private key."""

from __future__ import annotations

import binascii
import re
import zlib
from typing import Final

from keylease.detectors.definition import Checked

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BREAK: Final = r"\\{1,4}[nrt]|`[nr]|&#(?:1[03]|x[aAdD]);"
"""A line break as it is written in strings, in PowerShell and in XML."""
_NO_BASE64: Final = re.compile(rf"{_BREAK}|[^A-Za-z0-9+/=]")
_BETWEEN: Final = re.compile(rf"{_BREAK}|[\"',\s]")
_SHORTEST: Final = 40
"""Characters of base64; an Ed25519 key has 64, and 44 as bare bytes."""
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
    lines = _BETWEEN.sub("", body)
    wrapped = "\n".join(lines[place : place + 64] for place in range(0, len(lines), 64))
    return f"-----BEGIN {label}-----\n{wrapped}\n" + (f"-----END {label}-----\n" if end else "")


def pem_body(text: str) -> Checked:
    """Whether there is a key between the lines: DER, or what OpenSSH and OpenPGP write."""
    lines = text.partition("-----")[2].partition("-----")[2].rpartition("-----END")[0]
    if "..." in lines:
        return Checked.BROKEN
    *_, body = re.split(r":[^\n\\]*(?:\n|\\n)", lines)  # behind headers such as Proc-Type
    body = _NO_BASE64.sub("", body)
    if len(body) < _SHORTEST:
        return Checked.BROKEN
    try:
        start = binascii.a2b_base64(body[: len(body) // 4 * 4][:64])
    except binascii.Error:
        return Checked.BROKEN
    if start[:1] == b"0" or start.startswith(b"openssh-key-v1\0"):
        return Checked.HOLDS
    return Checked.UNKNOWN  # encrypted bodies and OpenPGP packets
