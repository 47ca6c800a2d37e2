"""The store with what writes into it and reads from it: one thing that is opened and closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from keylease.errors import TraceStoreUnavailable
from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.platform.traces.ingest.intake import Intake, Reported, opened
from keylease.platform.traces.project_settings import InForce
from keylease.platform.traces.store.loading import load_engine
from keylease.platform.traces.understanding.understander import Understander
from keylease.primitives.clock import Clock

if TYPE_CHECKING:
    from keylease.platform.traces.store.store import TraceStore

STORE: Final = "store"
"""Name of the embedded store's directory."""
_READERS: Final = 4
_LONG: Final = 2
"""Of them, for what may take long."""
_WAIT_SECONDS: Final = 30.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """An open trace store."""

    store: TraceStore
    intake: Intake
    directory: Path
    """Of the log and the embedded store."""
    readers: ThreadPoolExecutor
    long: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LONG))

    async def read(self, job: Callable[[], _Result]) -> _Result:
        """Do something that reads the store, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, job)

    async def read_long(self, job: Callable[[], _Result]) -> _Result:
        """As ``read``, for what may take long: it never takes all threads of the readers.

        Raises ``TraceStoreUnavailable`` when others take too long.
        """
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self.long.acquire()
        except TimeoutError:
            raise TraceStoreUnavailable(
                "Too many queries run at the same time.", advice="Try again in a moment."
            ) from None
        running = asyncio.get_running_loop().run_in_executor(self.readers, job)
        # Not when this request ends, but when the thread does.
        running.add_done_callback(lambda _: self.long.release())
        return await asyncio.shield(running)


@contextlib.asynccontextmanager
async def kept(
    directory: Path,
    *,
    url: str,
    clock: Clock,
    in_force: InForce,
    keys: FingerprintKeyring,
    on_finding: Callable[[Reported], None],
) -> AsyncIterator[Keeping]:
    """The store in ``directory``, or at ``url`` when it is not empty; its log is in ``directory``.

    Raises ``TraceStoreUnavailable`` and ``StorageError``.
    """
    store = await asyncio.to_thread(_open, directory, url)
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="trace-reader")
    try:
        async with opened(
            directory,
            store=store,
            understanding=Understander(overrides=in_force.prices),
            clock=clock,
            keys=keys,
            rules=in_force.rules,
            on_finding=on_finding,
        ) as intake:
            yield Keeping(store=store, intake=intake, directory=directory, readers=readers)
    finally:
        await asyncio.to_thread(readers.shutdown)
        await asyncio.to_thread(store.close)


def has_spans(directory: Path) -> bool:
    """Whether there is an embedded store, or a log, from before."""
    return any((directory / name).exists() for name in (STORE, f"{STORE}.id", "log"))


def _open(directory: Path, url: str) -> TraceStore:
    # Arrow and the engine are 100 MB that a server without spans does not need.
    from keylease.platform.traces.store.store import (  # noqa: PLC0415 - as said
        open_embedded,
        open_server,
    )

    if url:
        return open_server(url)
    load_engine(directory / "temporary")
    return open_embedded(directory / STORE)
