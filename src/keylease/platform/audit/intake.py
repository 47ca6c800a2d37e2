"""Takes the audit entries of gateways.

Promises: what was acknowledged is committed, in order, and will be logged. What is sent again is
    recognised and not logged twice. A missing number becomes an alarm in the log itself; so does a
    gateway whose numbers begin again. Nothing that arrives is dropped in silence.
Does not protect: a gateway can write what it likes about itself. Its entries carry the identity
    that it proved to the link, whatever they claim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from keylease import detectors
from keylease.contracts.audit import (
    ACTION_FORM,
    MAXIMUM_ENTRY_BYTES,
    AuditAction,
    LoggedEntry,
)
from keylease.platform.audit import repository
from keylease.platform.audit.repository import Source
from keylease.platform.audit.sequencer import Sequencer
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder(LoggedEntry).decode
_LONGEST_TEXT: Final = 1000
_MOST_DETAILS: Final = 32
_LARGEST: Final = 2**63
"""The first number that no column takes."""


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """What is durable now."""

    sequence: int
    """Everything up to this number has been taken, or its absence has been written down."""
    taken: int = 0
    duplicates: int = 0
    set_aside: int = 0
    """Unreadable to this version, or too large; kept apart, and noted in the log."""
    gap: bool = False


class AuditIntake:
    """Used by the link."""

    def __init__(self, database: Database, sequencer: Sequencer) -> None:
        self._database = database
        self._sequencer = sequencer

    async def accept(
        self, caller: Caller, gateway_id: str, entries: Sequence[bytes]
    ) -> Acknowledged:
        """Commit a batch, in the order of the gateway's spool.

        ``caller`` is the gateway as the link has authenticated it, with its organization. Raises
        ``AuditLogUnavailable`` and ``DatabaseUnavailable``: the gateway keeps its entries then.
        """
        self._sequencer.check(caller.organization_id)
        async with self._database.transaction(caller) as tx:
            await repository.take_turn(tx, gateway_id)
            known = await repository.source(tx, gateway_id)
            read = [_read(raw) for raw in entries]
            logged = await repository.indexed_ids(
                tx, gateway_id, [entry.sequence for entry in read if entry is not None]
            )
            batch = _Batch(tx, gateway_id, known or Source(0, ""), logged)
            for raw, entry in zip(entries, read, strict=True):
                if entry is None:
                    await batch.set_aside(raw)
                else:
                    await batch.take(entry)
            await batch.finish(new=known is None)
            return batch.answer()


class _Batch:
    """What becomes of one push."""

    def __init__(
        self, tx: Transaction, gateway_id: str, reached: Source, logged: dict[int, set[str]]
    ) -> None:
        """``logged`` are the entries of the log with the numbers of this push."""
        self._tx = tx
        self._organization_id = tx.caller.organization_id
        self._gateway_id = gateway_id
        self._logged = logged
        self._before = self._reached = reached
        self._pending: list[bytes] = []
        self._skipped = 0
        """Set aside since the last entry that was read: their numbers are not missing."""
        self._duplicates = self._set_aside = self._taken = 0
        self._gap = False

    async def take(self, entry: LoggedEntry) -> None:
        last = self._reached.sequence
        encoded = _encode(self._cleaned(entry))
        ids = self._logged.get(entry.sequence, set())
        if entry.id in ids or (entry.sequence <= last and await self._waits(encoded, entry.id)):
            self._duplicates += 1
            return
        if entry.sequence > last + 1 + self._skipped:
            self._gap = True
            await self._record(
                AuditAction.GATEWAY_AUDIT_GAP_FOUND,
                {"first": str(last + 1), "last": str(entry.sequence - 1)},
            )
        elif entry.sequence <= last and (ids or entry.sequence == last):
            await self._record(
                AuditAction.GATEWAY_AUDIT_RESTARTED,
                {"last": str(last), "began": str(entry.sequence)},
            )
        if entry.sequence > last or ids or entry.sequence == last:
            self._reached = Source(entry.sequence, entry.id)
        # else it was missing before, was written down as a gap, and arrives late
        self._skipped = 0
        self._pending.append(encoded)
        self._taken += 1

    async def _waits(self, encoded: bytes, entry_id: str) -> bool:
        """Whether an entry was committed and is not logged yet."""
        if entry_id == self._reached.entry_id or encoded in self._pending:
            return True
        return bool(await repository.positions_of(self._tx, self._organization_id, [encoded]))

    async def set_aside(self, raw: bytes) -> None:
        digest = hashlib.sha256(raw).hexdigest()
        self._skipped += 1
        self._set_aside += 1
        if not detectors.looks_like_secret(raw.decode("utf-8", "replace")):
            await repository.set_aside(
                self._tx, self._organization_id, self._gateway_id, raw[:MAXIMUM_ENTRY_BYTES]
            )
        await self._record(
            AuditAction.GATEWAY_AUDIT_SET_ASIDE, {"sha256": digest, "bytes": str(len(raw))}
        )

    async def finish(self, *, new: bool) -> None:
        await self._flush()
        if self._reached != self._before:
            await repository.set_source(
                self._tx, self._gateway_id, self._organization_id, self._reached, new=new
            )

    def answer(self) -> Acknowledged:
        return Acknowledged(
            sequence=self._reached.sequence,
            taken=self._taken,
            duplicates=self._duplicates,
            set_aside=self._set_aside,
            gap=self._gap,
        )

    def _cleaned(self, entry: LoggedEntry) -> LoggedEntry:
        """The entry as it is logged: whose it is, is not the gateway's to say; no secret."""
        return msgspec.structs.replace(
            entry,
            organization_id=self._organization_id,
            gateway_id=self._gateway_id,
            principal=_masked(entry.principal),
            object=_masked(entry.object),
            reason=_masked(entry.reason),
            details={
                _masked(name): _masked(value)
                for name, value in list(entry.details.items())[:_MOST_DETAILS]
            },
        )

    async def _record(self, action: AuditAction, details: dict[str, str]) -> None:
        await self._flush()  # in the order in which it was noticed
        await self._tx.record(action, self._gateway_id, details=details)

    async def _flush(self) -> None:
        await repository.put_into_outbox(self._tx, self._organization_id, self._pending)
        self._pending = []


def _read(raw: bytes) -> LoggedEntry | None:
    """An entry, or None for what this version cannot read."""
    try:
        entry = _decode(raw)
    except msgspec.DecodeError:
        return None
    sound = (
        len(raw) <= MAXIMUM_ENTRY_BYTES
        and 0 < entry.sequence < _LARGEST
        and 0 <= entry.at < _LARGEST
        and 0 < len(entry.id) <= 36  # noqa: PLR2004 - a UUID in text
        and "\0" not in entry.id
        and ACTION_FORM.fullmatch(entry.action)
    )
    return entry if sound else None


def _masked(text: str) -> str:
    return detectors.mask(text)[0][:_LONGEST_TEXT]
