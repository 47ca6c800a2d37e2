"""Identifiers: UUIDv7 (RFC 9562 section 5.7) in their text form."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Final

from keylease.primitives.clock import Clock

_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0x2 << 62
_VARIANT_DIGIT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_DIGITS_EACH: Final = 19
"""Hexadecimal digits of one identifier that are random; one of them gives two bits only."""


def uuid7(clock: Clock, *, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Make an identifier that sorts by its millisecond of creation."""
    milliseconds = clock.now() // 1000
    random = int.from_bytes(random_bytes(10))
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= _VERSION_7 | ((random >> 62) & 0xFFF) << 64
    value |= _VARIANT | (random & 0x3FFF_FFFF_FFFF_FFFF)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Uuid7Maker:
    """Makes identifiers as ``uuid7`` does, for who needs one for each request.

    Random digits are drawn many at a time, and the digits of a millisecond are written once.
    """

    def __init__(self, clock: Clock, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._now = clock.now
        self._random_bytes = random_bytes
        self._digits = ""
        self._position = 0
        self._millisecond = -1
        self._beginning = ""

    def __call__(self) -> str:
        """One identifier."""
        millisecond = self._now() // 1000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            digits = f"{millisecond & 0xFFFF_FFFF_FFFF:012x}"
            self._beginning = f"{digits[:8]}-{digits[8:]}-7"
        start = self._position
        if start >= len(self._digits):
            self._digits = self._random_bytes(_DIGITS_EACH * 128).hex()
            start = 0
        end = self._position = start + _DIGITS_EACH
        digits = self._digits[start:end]
        return (
            f"{self._beginning}{digits[:3]}-{_VARIANT_DIGIT[digits[3]]}{digits[4:7]}-{digits[7:]}"
        )


def derived_id(organization_id: str, kind: str, name: str) -> str:
    """The stable identifier of something that a local file knows by name only (UUIDv5)."""
    return str(uuid.uuid5(uuid.UUID(organization_id), f"{kind}:{name}"))
