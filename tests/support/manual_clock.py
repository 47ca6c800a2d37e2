"""A clock that a test moves by hand."""

from __future__ import annotations

from keylease.primitives.clock import MICROSECONDS


class ManualClock:
    """Stands still until told."""

    def __init__(self, now: int = 1_780_000_000 * MICROSECONDS) -> None:
        self.microseconds = now
        self.seconds = 1000.0

    def now(self) -> int:
        return self.microseconds

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.microseconds += round(seconds * MICROSECONDS)

    def set_back(self, seconds: float) -> None:
        """Only the wall clock can be set back."""
        self.microseconds -= round(seconds * MICROSECONDS)
