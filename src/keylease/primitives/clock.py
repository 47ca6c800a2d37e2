"""Time, as something that is handed in.

Wall-clock times are integer microseconds since 1970 in UTC; durations that must not jump use the
monotonic clock, in seconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol

MICROSECONDS: Final = 1_000_000
_monotonic: Final = time.monotonic
_time_ns: Final = time.time_ns


class Clock(Protocol):
    """What code that needs the time asks for."""

    __slots__ = ()

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock(Clock):
    """The machine's clocks."""

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return _time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return _monotonic()


def isoformat(microseconds: int) -> str:
    """RFC 3339 with microseconds and ``Z``."""
    moment = datetime.fromtimestamp(microseconds // MICROSECONDS, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{microseconds % MICROSECONDS:06d}Z"
