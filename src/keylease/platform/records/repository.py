"""Stores call records, totals and positions. Every statement names the organization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Select, Table, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from keylease.contracts.call_records import CallRecord
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Transaction
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
from keylease.platform.records.tables import CALLS, SET_ASIDE, SPOOLS, TOTALS, VERSIONS
from keylease.primitives.clock import MICROSECONDS

FAILURE: Final = 400
_DAY: Final = 86_400 * MICROSECONDS
_IDS_AT_ONCE: Final = 500
_TURNS: Final = 0x63616C6C  # "call": names these advisory locks among all of the database
_decode: Final = msgspec.json.Decoder(CallRecord).decode
_GROUPED: Final = {
    TotalsBy.PRINCIPAL: TOTALS.c.principal,
    TotalsBy.CREDENTIAL: TOTALS.c.credential_id,
    TotalsBy.MODEL: TOTALS.c.model,
    TotalsBy.DAY: TOTALS.c.day,
}


def model_of(record: CallRecord) -> str:
    """The model that a call is counted under: what the provider was asked for."""
    return (record.upstream_model or record.requested_model)[:200]


def has_failed(record: CallRecord) -> bool:
    """Whether the caller got no useful answer."""
    return record.status >= FAILURE or bool(record.error)


# --- taking --------------------------------------------------------------------------------


async def take_turn(tx: Transaction) -> None:
    """Let batches of one organization be taken one after another, until this transaction ends.

    A batch that is sent again while its first sending is still being taken would else be counted
    by both. SQLite has one writer anyway.
    """
    if tx.connection.dialect.name == "postgresql":
        whose = func.hashtext(tx.caller.organization_id)
        await tx.execute(select(func.pg_advisory_xact_lock(_TURNS, whose)))


async def known_ids(tx: Transaction, organization_id: str, ids: Sequence[str]) -> set[str]:
    """Those of these records that are stored."""
    known: set[str] = set()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        part = ids[start : start + _IDS_AT_ONCE]
        rows = await tx.rows(
            select(CALLS.c.id).where(
                CALLS.c.organization_id == organization_id, CALLS.c.id.in_(part)
            )
        )
        known.update(str(row["id"]) for row in rows)
    return known


async def add(
    tx: Transaction,
    gateway_id: str,
    records: Sequence[CallRecord],
    *,
    served: frozenset[str] | None = None,
) -> None:
    """Store records, and count them; versions only of credentials that are ``served``."""
    if not records:
        return
    organization_id = tx.caller.organization_id
    await tx.execute(
        insert(CALLS),
        [
            {
                "organization_id": organization_id,
                "id": record.id,
                "gateway_id": gateway_id,
                "started_at": record.started_at,
                "principal": record.principal[:220],
                "credential_id": record.credential_id[:36],
                "model": model_of(record),
                "purpose": record.purpose[:32],
                "environment": record.environment[:64],
                "failed": int(has_failed(record)),
                "record": msgspec.json.encode(record),
            }
            for record in records
        ],
    )
    await _count(tx, organization_id, records)
    await note_versions(
        tx,
        organization_id,
        (
            (record.credential_id[:36], record.credential_version[:200], record.started_at, 1)
            for record in records
            if record.credential_id
            and record.credential_version
            and (served is None or record.credential_id in served)
        ),
    )


async def _count(tx: Transaction, organization_id: str, records: Iterable[CallRecord]) -> None:
    sums: dict[tuple[int, str, str, str], dict[str, int]] = {}
    for record in records:
        key = (
            record.started_at // _DAY,
            record.principal[:220],
            record.credential_id[:36],
            model_of(record),
        )
        one = sums.setdefault(key, dict.fromkeys(_SUMMED, 0))
        one["calls"] += 1
        one["failed"] += int(has_failed(record))
        if record.usage is not None:
            one["input_tokens"] += record.usage.input_tokens
            one["output_tokens"] += record.usage.output_tokens
        if record.cost is not None:
            one["cost"] += record.cost
        elif record.credential_id:
            one["cost_unknown"] += 1
    # In one order everywhere, so that two transactions cannot wait for each other.
    for (day, principal, credential_id, model), one in sorted(sums.items()):
        values = {
            "organization_id": organization_id,
            "day": day,
            "principal": principal,
            "credential_id": credential_id,
            "model": model,
            **one,
        }
        await _upsert(tx, TOTALS, values, {name: TOTALS.c[name] + one[name] for name in _SUMMED})


_SUMMED: Final = ("calls", "failed", "input_tokens", "output_tokens", "cost", "cost_unknown")


async def note_versions(
    tx: Transaction, organization_id: str, seen: Iterable[tuple[str, str, int, int]]
) -> None:
    """Credential id, version fingerprint, when, and how many calls."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for credential_id, fingerprint, at, calls in seen:
        first, last, before = found.get((credential_id, fingerprint), (at, at, 0))
        found[credential_id, fingerprint] = (min(first, at), max(last, at), before + calls)
    for (credential_id, fingerprint), (first, last, calls) in sorted(found.items()):
        values = {
            "organization_id": organization_id,
            "credential_id": credential_id,
            "fingerprint": fingerprint,
            "first_seen": first,
            "last_seen": last,
            "calls": calls,
        }
        table = VERSIONS.c
        least, greatest = _extremes(tx)
        changes = {
            "first_seen": least(table.first_seen, first),
            "last_seen": greatest(table.last_seen, last),
            "calls": table.calls + calls,
        }
        await _upsert(tx, VERSIONS, values, changes)


