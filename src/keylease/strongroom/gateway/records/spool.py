"""The spool of call records: appended as the workers encoded them, fsynced, then exported.

Promise: a record is on stable storage within 50 ms of the end of its call (20 ms in the worker,
    the rest here). With an exporter nothing is dropped: at the bound, or when the disk is full,
    calls are refused until there is room. Without one the oldest records make room for new ones.
    Records of calls that ended while there was no room wait in memory, up to ``_MEMORY`` bytes;
    what does not fit there is counted in ``lost``.
Limits: what waits in memory is lost with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from keylease.errors import KeyleaseError, StorageError
from keylease.primitives.segments import Batch, Cursor, Files, SegmentLog, WhenFull, count

_MEMORY: Final = 16 * 1024 * 1024
_RETRY_SECONDS: Final = 0.1


class CallSpool:
    """Owned by the coordinator's loop; one thread of its own does the writing."""

    def __init__(
        self,
        directory: Path,
        *,
        maximum_bytes: int,
        when_full: WhenFull,
        on_state: Callable[[KeyleaseError | None], None],
        files: Files | None = None,
    ) -> None:
        """Open the spool; raises ``StorageError``.

        ``on_state`` is told the error when records cannot be written, and ``None`` when they can
        be again.
        """
        self.log = SegmentLog(
            directory, maximum_bytes=maximum_bytes, when_full=when_full, files=files
        )
        self._on_state = on_state
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._blocks: list[bytes] = []
        self._waiting_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._error: KeyleaseError | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._readers: dict[str, Cursor] = {}
        self.lost = 0
        """Records that fitted nowhere."""

    @property
    def writable(self) -> bool:
        """Whether the last write went well."""
        return self._error is None

    def append(self, block: bytes) -> None:
        """Take a block of encoded records; it is durable shortly after."""
        if self._waiting_bytes + len(block) > _MEMORY:
            self.lost += count(block)
            return
        self._blocks.append(block)
        self._waiting_bytes += len(block)
        if self._retry is None:
            self._write()

    def _write(self) -> None:
        if not self._idle.is_set() or not self._blocks:
            return
        self._idle.clear()
        blocks, self._blocks = self._blocks, []
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._append, b"".join(blocks))

        def finished(result: ThreadFuture[None]) -> None:
            loop.call_soon_threadsafe(self._finished, blocks, result.exception())

        work.add_done_callback(finished)

    def _append(self, block: bytes) -> None:
        count(block)
        self.log.append_block(block)

    def _finished(self, blocks: list[bytes], error: BaseException | None) -> None:
        self._idle.set()
        if error is not None:
            if not isinstance(error, KeyleaseError):
                error = StorageError(f"Writing a record ended in {type(error).__name__}.")
            self._blocks = blocks + self._blocks
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._try_again)
            self._set_state(error)
            return
        self._waiting_bytes -= sum(map(len, blocks))
        self._set_state(None)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        self._write()

    def _try_again(self) -> None:
        self._retry = None
        self._write()

    def _set_state(self, error: KeyleaseError | None) -> None:
        changed = (error is None) != (self._error is None)
        self._error = error
        if changed:
            self._on_state(error)

    # --- readers ---------------------------------------------------------------------------

    async def read(
        self, cursor: Cursor, *, maximum_records: int = 500, maximum_bytes: int = 1024 * 1024
    ) -> Batch:
        """Records behind ``cursor``; none at the end. Raises ``StorageCorrupt`` at damage."""
        return await asyncio.to_thread(
            self.log.read, cursor, maximum_records=maximum_records, maximum_bytes=maximum_bytes
        )

    async def beyond(self, cursor: Cursor) -> None:
        """Return when there is something behind ``cursor``."""
        while self.log.end <= cursor:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def hold(self, reader: str, cursor: Cursor) -> None:
        """A reader that delivers elsewhere still needs everything behind ``cursor``."""
        self._readers[reader] = cursor

    async def release(self, reader: str, cursor: Cursor) -> None:
        """A reader has delivered everything before ``cursor``.

        Files go once every reader that holds the spool has.
        """
        self._readers[reader] = cursor
        loop = asyncio.get_running_loop()
        everybody = min(self._readers.values())
        await loop.run_in_executor(self._thread, self.log.release, everybody)

    async def close(self) -> None:
        """Write what waits, and try once more; what cannot be written is counted as lost."""
        for _ in range(3):  # a write that runs, one for what came meanwhile, one more try
            self._stop_retrying()
            self._write()
            await self._idle.wait()
        self._stop_retrying()
        self.lost += sum(map(count, self._blocks))
        await asyncio.to_thread(self._thread.shutdown)
        self.log.close()

    def _stop_retrying(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
