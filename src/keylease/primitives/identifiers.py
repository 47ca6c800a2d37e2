"""Identifiers: UUIDv7 (RFC 9562 section 5.7) in their text form."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Final

from keylease.primitives.clock import Clock

_VARIANT_DIGIT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_RANDOM_BYTES: Final = 10
"""In one identifier; six of their bits give way to the version and the variant."""
_DRAWN_TOGETHER: Final = 32
_NEVER: Final = -(1 << 48)
_TWO_DIGITS: Final = tuple(f"{byte:02x}" for byte in range(256))


def uuid7(clock: Clock, *, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Make an identifier that sorts by its millisecond of creation."""
    milliseconds = clock.now() // 1000
    time = f"{milliseconds & 0xFFFF_FFFF_FFFF:012x}"
    return f"{time[:8]}-{time[8:]}-{_ending(random_bytes(_RANDOM_BYTES))}"


def _ending(random_bytes: bytes) -> str:
    """What follows the time: version, variant, and 74 random bits."""
    digits = random_bytes.hex()
    return f"7{digits[1:4]}-{_VARIANT_DIGIT[digits[4]]}{digits[5:8]}-{digits[8:]}"


class Uuid7Maker:
    """Makes identifiers as ``uuid7`` does, for who needs one for each request.

    Random parts are made many at a time, and the time's leading digits once in 65 seconds: what
    formats numbers is much code, for which a request that comes after a pause would have to wait.
    """

    def __init__(self, clock: Clock, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._now = clock.now
        self._random_bytes = random_bytes
        self._endings: list[str] = []
        """Not used yet; from the digit of the version on."""
        self._period = _NEVER
        self._beginning = ""
        """The digits of the period: the time without its last 16 bits of milliseconds."""

    def __call__(self) -> str:
        """One identifier."""
        millisecond = self._now() // 1000
        period = millisecond >> 16
        if period != self._period:
            self._period = period
            self._beginning = f"{period & 0xFFFF_FFFF:08x}-"
        if not self._endings:
            self._endings = self._make_endings()
        late, last = _TWO_DIGITS[millisecond >> 8 & 0xFF], _TWO_DIGITS[millisecond & 0xFF]
        return f"{self._beginning}{late}{last}-{self._endings.pop()}"

    def _make_endings(self) -> list[str]:
        drawn = self._random_bytes(_RANDOM_BYTES * _DRAWN_TOGETHER)
        return [
            _ending(drawn[start : start + _RANDOM_BYTES])
            for start in range(0, len(drawn), _RANDOM_BYTES)
        ]


def derived_id(organization_id: str, kind: str, name: str) -> str:
    """The stable identifier of something that a local file knows by name only (UUIDv5)."""
    return str(uuid.uuid5(uuid.UUID(organization_id), f"{kind}:{name}"))
