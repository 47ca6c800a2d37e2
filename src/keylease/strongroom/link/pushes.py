"""Hands call records and audit entries to the platform, each at least once.

Promise: nothing leaves a spool before the platform has said that it is durable there; the position
    is durable too. After a crash the last batch may be sent again: records and entries have
    identifiers, so the platform can tell. Nothing is ever dropped because the platform refuses it:
    the spool grows to its bound, and then the gateway refuses calls and leases instead of losing
    track.
Limits: what damage on the disk has destroyed cannot be sent; the platform sees the gap.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

import msgspec

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditEntry
from keylease.errors import KeyleaseError, StorageCorrupt, StorageError
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7
from keylease.primitives.segments import Cursor
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.records.audit_spool import AuditSpool, Delivered
from keylease.strongroom.gateway.records.spool import CallSpool
from keylease.strongroom.link.backoff import Backoff

GROWING_SECONDS: Final = 0.25
"""How long a batch may wait to grow."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_READER: Final = "platform"
_POSITION: Final = "calls-pushed"


class Receiver(Protocol):
    """What a ``LinkClient`` does."""

    async def push_call_records(self, push: wire.CallRecordPush) -> wire.PushAnswer:
        """Hand over a batch; it is durable there when this returns."""
        ...

    async def push_audit_entries(self, push: wire.AuditPush) -> wire.PushAnswer:
        """Hand over a batch; it is durable there when this returns."""
        ...


class PushState(msgspec.Struct, kw_only=True):
    """How a push is doing, for status and metrics."""

    pushed: int = 0
    gaps: int = 0
    """Batches before which the platform missed something."""
    error: str = ""
    """Why the last attempt failed; empty when it went well."""


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored. Append-only."""

    spool_id: str
    segment: int = 0
    offset: int = 0


class CallRecordPush:
    """Reads the spool of call records from where the platform has it."""

    def __init__(self, spool: CallSpool, *, directory: Path, clock: Clock, log: Log) -> None:
        """Holds the spool's records from now on. Raises ``StorageError``."""
        self._spool = spool
        self._path = directory / _POSITION
        self._log = log
        self._position = self._read_position(clock)
        if Cursor(self._position.segment, self._position.offset) > spool.log.end:
            # The spool was lost and began again; under another name the platform sees that.
            log.error("call_spool_lost")
            self._position = self._new_position(clock)
        self._cursor = Cursor(self._position.segment, self._position.offset)
        self.state = PushState()
        spool.hold(_READER, self._cursor)

    def _read_position(self, clock: Clock) -> _Position:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Position)
        except FileNotFoundError:
            return self._new_position(clock)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageCorrupt(
                f"{self._path} cannot be read.",
                advice="Remove it to hand over everything that is kept once more.",
            ) from error

    def _new_position(self, clock: Clock) -> _Position:
        position = _Position(spool_id=uuid7(clock))
        files.make_private_directory(self._path.parent)
        files.replace(self._path, msgspec.json.encode(position))
        return position

    @property
    def behind_bytes(self) -> int:
        """What the platform does not have yet."""
        return self._spool.log.bytes_after(self._cursor)

    async def run(self, receiver: Receiver) -> None:
        """Push until cancelled."""
        backoff = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        while True:
            await self._spool.beyond(self._cursor)
            await asyncio.sleep(GROWING_SECONDS)
            try:
                await self._push_one(receiver)
            except KeyleaseError as error:
                _note(self.state, error, self._log, "call_records_wait")
                await backoff.pause()
            else:
                backoff.reset()

    async def _push_one(self, receiver: Receiver) -> None:
        try:
            batch = await self._spool.read(
                self._cursor,
                maximum_records=wire.MAXIMUM_BATCH_RECORDS,
                maximum_bytes=wire.MAXIMUM_BATCH_BYTES,
            )
        except StorageCorrupt as error:
            self._log.error("calls_damaged", message=error.message)
            # The position stays: what is sent next begins behind it, and the gap is seen.
            self._cursor = self._spool.log.after_damage(self._cursor)
            return
        if not batch.records:
            return
        start = self._cursor if not batch.dropped else self._spool.log.start
        answer = await receiver.push_call_records(
            wire.CallRecordPush(
                spool_id=self._position.spool_id,
                start=wire.SpoolPosition(segment=start.segment, offset=start.offset),
                end=wire.SpoolPosition(
                    segment=batch.following.segment, offset=batch.following.offset
                ),
                records=batch.records,
            )
        )
        _took(self.state, answer, len(batch.records), self._log, "call_records_gap")
        await self._advance(batch.following)

    async def _advance(self, cursor: Cursor) -> None:
        self._cursor = cursor
        position = msgspec.structs.replace(
            self._position, segment=cursor.segment, offset=cursor.offset
        )
        try:
            await asyncio.to_thread(files.replace, self._path, msgspec.json.encode(position))
            self._position = position
            await self._spool.release(_READER, cursor)
        except StorageError as error:
            # Going on is safe: after a crash these records are sent once more.
            self._log.error("push_position_not_written", error=type(error).__name__)


class AuditEntryPush:
    """Reads the audit spool from where the platform has it."""

    def __init__(self, spool: AuditSpool, *, log: Log) -> None:
        self._spool = spool
        self._log = log
        self._cursor = spool.delivered.cursor
        if self._cursor > spool.end:
            log.error("audit_spool_lost")  # the numbers go on, so the platform sees what is missing
            self._cursor = Cursor(0, 0)
        self._decoder = msgspec.json.Decoder(AuditEntry)
        self.state = PushState()

    async def run(self, receiver: Receiver) -> None:
        """Push until cancelled."""
        backoff = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        while True:
            await self._spool.beyond(self._cursor)
            await asyncio.sleep(GROWING_SECONDS)
            try:
                await self._push_one(receiver)
            except KeyleaseError as error:
                _note(self.state, error, self._log, "audit_entries_wait")
                await backoff.pause()
            else:
                backoff.reset()

    async def _push_one(self, receiver: Receiver) -> None:
        try:
            batch = await self._spool.read(
                self._cursor,
                maximum_records=wire.MAXIMUM_BATCH_RECORDS,
                maximum_bytes=wire.MAXIMUM_BATCH_BYTES,
            )
        except StorageCorrupt as error:
            self._log.error("audit_damaged", message=error.message)
            self._cursor = self._spool.after_damage(self._cursor)
            return
        if not batch.records:
            return
        answer = await receiver.push_audit_entries(wire.AuditPush(entries=batch.records))
        _took(self.state, answer, len(batch.records), self._log, "audit_entries_gap")
        self._cursor = batch.following
        last = self._decoder.decode(batch.records[-1])
        await self._spool.acknowledge(
            Delivered(
                segment=batch.following.segment,
                offset=batch.following.offset,
                sequence=last.sequence,
            )
        )


def _took(state: PushState, answer: wire.PushAnswer, records: int, log: Log, gap: str) -> None:
    state.error = ""
    state.pushed += records
    if answer.gap:
        state.gaps += 1
        log.error(gap, pushed=state.pushed)


def _note(state: PushState, error: KeyleaseError, log: Log, entry: str) -> None:
    reason = f"{error.code}: {error.message}"
    if state.error != reason:
        log.warning(entry, reason=reason)
    state.error = reason
