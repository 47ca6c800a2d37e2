"""One line on a terminal that says how far a long work is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

_EVERY: Final = 0.2
"""Seconds between two words about progress."""
_MEGABYTE: Final = 1_000_000


class Meter:
    """One line on a terminal that says how far it is."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = now()
        self._shown = False
        self._on = sys.stderr.isatty()

    def show(self, done: int, total: int = 0) -> None:
        """Bytes that are done, and bytes in all where that is known."""
        now = self._now()
        if not self._on or now - self._last < _EVERY:
            return
        self._last, self._shown = now, True
        of = f" of {total // _MEGABYTE}" if total else ""
        sys.stderr.write(f"\r\x1b[K{done // _MEGABYTE}{of} MB")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
