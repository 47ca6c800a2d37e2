"""The rate limit of a simulated provider: requests per key in a sliding minute."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

WINDOW: Final = 60.0
"""Seconds."""


class Taken(msgspec.Struct, frozen=True):
    """What counting one request gave."""

    allowed: bool
    remaining: int
    reset: float
    """Seconds until the oldest counted request leaves the window."""


class RateLimit:
    """Counts requests."""

    def __init__(self, per_minute: int | None) -> None:
        """``None`` is unlimited."""
        self.per_minute = per_minute
        self._times: dict[str, deque[float]] = {}

    def take(self, key_id: str, *, now: float) -> Taken:
        """Count a request of a key; one that is refused is not counted."""
        limit = self.per_minute
        if limit is None:
            return Taken(allowed=True, remaining=0, reset=0.0)
        times = self._times.setdefault(key_id, deque())
        while times and times[0] <= now - WINDOW:
            times.popleft()
        allowed = len(times) < limit
        if allowed:
            times.append(now)
        reset = times[0] + WINDOW - now if times else 0.0
        return Taken(allowed=allowed, remaining=limit - len(times), reset=reset)
