"""Identifiers: UUIDv7 (RFC 9562 section 5.7) in their text form."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Final

from keylease.primitives.clock import Clock

_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0x2 << 62


def uuid7(clock: Clock, *, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """Make an identifier that sorts by its millisecond of creation."""
    milliseconds = clock.now() // 1000
    random = int.from_bytes(random_bytes(10))
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= _VERSION_7 | ((random >> 62) & 0xFFF) << 64
    value |= _VARIANT | (random & 0x3FFF_FFFF_FFFF_FFFF)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(organization_id: str, kind: str, name: str) -> str:
    """The stable identifier of something that a local file knows by name only (UUIDv5)."""
    return str(uuid.uuid5(uuid.UUID(organization_id), f"{kind}:{name}"))
