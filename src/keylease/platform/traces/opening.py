"""Opens the store when it is first needed: the engine takes a second and 200 MB.

A server that nobody sends spans to never opens it. One that has spans from before opens it in the
background as soon as it runs, because what lies in the log has to become readable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar

from keylease.errors import KeyleaseError
from keylease.primitives.clock import Clock

Opened = TypeVar("Opened")
_TRY_AGAIN_SECONDS: Final = 5.0
"""After an opening that failed, everybody gets its error for so long."""


class WhenNeeded(Generic[Opened]):
    """Something that is opened once, by whoever needs it first."""

    def __init__(
        self, make: Callable[[], AbstractAsyncContextManager[Opened]], *, clock: Clock
    ) -> None:
        self._make = make
        self._clock = clock
        self._lock = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._opened: list[Opened] = []
        self._failed: tuple[float, KeyleaseError] | None = None

    @property
    def now(self) -> Opened | None:
        """What is open; ``None`` while nothing is."""
        return self._opened[0] if self._opened else None

    @property
    def trouble(self) -> KeyleaseError | None:
        """Why the last opening failed."""
        return self._failed[1] if self._failed and not self._opened else None

    async def __call__(self) -> Opened:
        """It, opened. Raises what opening it raises, and tries again after some seconds."""
        if self._opened:
            return self._opened[0]
        async with self._lock:
            if self._opened:
                return self._opened[0]
            if self._failed and self._clock.monotonic() - self._failed[0] < _TRY_AGAIN_SECONDS:
                raise self._failed[1]
            try:
                opened = await self._stack.enter_async_context(self._make())
            except KeyleaseError as error:
                self._failed = (self._clock.monotonic(), error)
                raise
            self._opened.append(opened)
            return opened

    async def close(self) -> None:
        """Close it, if it is open."""
        async with self._lock:
            self._opened.clear()
            await self._stack.aclose()
