"""Pauses between attempts: they grow, they differ from gateway to gateway, they have an end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable


class Backoff:
    """Waits longer after each failure; ``reset`` after a success."""

    def __init__(
        self,
        *,
        first: float,
        longest: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Seconds."""
        self._first = first
        self._longest = longest
        self._sleep = sleep
        self._next = first

    def reset(self) -> None:
        """The next pause is the first again."""
        self._next = self._first

    async def pause(self) -> None:
        """Wait; a fleet that lost its platform does not come back in one moment."""
        seconds = self._next * random.uniform(0.7, 1.3)  # noqa: S311 - spreads retries
        self._next = min(self._next * 2, self._longest)
        await self._sleep(seconds)
