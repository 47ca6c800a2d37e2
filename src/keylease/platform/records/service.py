"""Takes call records from gateways, and answers what was called.

Promises: what was acknowledged is committed, and its spans are in the trace store's log. What is
    sent again is recognised by its place and its id, and counted once. What is missing between two
    batches becomes an alarm in the audit log; so does a spool that began again. Nothing that
    arrives is dropped: what is not understood is kept apart.
Protects: a secret that a gateway should have masked is masked here before it is stored.
Does not protect: a gateway can write what it likes about itself, and about the credentials of its
    group; its records stand under its own organization.
Limits: records are kept for ``KEEP_RECORDS``, totals by day for ``KEEP_TOTALS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from keylease import detectors
from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.contracts.call_records import CallRecord, Usage
from keylease.errors import DatabaseUnavailable, RequestMalformed, ResourceNotFound
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.records import repository
from keylease.platform.records.calls import (
    CallFilter,
    CredentialUse,
    RecentCall,
    SeenVersion,
    SpoolState,
    StoredCall,
    Total,
    TotalsBy,
)
from keylease.platform.records.interfaces import CallSpans
from keylease.primitives.clock import MICROSECONDS

KEEP_RECORDS: Final = 30 * 86_400 * MICROSECONDS
KEEP_TOTALS: Final = 400 * 86_400 * MICROSECONDS
_HOUR: Final = 3600.0
_AT_ONCE: Final = 1000
_MOST_GROUPS: Final = 1000
_START: Final = (0, 0)
_LARGEST: Final = 2**53
_MOST_OF_A_CALL: Final = 2**40
"""Tokens, and micro-USD (a million dollars): sums of eight million such calls fit their column."""
_LONGEST_SPOOL_ID: Final = 36
_decode: Final = msgspec.msgpack.Decoder(CallRecord).decode


class RecordService:
    """Used by the link, by routes and by policy."""

    def __init__(self, database: Database, spans: CallSpans | None = None) -> None:
        """``spans`` is where calls become spans; without it they do not."""
        self._database = database
        self._spans = spans

    # --- taking ----------------------------------------------------------------------------

    async def accept(
        self,
        caller: Caller,
        gateway_id: str,
        push: wire.CallRecordPush,
        *,
        served: frozenset[str] | None = None,
    ) -> wire.PushAnswer:
        """Commit a batch. ``caller`` is the gateway, as the link has proven it.

        ``served`` are the credentials whose versions it can know; ``None`` is all.
        Raises ``RequestMalformed`` for a place that no spool has, ``DatabaseUnavailable``, or what
        ``CallSpans`` raises: the gateway keeps its records then.
        """
        _check_place(push)
        read = [_read(raw, caller.organization_id) for raw in push.records]
        if self._spans is not None:
            # First, because a batch that was committed is not looked at again: what is sent twice
            # is one span all the same.
            calls = [record for record in read if record is not None]
            await self._spans.take(caller.organization_id, gateway_id, calls)
        async with self._database.transaction(caller) as tx:
            # 1. What should have come before this? The same batch may come twice at a time.
            await repository.take_turn(tx)
            before = await repository.spool(tx, gateway_id)
            if _is_repeated(push, before):
                return wire.PushAnswer(duplicates=len(push.records))
            gap = await self._note_missing(tx, gateway_id, push, before)
            # 2. What is new of it?
            records = {record.id: record for record in read if record is not None}
            known = await repository.known_ids(tx, caller.organization_id, list(records))
            fresh = [record for record in records.values() if record.id not in known]
            await repository.add(tx, gateway_id, fresh, served=served)
            aside = [raw for raw, record in zip(push.records, read, strict=True) if record is None]
            for raw in aside:
                if not detectors.looks_like_secret(raw.decode("utf-8", "replace")):
                    await repository.set_aside(tx, gateway_id, raw)
            # 3. How far it was taken.
            after = SpoolState(
                spool_id=push.spool_id, segment=push.end.segment, offset=push.end.offset
            )
            await repository.set_spool(tx, gateway_id, after)
        return wire.PushAnswer(
            taken=len(fresh),
            duplicates=len(push.records) - len(aside) - len(fresh),
            set_aside=len(aside),
            gap=gap,
        )

    async def _note_missing(
        self,
        tx: Transaction,
        gateway_id: str,
        push: wire.CallRecordPush,
        before: SpoolState | None,
    ) -> bool:
        start = (push.start.segment, push.start.offset)
        if before is not None and before.spool_id != push.spool_id:
            await tx.record(AuditAction.CALL_RECORDS_RESTARTED, gateway_id)
            return True
        reached = (before.segment, before.offset) if before is not None else _START
        if start <= reached:
            return False
        await tx.record(
            AuditAction.CALL_RECORDS_GAP_FOUND,
            gateway_id,
            details={
                "after": f"{reached[0]}:{reached[1]}",
                "before": f"{start[0]}:{start[1]}",
            },
        )
        return True

    async def note_fetches(
        self, caller: Caller, entries: Sequence[bytes], *, served: frozenset[str] | None = None
    ) -> None:
        """Learn from a gateway's audit entries which versions of credentials it has fetched."""
        seen: list[tuple[str, str, int, int]] = []
        for raw in entries:
            try:
                entry = msgspec.json.decode(raw, type=AuditEntry)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the audit log keeps it apart
            version = entry.details.get("version", "")
            if (
                entry.action is AuditAction.CREDENTIAL_FETCHED
                and entry.object
                and version
                and "\0" not in entry.object + version
                and 0 <= entry.at < _LARGEST
                and (served is None or entry.object in served)
            ):
                seen.append((entry.object[:36], version[:200], entry.at, 0))
        if seen:
            async with self._database.transaction(caller) as tx:
                await repository.note_versions(tx, caller.organization_id, seen)

    # --- giving out ------------------------------------------------------------------------

    async def calls(
        self, caller: Caller, wanted: CallFilter, page: PageRequest
    ) -> Page[StoredCall]:
        """Recent calls, the newest first."""
        async with self._database.reading(caller) as tx:
            found = await repository.calls(tx, caller.organization_id, wanted, page)
        return page_of(found, page, key=lambda call: (str(call.record.started_at), call.record.id))

    async def call(self, caller: Caller, call_id: str) -> StoredCall:
        """One call. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            found = await repository.call(tx, caller.organization_id, call_id)
        if found is None:
            raise ResourceNotFound("There is no such call, or it is no longer kept.")
        return found

    async def totals(self, caller: Caller, by: TotalsBy, wanted: CallFilter) -> Sequence[Total]:
        """Sums over whole UTC days."""
        async with self._database.reading(caller) as tx:
            return await repository.totals(
                tx, caller.organization_id, by, wanted, limit=_MOST_GROUPS
            )

    async def versions_seen(
        self, tx: Transaction, organization_id: str, credential_ids: Sequence[str] | None
    ) -> Mapping[str, Sequence[SeenVersion]]:
        """Versions by credential, the oldest first; of all credentials for ``None``."""
        return await repository.versions_seen(tx, organization_id, credential_ids)

    async def recent_calls(
        self, tx: Transaction, organization_id: str, *, since: int, limit: int
    ) -> Sequence[RecentCall]:
        """Calls from ``since`` (microseconds UTC) on, the newest first, at most ``limit``."""
        return await repository.recent_calls(tx, organization_id, since=since, limit=limit)

    async def uses(self, caller: Caller, credential_ids: Sequence[str]) -> Sequence[CredentialUse]:
        """Who used these credentials, as far as calls are kept."""
        async with self._database.reading(caller) as tx:
            return await repository.uses(tx, caller.organization_id, credential_ids)

    # --- forgetting ------------------------------------------------------------------------

    async def forget(self) -> int:
        """Remove what is past its time; how many records."""
        removed = 0
        while True:
            async with self._database.transaction() as tx:
                before = tx.now - KEEP_RECORDS
                gone = await repository.forget_calls(tx, before=before, limit=_AT_ONCE)
                removed += gone
                if gone < _AT_ONCE:
                    await repository.forget_totals(tx, before=tx.now - KEEP_TOTALS)
                    return removed

    async def keep_forgetting(self, *, on_error: Callable[[BaseException], None]) -> None:
        """Do so every hour, until cancelled."""
        while True:
            try:
                await self.forget()
            except DatabaseUnavailable:
                pass  # in an hour again
            except Exception as error:  # noqa: BLE001 - a defect must not end the forgetting
                on_error(error)
            await asyncio.sleep(_HOUR)


def _check_place(push: wire.CallRecordPush) -> None:
    numbers = (push.start.segment, push.start.offset, push.end.segment, push.end.offset)
    named = 0 < len(push.spool_id) <= _LONGEST_SPOOL_ID and "\0" not in push.spool_id
    if not named or not all(0 <= number < _LARGEST for number in numbers):
        raise RequestMalformed(
            "The batch names no place of a spool.",
            advice="Compare the versions of the gateway and of the platform.",
        )


def _is_repeated(push: wire.CallRecordPush, before: SpoolState | None) -> bool:
    return (
        before is not None
        and before.spool_id == push.spool_id
        and (push.end.segment, push.end.offset) <= (before.segment, before.offset)
    )


def _read(raw: bytes, organization_id: str) -> CallRecord | None:
    """A record as it is stored: whose it is, is not its own to say; no secret in it."""
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not _is_plausible(record):
        return None
    texts = {
        name: value
        for name, value in msgspec.structs.asdict(record).items()
        if isinstance(value, str) and value
    }
    masked: dict[str, str] = {}
    if detectors.looks_like_secret("\n".join(texts.values())):
        masked = {name: detectors.mask(value)[0] for name, value in texts.items()}
    return msgspec.structs.replace(record, **{**masked, "organization_id": organization_id})


def _is_plausible(record: CallRecord) -> bool:
    """Whether a record can be stored and counted: identifiers are some, numbers have an end."""
    try:
        identified = str(UUID(record.id)) == record.id
    except ValueError:
        return False
    usage = record.usage or Usage()
    texts = (
        record.principal,
        record.credential_id,
        record.credential_version,
        record.upstream_model,
        record.requested_model,
        record.purpose,
        record.environment,
    )
    return (
        identified
        and all(0 <= number < _LARGEST for number in (record.started_at, record.duration))
        and all(0 <= number < _MOST_OF_A_CALL for number in (record.cost or 0, *_numbers(usage)))
        and not any("\0" in text for text in texts)
    )


def _numbers(usage: Usage) -> tuple[int, ...]:
    return tuple(int(value) for value in msgspec.structs.astuple(usage))
