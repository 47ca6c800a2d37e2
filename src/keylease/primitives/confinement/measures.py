"""The outcome of one protection."""

from __future__ import annotations

import msgspec


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One protection of this process."""

    name: str
    on: bool
    reason: str
    """What was done, or why it could not be."""
