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

import structlog

from keylease.errors import KeyleaseError, TraceStoreUnavailable
from keylease.primitives.clock import Clock

Opened = TypeVar("Opened")
_log: Final = structlog.stdlib.get_logger
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
        self._closed = False

    @property
    def now(self) -> Opened | None:
        """What is open; ``None`` while nothing is."""
        return self._opened[0] if self._opened else None

    @property
    def trouble(self) -> KeyleaseError | None:
        """Why the last opening failed."""
        return self._failed[1] if self._failed and not self._opened else None

    async def __call__(self) -> Opened:
        """It, opened.

        Raises what opening it raises, and tries again after some seconds; ``TraceStoreUnavailable``
        for a failure that nobody has thought of, and when it was closed for good.
        """
        if self._opened:
            return self._opened[0]
        async with self._lock:
            if self._opened:
                return self._opened[0]
            if self._closed:
                raise TraceStoreUnavailable(
                    "The server is stopping, and the trace store with it.", advice="Send it again."
                )
            if self._failed and self._clock.monotonic() - self._failed[0] < _TRY_AGAIN_SECONDS:
                raise self._failed[1]
            try:
                opened = await self._stack.enter_async_context(self._make())
            except KeyleaseError as error:
                self._failed = (self._clock.monotonic(), error)
                raise
            except Exception as error:
                # The engine is a library of a million lines. Whoever waits is told to come again,
                # and whoever runs the server what it was; neither its text nor a traceback.
                _log().error("defect", error=type(error).__name__, at="opening the trace store")
                unknown = TraceStoreUnavailable(
                    "The trace store cannot be opened.", advice="The server's log says more."
                )
                self._failed = (self._clock.monotonic(), unknown)
                raise unknown from error
            self._opened.append(opened)
            return opened

    async def close(self) -> None:
        """Close it, if it is open, for good."""
        async with self._lock:
            self._closed = True
            self._opened.clear()
            await self._stack.aclose()
