"""The shapes of the device flow."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

SECONDS: Final = 600
"""For which a device waits."""
INTERVAL: Final = 5
"""Seconds between two questions of a device (RFC 8628 section 3.5)."""
PAGE: Final = "/device"


class DeviceState(StrEnum):
    """Stored: values are never renamed."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


class DeviceStart(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is told."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int

    def __repr__(self) -> str:
        return "DeviceStart(********)"


class WaitingDevice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is shown before they decide."""

    id: str
    device: str
    """What the machine calls itself: not proven."""
    address: str
    created_at: int
