"""Group commit: what arrives while one write is being made durable goes into the next.

One thread per queue does the writing, so that an fsync never stops the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from keylease.errors import KeyleaseError, StorageError

Item = TypeVar("Item")


class CommitQueue(Generic[Item]):
    """Hands batches to ``write``, one after the other, in order.

    ``write`` runs on the queue's thread; when it returns the batch is durable. What it raises ends
    the wait of everyone in that batch, and of nobody else.
    """

    def __init__(
        self, write: Callable[[list[Item]], None], *, name: str, maximum_waiting: int = 10_000
    ) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._maximum = maximum_waiting
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._writing = False

    async def put(self, item: Item) -> None:
        """Return when ``item`` is durable; raises what ``write`` raised."""
        await self.submit(item)

    def submit(self, item: Item) -> asyncio.Future[None]:
        """As ``put``, for code that is called back."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= self._maximum:
            done.set_exception(StorageError("Too much waits to be written.", advice="Try again."))
            return done
        self._waiting.append((item, done))
        self._next()
        return done

    async def call(self, function: Callable[[], None]) -> None:
        """Run something else on the queue's thread, between two writes."""
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _next(self) -> None:
        if self._writing or not self._waiting:
            return
        self._writing = True
        batch, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._write, [item for item, _ in batch])
        futures = [done for _, done in batch]

        def finished(result: ThreadFuture[None]) -> None:
            loop.call_soon_threadsafe(self._finished, futures, result.exception())

        work.add_done_callback(finished)

    def _finished(self, futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
        self._writing = False
        self._next()
        if error is not None and not isinstance(error, KeyleaseError):
            error = StorageError(f"A write ended in {type(error).__name__} (this is a defect).")
        for done in futures:
            if done.done():  # its waiter was cancelled; the write happened all the same
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    async def close(self) -> None:
        """Wait for everything that was put, then end the thread."""
        waiting = [done for _, done in self._waiting]
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
