"""The store with what writes into it and reads from it: one thing that is opened and closed.

A server may be away, also when this process starts. What is sent meanwhile goes into the log, which
is enough to acknowledge it; reading is refused until the server is reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from keylease.errors import (
    KeyleaseError,
    TraceError,
    TraceStoreInUse,
    TraceStoreTooNew,
    TraceStoreTooOld,
    TraceStoreUnavailable,
)
from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.platform.traces.ingest.intake import Intake, Reported, opened
from keylease.platform.traces.interfaces import Rows, Understood, WriteBatch
from keylease.platform.traces.project_settings import InForce
from keylease.platform.traces.store.address import StoreServer
from keylease.platform.traces.store.loading import load_engine
from keylease.platform.traces.understanding.understander import Understander
from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner

if TYPE_CHECKING:
    from keylease.platform.traces.store.store import TraceStore

STORE: Final = "store"
"""Name of the embedded store's directory."""
_READERS: Final = 4
_LONG: Final = 2
"""Of them, for what may take long."""
_WAIT_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 2.0
_log: Final = structlog.stdlib.get_logger
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """An open trace store."""

    reached: Callable[[], TraceStore]
    """The store. Raises ``TraceStoreUnavailable`` while its server has not been reached yet."""
    intake: Intake
    directory: Path
    """Of the log and the embedded store."""
    readers: ThreadPoolExecutor
    long: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LONG))

    @property
    def store(self) -> TraceStore:
        """As ``reached``."""
        return self.reached()

    @property
    def trouble(self) -> KeyleaseError | None:
        """Why nothing can be read, or written, now; ``None`` while all is well."""
        try:
            self.reached()
        except TraceStoreUnavailable as error:
            return error
        return self.intake.trouble

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


class LateStore:
    """A store that is opened in threads, as often as it takes (``interfaces.Store``)."""

    def __init__(self, make: Callable[[], TraceStore]) -> None:
        self._make = make
        self._opening = threading.Lock()
        self._store: TraceStore | None = None
        self._failed: TraceError = TraceStoreUnavailable("The trace store is not open yet.")
        self._closed = False

    def open(self) -> None:
        """Open it unless it is. Blocks; raises what opening it raises."""
        with self._opening:
            if self._store is not None or self._closed:
                return
            try:
                self._store = self._make()
            except TraceError as error:
                self._failed = error
                raise

    def reached(self) -> TraceStore:
        """The store, without waiting for it. Raises why it could not be opened."""
        store = self._store
        if store is None:
            raise self._failed
        return store

    def apply(self, batches: Sequence[WriteBatch], rows: Sequence[Sequence[Understood]]) -> None:
        """As ``interfaces.Store.apply``."""
        self.reached().apply(batches, rows)

    def applied(self) -> int:
        """The last transaction that reads see; 0 while that is not known."""
        return self._store.applied() if self._store is not None else 0

    def select(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> Rows:
        """As ``interfaces.Store.select``."""
        return self.reached().select(sql, parameters, settings=settings)

    def close(self) -> None:
        """Let go of it; an attempt under way ends first. Blocks."""
        with self._opening:
            self._closed = True
            if self._store is not None:
                self._store.close()

    async def keep_opening(self) -> None:
        """Try again until it is open."""
        while self._store is None:
            await asyncio.sleep(_AGAIN_SECONDS)
            with contextlib.suppress(TraceError):
                await asyncio.to_thread(self.open)
        _log().info("trace_store_reached")


@contextlib.asynccontextmanager
async def kept(
    directory: Path,
    *,
    server: StoreServer | None,
    clock: Clock,
    in_force: InForce,
    keys: FingerprintKeyring,
    on_finding: Callable[[Reported], None],
) -> AsyncIterator[Keeping]:
    """The store in ``directory``, or on ``server``; its log is in ``directory``.

    Raises ``TraceStoreUnavailable`` and ``StorageError``.
    """
    store = LateStore(lambda: _open(directory, server))
    opening = TaskOwner(_defect)
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="trace-reader")
    try:
        if await _is_away(store, directory, server):
            opening.start(store.keep_opening(), name="reach the trace store")
        async with opened(
            directory,
            store=store,
            understanding=Understander(overrides=in_force.prices),
            clock=clock,
            keys=keys,
            rules=in_force.rules,
            on_finding=on_finding,
        ) as intake:
            yield Keeping(
                reached=store.reached, intake=intake, directory=directory, readers=readers
            )
    finally:
        await opening.close()
        await asyncio.to_thread(readers.shutdown)
        await asyncio.to_thread(store.close)


async def _is_away(store: LateStore, directory: Path, server: StoreServer | None) -> bool:
    """Open the store; whether it is on a server that does not answer, and may be waited for.

    Transaction ids must go on from the last that the store has. The log's mark knows that one;
    without a mark only the server does, and nothing is taken before it was asked.
    """
    try:
        await asyncio.to_thread(store.open)
    except (TraceStoreInUse, TraceStoreTooNew, TraceStoreTooOld):
        raise
    except TraceStoreUnavailable as error:
        if server is None or not (directory / "log" / "mark").is_file():
            raise
        _log().error("trace_store_unavailable", reason=error.code, message=error.message)
        return True
    return False


def _defect(error: BaseException) -> None:
    _log().error("defect", error=type(error).__name__, at="reaching the trace store")


def has_spans(directory: Path) -> bool:
    """Whether there is an embedded store, or a log, from before."""
    return any((directory / name).exists() for name in (STORE, f"{STORE}.id", "log"))


def _open(directory: Path, server: StoreServer | None) -> TraceStore:
    # Arrow and the engine are 100 MB that a server without spans does not need.
    from keylease.platform.traces.store.store import (  # noqa: PLC0415 - as said
        open_embedded,
        open_server,
    )

    if server is not None:
        return open_server(server)
    load_engine(directory / "temporary")
    return open_embedded(directory / STORE)
