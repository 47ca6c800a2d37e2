"""The gateway's audit entries: numbered without a gap, fsynced before anybody gets an answer.

Promise: when ``write`` returns, the entry survives power loss. A number is used only by an entry
    that was stored, so a missing number means that somebody removed one.
Protects: keys and leases that somebody sent in the wrong field are masked before they are stored.
Does not protect: against somebody who may write the files; sequencing into a Merkle tree does.
Limits: at its bound the spool refuses, and with it lease issue and credential fetches. It is
    never emptied by itself: entries leave when a platform has taken them, a whole file at a time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from keylease import detectors
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.errors import StorageCorrupt
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7
from keylease.primitives.segments import Batch, Cursor, SegmentLog
from keylease.strongroom.gateway.records.commit_queue import CommitQueue

MAXIMUM_BYTES: Final = 1024 * 1024 * 1024
_DELIVERED: Final = "delivered"


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform has taken. Stored; append-only."""

    segment: int = 0
    offset: int = 0
    sequence: int = 0
    """Of the last entry; numbers go on from here although no file holds it any more."""

    @property
    def cursor(self) -> Cursor:
        """Where the next entry is read."""
        return Cursor(self.segment, self.offset)


class AuditSpool:
    """Writes and reads audit entries."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        organization_id: str,
        maximum_bytes: int = MAXIMUM_BYTES,
    ) -> None:
        """Open the spool; raises ``StorageError``. ``notices`` say what had to be repaired."""
        self._clock = clock
        self.organization_id = organization_id
        """Of the entries to come."""
        self._delivered_path = directory / _DELIVERED
        self._log = SegmentLog(directory, maximum_bytes=maximum_bytes)
        self._decoder = msgspec.json.Decoder(AuditEntry)
        self.notices = list(self._log.notices)
        self.delivered = self._read_delivered()
        self._waiters: set[asyncio.Future[None]] = set()
        self.next_sequence = self._find_next()
        self._queue: CommitQueue[AuditEntry] = CommitQueue(self._write, name="audit")

    def _find_next(self) -> int:
        """One more than the highest stored number, reading as few segments as possible."""
        highest = 0
        floor = self.delivered.sequence
        segment = self._log.end.segment
        while not highest and segment >= self._log.start.segment:
            cursor = Cursor(segment, 0)
            while cursor < self._log.end:
                try:
                    batch = self._log.read(cursor)
                except StorageCorrupt as error:
                    self.notices.append(error.message)
                    cursor = self._log.after_damage(cursor)
                    continue
                for record in batch.records:
                    highest = max(highest, self._decoder.decode(record).sequence)
                cursor = batch.following
                if not batch.records:
                    break
            segment -= 1
        return max(highest, floor) + 1

    def _write(self, entries: list[AuditEntry]) -> None:
        # On the queue's thread: numbers are given here, so that a failed write uses none.
        first = self.next_sequence
        numbered = [
            msgspec.structs.replace(entry, sequence=first + position)
            for position, entry in enumerate(entries)
        ]
        self._log.append([msgspec.json.encode(entry) for entry in numbered])
        self.next_sequence = first + len(entries)

    async def write(
        self,
        action: AuditAction,
        *,
        principal: str = "",
        subject: str = "",
        reason: str = "",
        details: dict[str, str] | None = None,
    ) -> None:
        """Store an entry durably; raises ``StorageError``, and then the act must not happen.

        ``subject`` is what it was done to: the entry's ``object``.
        """
        await self._queue.put(
            AuditEntry(
                id=uuid7(self._clock),
                sequence=0,
                at=self._clock.now(),
                organization_id=self.organization_id,
                action=action,
                principal=_masked(principal),
                object=_masked(subject),
                reason=reason,
                details={name: _masked(value) for name, value in (details or {}).items()},
            )
        )
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def entries(self) -> Iterator[AuditEntry]:
        """Every entry from the oldest that is kept; raises ``StorageCorrupt`` at damage."""
        for record in self._log.records():
            yield self._decoder.decode(record)

    async def listed(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        """The first ``limit`` entries behind a sequence number, for people."""

        def read() -> list[dict[str, Any]]:
            behind = (entry for entry in self.entries() if entry.sequence > after)
            return [msgspec.to_builtins(entry) for entry in itertools.islice(behind, limit)]

        return await asyncio.to_thread(read)

    # --- delivery to a platform ----------------------------------------------------------------

    def _read_delivered(self) -> Delivered:
        try:
            return msgspec.json.decode(self._delivered_path.read_bytes(), type=Delivered)
        except FileNotFoundError:
            return Delivered()
        except (OSError, msgspec.DecodeError) as error:
            raise StorageCorrupt(
                f"{self._delivered_path} cannot be read.",
                advice="Remove it to hand over everything that is kept once more.",
            ) from error

    async def read(self, cursor: Cursor, *, maximum_records: int, maximum_bytes: int) -> Batch:
        """Entries behind ``cursor`` as they are stored; raises ``StorageCorrupt`` at damage."""
        return await asyncio.to_thread(
            self._log.read, cursor, maximum_records=maximum_records, maximum_bytes=maximum_bytes
        )

    @property
    def end(self) -> Cursor:
        """After the newest entry."""
        return self._log.end

    def after_damage(self, cursor: Cursor) -> Cursor:
        """Where reading goes on after ``read`` raised ``StorageCorrupt`` at ``cursor``."""
        return self._log.after_damage(cursor)

    async def beyond(self, cursor: Cursor) -> None:
        """Return when there is something behind ``cursor``."""
        while self._log.end <= cursor:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def acknowledge(self, delivered: Delivered) -> None:
        """A platform holds everything up to there; raises ``StorageError``.

        Written down before a file goes, so that its last number is never given again.
        """
        stored = msgspec.json.encode(delivered)
        await asyncio.to_thread(files.replace, self._delivered_path, stored)
        self.delivered = delivered
        await self._queue.call(lambda: self._log.release(delivered.cursor))

    @property
    def waiting(self) -> int:
        """Entries that no platform has taken."""
        return self.next_sequence - 1 - self.delivered.sequence

    @property
    def total_bytes(self) -> int:
        """Size on disk."""
        return self._log.total_bytes

    async def close(self) -> None:
        """Finish what is being written."""
        await self._queue.close()
        self._log.close()


def _masked(text: str) -> str:
    return detectors.mask(text)[0]