def _extremes(tx: Transaction) -> tuple[Any, Any]:
    if tx.connection.dialect.name == "sqlite":
        return func.min, func.max
    return func.least, func.greatest


async def _upsert(
    tx: Transaction, table: Table, values: Mapping[str, Any], changes: Mapping[str, Any]
) -> None:
    keys = [column.name for column in table.primary_key.columns]
    if tx.connection.dialect.name == "sqlite":
        statement: Any = sqlite.insert(table).values(values)
    else:
        statement = postgresql.insert(table).values(values)
    await tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes))


async def set_aside(tx: Transaction, gateway_id: str, record: bytes) -> None:
    """Keep what is not understood."""
    await tx.execute(
        insert(SET_ASIDE).values(
            id=tx.new_id(),
            organization_id=tx.caller.organization_id,
            gateway_id=gateway_id,
            at=tx.now,
            record=record,
        )
    )


async def spool(tx: Transaction, gateway_id: str) -> SpoolState | None:
    """How far a gateway's spool was taken."""
    row = await tx.row(select(SPOOLS).where(SPOOLS.c.gateway_id == gateway_id))
    if row is None:
        return None
    return SpoolState(spool_id=row["spool_id"], segment=row["segment"], offset=row["offset"])


async def set_spool(tx: Transaction, gateway_id: str, state: SpoolState) -> None:
    """Store how far it was taken."""
    values = msgspec.structs.asdict(state)
    changed = await tx.execute(
        update(SPOOLS).where(SPOOLS.c.gateway_id == gateway_id).values(values)
    )
    if changed.rowcount == 0:
        await tx.execute(
            insert(SPOOLS).values(
                gateway_id=gateway_id, organization_id=tx.caller.organization_id, **values
            )
        )


# --- giving out ----------------------------------------------------------------------------


async def calls(
    tx: Transaction, organization_id: str, wanted: CallFilter, page: PageRequest
) -> list[StoredCall]:
    """The newest first; one more than the page holds."""
    query = _narrowed(
        select(CALLS.c.gateway_id, CALLS.c.record, CALLS.c.started_at, CALLS.c.id),
        organization_id,
        wanted,
    )
    if (after := page.after(2)) is not None:
        query = query.where(
            tuple_(CALLS.c.started_at, CALLS.c.id) < (_whole_number(after[0]), after[1])
        )
    query = query.order_by(CALLS.c.started_at.desc(), CALLS.c.id.desc()).limit(page.limit + 1)
    return [
        StoredCall(gateway_id=row["gateway_id"], record=_decode(row["record"]))
        for row in await tx.rows(query)
    ]


async def call(tx: Transaction, organization_id: str, call_id: str) -> StoredCall | None:
    """One call."""
    row = await tx.row(
        select(CALLS.c.gateway_id, CALLS.c.record).where(
            CALLS.c.organization_id == organization_id, CALLS.c.id == call_id
        )
    )
    if row is None:
        return None
    return StoredCall(gateway_id=row["gateway_id"], record=_decode(row["record"]))


def _narrowed(query: Select[Any], organization_id: str, wanted: CallFilter) -> Select[Any]:
    query = query.where(
        CALLS.c.organization_id == organization_id, CALLS.c.started_at >= wanted.since
    )
    if wanted.until:
        query = query.where(CALLS.c.started_at < wanted.until)
    if wanted.principal:
        query = query.where(CALLS.c.principal == wanted.principal)
    if wanted.credential_id:
        query = query.where(CALLS.c.credential_id == wanted.credential_id)
    if wanted.model:
        query = query.where(CALLS.c.model == wanted.model)
    if wanted.failed is not None:
        query = query.where(CALLS.c.failed == int(wanted.failed))
    return query


