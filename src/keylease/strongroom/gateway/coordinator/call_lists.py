"""Reads call records out of the spool for people: the newest that match, and those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from keylease.contracts.call_records import CallRecord
from keylease.contracts.patterns import matches
from keylease.errors import RequestMalformed, StorageCorrupt
from keylease.primitives.segments import Cursor, SegmentLog
from keylease.strongroom.gateway.records.spool import CallSpool

MAXIMUM_LIMIT: Final = 10_000
_CLASSES: Final = {f"{first}xx": range(first * 100, first * 100 + 100) for first in range(1, 6)}
_FAILURE: Final = 400


class CallFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of ``calls.list`` and ``calls.follow``."""

    since: int = 0
    """Microseconds UTC; calls that began before are left out."""
    model: str = ""
    """Pattern; the requested or the upstream model."""
    principal: str = ""
    """Pattern."""
    provider: str = ""
    status: str = ""
    """``200``, ``4xx``, ``ok`` or ``failed``."""
    limit: int = 50

    def check(self) -> None:
        """Raise ``RequestMalformed`` when it cannot be understood."""
        if not 0 < self.limit <= MAXIMUM_LIMIT:
            raise RequestMalformed(f"The limit is not between 1 and {MAXIMUM_LIMIT}.")
        known = self.status in {"", "ok", "failed", *_CLASSES}
        if not known and not (self.status.isdigit() and len(self.status) == 3):  # noqa: PLR2004 - digits of a status
            raise RequestMalformed(
                f"The status {self.status[:20]!r} is none.",
                advice="Use a number such as 429, a class such as 5xx, ok or failed.",
            )

    def accepts(self, record: CallRecord) -> bool:
        """Whether a call belongs in the answer."""
        return (
            record.started_at >= self.since
            and (not self.provider or record.provider == self.provider)
            and (not self.principal or matches(self.principal, record.principal))
            and (
                not self.model
                or matches(self.model, record.requested_model)
                or matches(self.model, record.upstream_model)
            )
            and self._accepts_status(record)
        )

    def _accepts_status(self, record: CallRecord) -> bool:
        failed = record.status >= _FAILURE or bool(record.error)
        match self.status:
            case "":
                return True
            case "ok":
                return not failed
            case "failed":
                return failed
            case status if status in _CLASSES:
                return record.status in _CLASSES[status]
            case status:
                return record.status == int(status)


class CallLists:
    """Serves ``calls.list`` and ``calls.follow``."""

    def __init__(self, spool: CallSpool) -> None:
        self._spool = spool
        self._decoder = msgspec.msgpack.Decoder(CallRecord)

    async def newest(self, wanted: CallFilter) -> list[dict[str, Any]]:
        """The newest calls that match, oldest first."""
        wanted.check()
        return await asyncio.to_thread(self._newest, self._spool.log, wanted)

    def _newest(self, log: SegmentLog, wanted: CallFilter) -> list[dict[str, Any]]:
        # Segment by segment from the newest: usually the first one is enough.
        found: list[CallRecord] = []
        segment = log.end.segment
        while segment >= log.start.segment and len(found) < wanted.limit:
            records = list(self._segment(log, segment))
            found = [record for record in records if wanted.accepts(record)] + found
            if records and records[0].started_at < wanted.since:
                break
            segment -= 1
        return [_plain(record) for record in found[-wanted.limit :]]

    def _segment(self, log: SegmentLog, segment: int) -> list[CallRecord]:
        cursor = Cursor(segment, 0)
        records: list[CallRecord] = []
        while cursor.segment == segment:
            try:
                batch = log.read(cursor, maximum_records=100_000)
            except StorageCorrupt:
                break  # said when the spool was opened or exported; the rest is still shown
            if not batch.records:
                break
            records += map(self._decoder.decode, batch.records)
            cursor = batch.following
        return records

    async def follow(self, wanted: CallFilter) -> AsyncIterator[dict[str, Any]]:
        """Calls as they are recorded, from now on; ``wanted`` was checked."""
        cursor = self._spool.log.end
        while True:
            await self._spool.beyond(cursor)
            try:
                batch = await self._spool.read(cursor)
            except StorageCorrupt:
                cursor = self._spool.log.after_damage(cursor)
                continue
            for data in batch.records:
                record = self._decoder.decode(data)
                if wanted.accepts(record):
                    yield _plain(record)
            cursor = batch.following


def _plain(record: CallRecord) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain
