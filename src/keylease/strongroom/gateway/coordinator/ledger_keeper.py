"""Runs the ledger for all workers: journals it, recalls slices, answers.

Promise: a worker learns of a slice only after the journal holds it durably. When the journal
    cannot be written, nothing is handed out (``StorageError``). Reports are journalled without
    being waited for: a report that is lost leaves its slice counted as spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from keylease.errors import LimitReached, StorageCorrupt, StorageError
from keylease.primitives.clock import Clock
from keylease.primitives.segments import Files, SegmentLog
from keylease.strongroom.gateway.coordinator.ledger import JournalRecord, Ledger, Snapshot
from keylease.strongroom.gateway.interfaces import BatchCharge, Demand, LimitKey
from keylease.strongroom.gateway.messages import SliceUse
from keylease.strongroom.gateway.records.commit_queue import CommitQueue

_MAXIMUM_BYTES: Final = 64 * 1024 * 1024
_COMPACT_BYTES: Final = 1024 * 1024
_RECALL_SECONDS: Final = 0.2
"""A worker that does not answer a recall in time is not waited for."""

Recall = Callable[[int, int, tuple[LimitKey, ...]], None]
"""Asks a worker (first argument) to answer the recall with this number for these limits."""


class _Recalled(NamedTuple):
    answer: asyncio.Future[None]
    keys: frozenset[LimitKey]


class LedgerKeeper:
    """The ledger as the coordinator uses it."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        recall: Recall,
        files: Files | None = None,
    ) -> None:
        """Read the journal; raises ``StorageError``, ``StorageCorrupt`` when it is damaged."""
        self._clock = clock
        self._recall = recall
        self._log = SegmentLog(
            directory,
            maximum_bytes=_MAXIMUM_BYTES,
            segment_bytes=4 * _COMPACT_BYTES,
            files=files,
        )
        self.notices = list(self._log.notices)
        self._ledger = Ledger(clock)
        decoder = msgspec.msgpack.Decoder(JournalRecord)
        try:
            for data in self._log.records():
                self._ledger.replay(decoder.decode(data))
        except (StorageCorrupt, msgspec.DecodeError) as error:
            raise StorageCorrupt(
                f"The ledger of limits cannot be read: {error}",
                advice=f"Budgets would start again without it. Put {directory} back from a"
                " back-up, or remove it to begin every limit from nothing.",
            ) from error
        self._ledger.settle_after_restart()
        self._compact((self._ledger.snapshot(),))
        self._since_snapshot = 0
        self._unwritten = False
        """A write failed, so the journal misses reports: the next one begins with a snapshot."""
        self._queue: CommitQueue[tuple[JournalRecord, ...]] = CommitQueue(
            self._write, name="ledger"
        )
        self._orders = 0
        self._recalls: dict[tuple[int, int], _Recalled] = {}
        self.workers = 1
        """How many workers share the limits: sizes the slices."""

    # --- journal, on the queue's thread ----------------------------------------------------

    def _write(self, batches: list[tuple[JournalRecord, ...]]) -> None:
        records = [record for batch in batches for record in batch]
        whole = [at for at, record in enumerate(records) if isinstance(record, Snapshot)]
        if whole:
            self._compact(records[whole[-1] :])  # it holds what the earlier ones say
        else:
            self._log.append(map(msgspec.msgpack.encode, records))

    def _compact(self, records: Sequence[JournalRecord]) -> None:
        """Begin a new segment with the whole state and remove what came before."""
        self._log.rotate()
        self._log.append(map(msgspec.msgpack.encode, records))
        self._log.release(self._log.end)

    def _journal(self, *records: JournalRecord) -> asyncio.Future[None]:
        if self._unwritten or self._since_snapshot > _COMPACT_BYTES:
            # The snapshot is taken now, on the loop's thread, and already holds these records.
            self._unwritten = False
            self._since_snapshot = 0
            records = (self._ledger.snapshot(),)
        self._since_snapshot += 64 * len(records)
        written = self._queue.submit(records)
        written.add_done_callback(self._journalled)
        return written

    def _journalled(self, written: asyncio.Future[None]) -> None:
        if not written.cancelled() and written.exception() is not None:
            self._unwritten = True

    # --- what workers ask ------------------------------------------------------------------

    async def reserve(
        self, worker: int, demands: Sequence[Demand], *, ahead: bool = False
    ) -> tuple[int, ...]:
        """Slices of at least the demanded amounts; raises ``LimitReached`` or ``StorageError``.

        Before it refuses, workers are asked to give back what they do not use; not so ``ahead``
        of need.
        """
        try:
            granted, records = self._ledger.grant(worker, demands, workers=self.workers)
        except LimitReached:
            waits = [] if ahead else self._recall_for(demands)
            if not waits:
                raise
            await asyncio.wait(waits, timeout=_RECALL_SECONDS)
            granted, records = self._ledger.grant(worker, demands, workers=self.workers)
        try:
            await asyncio.shield(self._journal(*records))
        except StorageError:
            self._ledger.revert(worker, demands, granted)
            raise
        return granted

    async def give_back(self, charge: BatchCharge, micro_usd: int) -> None:
        """Settle a batch that really cost ``micro_usd``, once; raises ``StorageError``."""
        # What its charge was taken from may not be reported yet: a count that does not hold it
        # would end at zero, and the charge would come behind it.
        waits = self._recall_from(self._ledger.holders(charge.limits), charge.limits)
        if waits:
            await asyncio.wait(waits, timeout=_RECALL_SECONDS)
        record = self._ledger.give_back(
            charge.batch_id,
            charge.limits,
            charge.micro_usd - micro_usd,
            charged_at=charge.charged_at,
        )
        if record is not None:
            await asyncio.shield(self._journal(record))

    def _recall_for(self, demands: Sequence[Demand]) -> list[asyncio.Future[None]]:
        """Ask for what may be unused of these limits; also what others have just asked for."""
        wanted = tuple(demand.key for demand in demands)
        return self._recall_from(self._ledger.loose(demands), wanted)

    def _recall_from(
        self, holders: dict[int, tuple[LimitKey, ...]], wanted: tuple[LimitKey, ...]
    ) -> list[asyncio.Future[None]]:
        for worker, keys in holders.items():
            self._orders += 1
            order = self._orders
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._recalls[worker, order] = _Recalled(answer, frozenset(keys))
            # Not loose from now on: what is granted after this message is not covered by it.
            self._ledger.recalled(worker, keys)
            self._recall(worker, order, keys)
            asyncio.get_running_loop().call_later(_RECALL_SECONDS, self._end_recall, worker, order)
        return [r.answer for r in self._recalls.values() if not r.keys.isdisjoint(wanted)]

    def _end_recall(self, worker: int, order: int) -> None:
        recall = self._recalls.pop((worker, order), None)
        if recall is not None and not recall.answer.done():
            recall.answer.set_result(None)

    def report(self, worker: int, uses: Iterable[SliceUse], *, order: int = 0) -> None:
        """Take in what a worker used and gave back."""
        records = [
            self._ledger.report(worker, use.key, used=use.used, returned=use.returned)
            for use in uses
        ]
        if records:
            self._journal(*records)
        self._end_recall(worker, order)

    def worker_lost(self, worker: int) -> None:
        """Count as used what a dead worker held."""
        self._journal(self._ledger.lose(worker))
        for owner, order in list(self._recalls):
            if owner == worker:
                self._end_recall(owner, order)

    def used(self, key: LimitKey) -> int:
        """What was used of a limit in its current window."""
        return self._ledger.used(key)

    def taken(self, key: LimitKey) -> int:
        """Used, plus what workers hold."""
        return self._ledger.taken(key)

    async def close(self) -> None:
        """Write the last reports and the state, and close the journal."""
        await self._queue.close()
        try:
            await asyncio.to_thread(self._compact, (self._ledger.snapshot(),))
        finally:
            self._log.close()
