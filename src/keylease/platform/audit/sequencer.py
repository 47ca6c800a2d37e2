"""Takes the entries of committed changes into the logs, in their order.

One round:
1. Read the oldest entries of the outbox, and sort them by log, in order.
2. For each log: entries and tiles to the disk, then a checkpoint that covers them, signed.
3. In one transaction: index the entries, remember the new head, take them out of the outbox.

A crash after 1 repeats the round. A crash in 2 leaves files that no checkpoint covers. A crash
after 2 is noticed when the log is opened: it is ahead of the index, which is caught up from the
log's own files, and what waits in the outbox is found there by its bytes and not logged again.

Promises: an entry that was committed is logged once, and in the order of commits of one process.
    While anything is new, a checkpoint is signed at least every second; while nothing is, each log
    gets an ``audit_log.continued`` after an hour, so that silence is told from a log that stopped.
    When a log cannot be written, nothing of its organization that would need an entry is changed
    any more (``check``) until it can.
Limits: one sequencer for a data directory, which holds its lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import structlog

from keylease.contracts.audit import AuditAction
from keylease.errors import (
    AuditLogUnavailable,
    DatabaseUnavailable,
    KeyleaseError,
    StorageError,
    StoreTimedOut,
)
from keylease.platform.audit import repository
from keylease.platform.audit.log_files import LogFiles, OpenLog, origin_of, safe_log_id
from keylease.platform.audit.repository import KnownLog, Waiting
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.files import locked
from keylease.primitives.identifiers import uuid7
from keylease.primitives.transparency.checkpoints import TreeHead
from keylease.primitives.transparency.merkle import EMPTY_ROOT

POLL_SECONDS: Final = 0.2
"""How long an entry waits at most before its round begins; a round takes well under a second."""
SILENCE_MICROSECONDS: Final = 3600 * MICROSECONDS
_BATCH: Final = 4096
_CATCH_UP: Final = 1000
_CARE_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 5.0
T = TypeVar("T")


class Sequencer:
    """Runs rounds. Opened once per process, by ``running``."""

    def __init__(self, database: Database, files: LogFiles, *, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._open: dict[str, OpenLog] = {}
        self._turn = asyncio.Lock()
        self._failed: dict[str, _Failure] = {}
        """By organization: logs that cannot be written now. One does not stop the others."""
        self._cared = float("-inf")
        self._stopping = asyncio.Event()
        self.grown = asyncio.Condition()
        """Notified after each round that logged something."""

    # --- for others ----------------------------------------------------------------------------

    def check(self, organization_id: str) -> None:
        """Raise ``AuditLogUnavailable`` while entries of the organization cannot be logged."""
        failure = self._failed.get(organization_id)
        if failure is not None:
            raise AuditLogUnavailable(
                f"The audit log cannot be written, so nothing is changed. {failure.error.message}",
                advice=f"Nothing was changed. {failure.error.advice}".rstrip(),
            )

    async def next_growth(self) -> None:
        """Return after the next round that logs something."""
        async with self.grown:
            await self.grown.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sequence in the background until the block ends; then what is committed is logged."""
        with self._held():
            self._database.before_recording = self.check
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._work(), name="audit sequencer")
                    try:
                        yield
                    finally:
                        self._stopping.set()
                with contextlib.suppress(DatabaseUnavailable):  # the next start goes on
                    await self.drain()
            finally:
                self._database.before_recording = None

    async def drain(self) -> int:
        """Run rounds until nothing that can be logged waits; gives how many entries were."""
        total = 0
        while done := await self.round():
            total += done
        return total

    async def rotate_key(self, caller: Caller) -> TreeHead:
        """Give a log a new key, which its old one vouches for. Raises ``StorageError``."""
        organization_id = caller.organization_id
        async with self._database.transaction(caller) as tx:
            await tx.record(AuditAction.AUDIT_KEY_ROTATED, safe_log_id(organization_id))
        await self.drain()
        if (failure := self._failed.get(organization_id)) is not None:
            raise AuditLogUnavailable(
                f"The log keeps its key: it cannot be written. {failure.error.message}",
                advice=f"Rotate the key again when it can. {failure.error.advice}".rstrip(),
            )
        async with self._turn:
            log = await self._log(organization_id)
            del self._open[organization_id]  # put back when the rotation is whole
            head, note = await _in_thread(log.rotate_key)
            async with self._database.transaction() as tx:
                await repository.store_checkpoint(tx, log.log_id, head.size, note)
            self._open[organization_id] = log
        return head

    # --- rounds --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self._files.lock_file, seconds=_LOCK_SECONDS))
            except StoreTimedOut as error:
                raise AuditLogUnavailable(
                    "Another process writes the audit log.", advice="Stop it first."
                ) from error
            yield

    async def _work(self) -> None:
        while not self._stopping.is_set():
            pause = POLL_SECONDS
            try:
                if await self.round() >= _BATCH:
                    continue
                await self._care()
            except DatabaseUnavailable as error:
                _say("audit_sequencer_waits", error)
                pause = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def round(self) -> int:
        """One round; gives how many entries were logged. Raises ``DatabaseUnavailable``."""
        async with self._turn:
            resting = [
                organization_id
                for organization_id, failure in self._failed.items()
                if self._clock.monotonic() - failure.at < _RETRY_SECONDS
            ]
            async with self._database.reading() as tx:
                entries = await repository.waiting(tx, limit=_BATCH, without=resting)
            entries.sort(key=_organization)  # stable: in order within each log
            done = 0
            for organization_id, group in groupby(entries, key=_organization):
                done += await self._try(organization_id, list(group))
            for organization_id in set(self._failed) - set(resting):
                done += await self._try(organization_id, [])
        if done:
            async with self.grown:
                self.grown.notify_all()
        return done

    async def _try(self, organization_id: str, items: list[Waiting]) -> int:
        try:
            await self._take(organization_id, items)
        except StorageError as error:
            _say("audit_log_unavailable", error, organization_id)
            self._failed[organization_id] = _Failure(error, self._clock.monotonic())
            return 0
        self._failed.pop(organization_id, None)
        return len(items)

    async def _take(self, organization_id: str, items: list[Waiting]) -> None:
        """A round for one log; without items, whether its files can be written at all."""
        try:
            newly_opened = organization_id not in self._open
            log = await self._log(organization_id)
            if newly_opened:  # what the log had already has just been found there and taken out
                items = await self._still_waiting(items)
            before, raw = log.head, [item.entry for item in items]
            after, note = await _in_thread(partial(log.append, raw))
            async with self._database.transaction() as tx:
                await repository.add_to_index(tx, log.log_id, before.size, raw)
                await repository.set_head(tx, log.log_id, before=before, after=after)
                await repository.store_checkpoint(tx, log.log_id, after.size, note)
                await repository.remove_from_outbox(tx, [item.position for item in items])
        except BaseException:
            # The log may be ahead of the index now: it is opened and compared anew.
            self._open.pop(organization_id, None)
            raise

    async def _still_waiting(self, items: list[Waiting]) -> list[Waiting]:
        if not items:
            return []
        async with self._database.reading() as tx:
            left = await repository.positions_from(tx, items[0].position, items[-1].position)
        return [item for item in items if item.position in left]

    # --- opening -------------------------------------------------------------------------------

    async def _log(self, organization_id: str) -> OpenLog:
        log = self._open.get(organization_id)
        while log is None:
            known = await self._known(organization_id)
            opened = await _in_thread(partial(self._files.open, known.log_id, known=known.head))
            if opened.head.size > known.head.size:
                await self._catch_up(opened, known)
            else:
                log = self._open[organization_id] = opened
        return log

    async def _known(self, organization_id: str) -> KnownLog:
        async with self._database.transaction() as tx:
            known = await repository.log_of(tx, organization_id)
            if known is None:
                log_id = safe_log_id(organization_id) if organization_id else uuid7(self._clock)
                head = TreeHead(origin_of(log_id), 0, EMPTY_ROOT)
                known = KnownLog(log_id, organization_id, head, tx.now)
                await repository.add_log(tx, known)
            return known

    async def _catch_up(self, log: OpenLog, known: KnownLog) -> None:
        """Index what the log has and the database does not know; all of it or nothing."""
        reader, size = log.writer.directory, log.head.size
        async with self._database.transaction() as tx:
            for first in range(known.head.size, size, _CATCH_UP):
                stop = min(first + _CATCH_UP, size)
                raw = await asyncio.to_thread(reader.entries, first, stop, size=size)
                await repository.add_to_index(tx, log.log_id, first, raw)
                taken = await repository.positions_of(tx, known.organization_id, raw)
                await repository.remove_from_outbox(tx, taken)
            await repository.set_head(tx, log.log_id, before=known.head, after=log.head)

    # --- silence and forgetting ----------------------------------------------------------------

    async def _care(self) -> None:
        if self._clock.monotonic() - self._cared >= _CARE_SECONDS:
            self._cared = self._clock.monotonic()
            await self.care()

    async def care(self) -> None:
        """Let silent logs speak, and forget old checkpoints."""
        async with self._database.transaction() as tx:
            for log in await repository.known_logs(tx):
                silent = log.head.size and tx.now - log.last_at >= SILENCE_MICROSECONDS
                if silent and log.organization_id not in self._failed:
                    await tx.record(
                        AuditAction.AUDIT_LOG_CONTINUED,
                        log.log_id,
                        organization_id=log.organization_id,
                        details={"size": str(log.head.size)},
                    )
            await repository.prune_checkpoints(tx)


class _Failure(NamedTuple):
    error: StorageError
    at: float
    """By the monotonic clock."""


def _say(what: str, error: KeyleaseError, organization_id: str = "") -> None:
    log = structlog.stdlib.get_logger()
    log.error(what, code=error.code, message=error.message, organization_id=organization_id)


def _organization(item: Waiting) -> str:
    return item.organization_id


async def _in_thread(work: Callable[[], T]) -> T:
    """Run what writes in a thread, to its end also when the caller is cancelled."""
    running = asyncio.ensure_future(asyncio.to_thread(work))  # noqa: TID251 - awaited below in every case
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
