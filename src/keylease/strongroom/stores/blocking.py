"""Blocking calls (file systems, keyrings, SDKs) with a time-out, off the event loop.

A thread that hangs cannot be ended. So each runs as a daemon thread, which never holds up the end
of the process, and there are only so many: when all of them hang, further calls time out at once
rather than pile up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

Result = TypeVar("Result")

THREADS: Final = 8
"""Per store: fetches are rare and short, so this is generous."""


class BlockingCalls:
    """Runs the blocking calls of one store."""

    def __init__(self, name: str, *, threads: int = THREADS) -> None:
        self._name = name
        self._free = asyncio.Semaphore(threads)

    async def call(self, work: Callable[[], Result], *, seconds: float) -> Result:
        """Run ``work`` on a thread; raises ``TimeoutError`` when it does not end in time.

        The thread goes on after a time-out or a cancellation, and its result is dropped.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()

        def deliver(result: Result | None, error: BaseException | None) -> None:
            self._free.release()
            if outcome.done():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)  # type: ignore[arg-type]  # None is a Result here

        def body() -> None:
            result: Result | None = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - carried over to the caller, whole
                error = raised
            try:
                loop.call_soon_threadsafe(deliver, result, error)
            except RuntimeError:
                return  # the loop has been closed; nobody waits any more

        async with asyncio.timeout(seconds):
            await self._free.acquire()
            threading.Thread(target=body, name=self._name, daemon=True).start()
            return await outcome