async def totals(
    tx: Transaction, organization_id: str, by: TotalsBy, wanted: CallFilter, *, limit: int
) -> list[Total]:
    """Sums over whole days; the most calls first, days in their order."""
    column = _GROUPED[by]
    sums = [func.sum(TOTALS.c[name]).label(name) for name in _SUMMED]
    query = select(column.label("key"), *sums).where(
        TOTALS.c.organization_id == organization_id, TOTALS.c.day >= wanted.since // _DAY
    )
    if wanted.until:
        query = query.where(TOTALS.c.day <= (wanted.until - 1) // _DAY)
    for name, value in (
        ("principal", wanted.principal),
        ("credential_id", wanted.credential_id),
        ("model", wanted.model),
    ):
        if value:
            query = query.where(TOTALS.c[name] == value)
    order = column if by is TotalsBy.DAY else func.sum(TOTALS.c.calls).desc()
    rows = await tx.rows(query.group_by(column).order_by(order, column).limit(limit))
    return [
        Total(
            key=_date(row["key"]) if by is TotalsBy.DAY else str(row["key"]),
            **{name: int(row[name]) for name in _SUMMED},
        )
        for row in rows
    ]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, tz=UTC).date().isoformat()


def _whole_number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 20 else 0  # noqa: PLR2004 - of 64 bits


async def versions_seen(
    tx: Transaction, organization_id: str, credential_ids: Sequence[str] | None
) -> Mapping[str, Sequence[SeenVersion]]:
    """Versions by credential, the oldest first; of all credentials for ``None``."""
    query = select(VERSIONS).where(VERSIONS.c.organization_id == organization_id)
    if credential_ids is not None:
        query = query.where(VERSIONS.c.credential_id.in_(credential_ids))
    found: dict[str, list[SeenVersion]] = {}
    for row in await tx.rows(query.order_by(VERSIONS.c.first_seen, VERSIONS.c.fingerprint)):
        found.setdefault(row["credential_id"], []).append(
            SeenVersion(
                fingerprint=row["fingerprint"],
                first_seen=row["first_seen"],
                last_seen=row["last_seen"],
                calls=row["calls"],
            )
        )
    return found


async def recent_calls(
    tx: Transaction, organization_id: str, *, since: int, limit: int
) -> Sequence[RecentCall]:
    """Calls from ``since`` (microseconds UTC) on, the newest first."""
    query = (
        select(CALLS.c.record)
        .where(CALLS.c.organization_id == organization_id, CALLS.c.started_at >= since)
        .order_by(CALLS.c.started_at.desc())
        .limit(limit)
    )
    return [_recent(_decode(row["record"])) for row in await tx.rows(query)]


async def uses(
    tx: Transaction, organization_id: str, credential_ids: Sequence[str]
) -> Sequence[CredentialUse]:
    """Who used these credentials, in what is kept: first and last call, and how many."""
    columns = (
        CALLS.c.credential_id,
        CALLS.c.principal,
        CALLS.c.purpose,
        CALLS.c.environment,
    )
    query = (
        select(
            *columns,
            func.min(CALLS.c.started_at).label("first_used"),
            func.max(CALLS.c.started_at).label("last_used"),
            func.count().label("calls"),
        )
        .where(
            CALLS.c.organization_id == organization_id,
            CALLS.c.credential_id.in_(credential_ids),
        )
        .group_by(*columns)
        .order_by(*columns)
    )
    return [CredentialUse(**row) for row in await tx.rows(query)]


def _recent(record: CallRecord) -> RecentCall:
    return RecentCall(
        principal=record.principal,
        model=record.requested_model,
        purpose=record.purpose,
        environment=record.environment,
        credential_id=record.credential_id,
        at=record.started_at,
        request_id=record.id,
    )


# --- forgetting ----------------------------------------------------------------------------


async def forget_calls(tx: Transaction, *, before: int, limit: int) -> int:
    """Remove some records of every organization that began before; how many."""
    old = (
        select(CALLS.c.organization_id, CALLS.c.id).where(CALLS.c.started_at < before).limit(limit)
    )
    key = tuple_(CALLS.c.organization_id, CALLS.c.id)
    return (await tx.execute(delete(CALLS).where(key.in_(old)))).rowcount


async def forget_totals(tx: Transaction, *, before: int) -> None:
    """Remove totals of days that ended before."""
    await tx.execute(delete(TOTALS).where(TOTALS.c.day < before // _DAY))
    await tx.execute(delete(SET_ASIDE).where(SET_ASIDE.c.at < before))
