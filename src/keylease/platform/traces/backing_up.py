"""Back-ups of the embedded store while the server runs, in a directory of the server's own.

1. What was acknowledged before it was asked for is waited for, so that all of it is in the copy.
2. The store is copied (``store/backup.py``): writing pauses for the moment in which the engine
   freezes its tables; spans are taken, and acknowledged by the log, all the time.
3. The back-up lies below ``backups`` until somebody fetches it from there, or removes it.

Promises: one is made at a time. What an interrupted one left is removed at the next start.
Protects: nothing of a back-up goes out by API. It holds the spans of every organization; who may
    ask for one, the route says.
Limits: on a ClickHouse server its own back-ups are used. The log, what was set aside and the keys
    of fingerprints are in no back-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from keylease.contracts.audit import AuditAction
from keylease.errors import (
    KeyleaseError,
    ResourceConflict,
    ResourceNotFound,
    StorageError,
    TraceStoreUnavailable,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.traces.keeping import STORE, Keeping
from keylease.platform.traces.opening import WhenNeeded
from keylease.platform.traces.store.backup_files import (
    Manifest,
    is_partial,
    partial_of,
    summary_of,
)
from keylease.primitives.clock import Clock
from keylease.primitives.files import make_private_directory
from keylease.primitives.identifiers import uuid7
from keylease.primitives.tasks import TaskOwner

BACKUPS: Final = "backups"
"""Name of the directory, beside the store's."""
KEPT_FREE: Final = 1024 * 1024 * 1024
"""Bytes that a back-up leaves on the disk: what the write-ahead log may need."""
_SETTLE_SECONDS: Final = 300.0
"""For what was acknowledged before to become readable; a whole log takes less."""
_LOOK_SECONDS: Final = 1.0
_log: Final = structlog.stdlib.get_logger


class TraceBackup(msgspec.Struct, frozen=True, kw_only=True):
    """One back-up of the trace store."""

    id: str
    state: str
    """``waiting`` (for what is acknowledged), ``copying``, ``done``, ``failed``, or ``damaged``."""
    place: str
    """Its directory on the server's machine."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0 while it is not known."""
    taken_at: int | None = None
    """The moment whose state it holds; microseconds UTC."""
    applied: str = "0"
    """The last transaction that is in it."""
    code: str = ""
    """Of why it failed."""
    message: str = ""


class _Stopped(StorageError):
    """The server is stopping."""


class _Attempt:
    """The back-up that is being made, or was made last."""

    def __init__(self, backup_id: str, target: Path) -> None:
        self.id = backup_id
        self.target = target
        self.state = "waiting"
        self.done = self.total = 0
        self.error: KeyleaseError | None = None

    @property
    def is_under_way(self) -> bool:
        return self.state in {"waiting", "copying"}

    def shown(self) -> TraceBackup:
        return TraceBackup(
            id=self.id,
            state=self.state,
            place=str(self.target),
            done_bytes=self.done,
            total_bytes=self.total,
            code=self.error.code if self.error else "",
            message=self.error.message if self.error else "",
        )


