"""Waits for bytes of one descriptor, however high its number: a process that had an embedded engine
open keeps many, and ``select.select`` takes none above 1,023."""

from __future__ import annotations

import select


def readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or the end, before ``seconds`` are over."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
