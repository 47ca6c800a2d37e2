"""The gateway's audit entries: numbered without a gap, fsynced before anybody gets an answer.

Promise: when ``write`` returns, the entry survives power loss. A number is used only by an entry
    that was stored, so a missing number means that somebody removed one.
Protects: keys and leases that somebody sent in the wrong field are masked before they are stored.
Does not protect: against somebody who may write the files; sequencing into a Merkle tree does.
Limits: at its bound the spool refuses, and with it lease issue and credential fetches. It is
    never emptied by itself: entries leave when a platform has taken them.
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
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7
from keylease.primitives.segments import Cursor, SegmentLog
from keylease.strongroom.gateway.records.commit_queue import CommitQueue

MAXIMUM_BYTES: Final = 1024 * 1024 * 1024


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
        self._organization_id = organization_id
        self._log = SegmentLog(directory, maximum_bytes=maximum_bytes)
        self._decoder = msgspec.json.Decoder(AuditEntry)
        self.notices = list(self._log.notices)
        self.next_sequence = self._find_next()
        self._queue: CommitQueue[AuditEntry] = CommitQueue(self._write, name="audit")

    def _find_next(self) -> int:
        """One more than the highest stored number, reading as few segments as possible."""
        highest = 0
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
        return highest + 1

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
                organization_id=self._organization_id,
                action=action,
                principal=_masked(principal),
                object=_masked(subject),
                reason=reason,
                details={name: _masked(value) for name, value in (details or {}).items()},
            )
        )

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