class BackUps:
    """Makes, lists and removes them. Belongs to one event loop; ``close`` it before the store."""

    def __init__(
        self,
        database: Database,
        needed: WhenNeeded[Keeping],
        *,
        clock: Clock,
        directory: Path,
        is_embedded: bool,
    ) -> None:
        self._database = database
        self._needed = needed
        self._clock = clock
        self._store = directory / STORE
        self._directory = directory / BACKUPS
        self._is_embedded = is_embedded
        self._attempt: _Attempt | None = None
        self._stopping = threading.Event()
        self._work = TaskOwner(_defect)
        self._task: asyncio.Task[None] | None = None

    def clean(self) -> None:
        """Remove what interrupted back-ups left. Blocks; before anything else is asked."""
        for left in self._found(partial=True):
            shutil.rmtree(left, ignore_errors=True)

    async def start(self, caller: Caller) -> TraceBackup:
        """Begin one; it goes on after the request.

        Raises ``ResourceConflict`` while another is made, and where the store is on a server.
        """
        if not self._is_embedded:
            raise ResourceConflict(
                "The spans are on a ClickHouse server, which makes its own back-ups.",
                advice="docs/guides/trace-store.md has the statement: BACKUP DATABASE ... TO ...",
            )
        self._refuse_while_under_way()
        backup_id = uuid7(self._clock)
        attempt = self._attempt = _Attempt(backup_id, self._directory / backup_id)
        try:
            keeping = await self._needed()
            async with self._database.transaction(caller) as tx:
                await tx.record(AuditAction.TRACE_STORE_BACKED_UP, backup_id)
        except BaseException:
            self._attempt = None
            raise
        self._task = self._work.start(self._made(keeping, attempt), name="back up the trace store")
        return attempt.shown()

    async def listed(self) -> list[TraceBackup]:
        """Those that are there, the newest first; before them one that is made, or that failed."""
        attempt = self._attempt
        # Before the directory is read: what is finished meanwhile is in one of them, or in both.
        first = [] if attempt is None or attempt.state == "done" else [attempt.shown()]
        shown = await asyncio.to_thread(lambda: [_shown(path) for path in self._found()])
        made = [one for one in shown if one is not None]
        made.sort(key=lambda one: one.id, reverse=True)
        return first + [one for one in made if not first or one.id != first[0].id]

    async def read(self, backup_id: str) -> TraceBackup:
        """One of them. Raises ``ResourceNotFound``."""
        for one in await self.listed():
            if one.id == backup_id:
                return one
        raise ResourceNotFound("There is no such back-up.")

    async def remove(self, caller: Caller, backup_id: str) -> None:
        """Remove one. Raises ``ResourceNotFound``, and ``ResourceConflict`` while it is made."""
        found = await self.read(backup_id)
        if self._attempt is not None and self._attempt.id == backup_id:
            self._refuse_while_under_way()
            self._attempt = None
        if found.state == "failed":
            return
        async with self._database.transaction(caller) as tx:
            await tx.record(AuditAction.TRACE_STORE_BACKUP_REMOVED, backup_id)
        await asyncio.to_thread(_removed, Path(found.place))

    async def close(self) -> None:
        """End what is under way; nothing of it is left."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._work.close()

    # --- one attempt -----------------------------------------------------------------------

    async def _made(self, keeping: Keeping, attempt: _Attempt) -> None:
        try:
            await self._acknowledged(keeping)
            attempt.state = "copying"
            manifest = await asyncio.to_thread(self._copied, keeping, attempt)
        except KeyleaseError as error:
            self._failed(attempt, error)
        except Exception:
            self._failed(attempt, TraceStoreUnavailable("The back-up ended in a defect."))
            raise
        else:
            attempt.state = "done"
            _log().info("trace_store_backed_up", id=attempt.id, bytes=manifest.size)

    def _failed(self, attempt: _Attempt, error: KeyleaseError) -> None:
        attempt.error, attempt.state = error, "failed"
        _log().error("trace_store_not_backed_up", id=attempt.id, code=error.code)

    async def _acknowledged(self, keeping: Keeping) -> None:
        """Return when everything is in the store that was acknowledged until now.

        Raises why it is not, when the store does not take it.
        """
        last = keeping.intake.log.last_logged
        until = self._clock.monotonic() + _SETTLE_SECONDS
        while keeping.intake.applied < last:
            self._go_on()
            if keeping.trouble is not None:
                raise keeping.trouble
            try:
                await keeping.intake.settled(last, seconds=_LOOK_SECONDS)
            except TraceStoreUnavailable:
                if self._clock.monotonic() > until:
                    raise

    def _copied(self, keeping: Keeping, attempt: _Attempt) -> Manifest:
        # The engine is loaded already; this module is not what loads it.
        from keylease.platform.traces.store.backup import back_up  # noqa: PLC0415 - as said

        def progress(done: int, total: int) -> None:
            self._go_on()
            attempt.done, attempt.total = done, total

        make_private_directory(self._directory)
        return back_up(
            keeping.store,
            self._store,
            attempt.target,
            clock=self._clock,
            progress=progress,
            reserve=KEPT_FREE,
        )

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise _Stopped("The server is stopping.", advice="Ask for another back-up later.")

    def _refuse_while_under_way(self) -> None:
        if self._attempt is not None and self._attempt.is_under_way:
            raise ResourceConflict(
                "A back-up is being made.",
                advice=f"GET /v1/trace-store/backups/{self._attempt.id} says how far it is.",
            )

    def _found(self, *, partial: bool = False) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            for path in self._directory.iterdir():
                if path.is_dir() and is_partial(path) == partial:
                    yield path


def _shown(path: Path) -> TraceBackup | None:
    """``None`` for one that is removed, or taken elsewhere, while it is looked at."""
    try:
        summary = summary_of(path)
    except TraceStoreUnavailable as error:
        if not path.is_dir():
            return None
        return TraceBackup(
            id=path.name, state="damaged", place=str(path), code=error.code, message=error.message
        )
    return TraceBackup(
        id=path.name,
        state="done",
        place=str(path),
        done_bytes=summary.size,
        total_bytes=summary.size,
        taken_at=summary.taken_at,
        applied=str(summary.applied),
    )


def _removed(path: Path) -> None:
    """Take its name first: what is left of an interrupted removal is no back-up."""
    gone = partial_of(path)
    path.rename(gone)
    shutil.rmtree(gone)


def _defect(error: BaseException) -> None:
    _log().error("defect", error=type(error).__name__, at="backing up the trace store")
