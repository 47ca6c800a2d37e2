"""The only user of the audit tables, and of the outbox once entries are in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from keylease.contracts.audit import LoggedEntry
from keylease.errors import StorageCorrupt
from keylease.platform.audit.tables import (
    AUDIT_CHECKPOINTS,
    AUDIT_INDEX,
    AUDIT_LOGS,
    AUDIT_SET_ASIDE,
    AUDIT_SOURCES,
    AUDIT_WITNESSES,
    LONGEST_ACTION,
    LONGEST_TERM,
)
from keylease.platform.db.columns import IDENTIFIER_LENGTH
from keylease.platform.db.tables import OUTBOX
from keylease.platform.db.transaction import Transaction
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.transparency.checkpoints import TreeHead

_HOUR: Final = 3600 * MICROSECONDS
_DAY: Final = 24 * _HOUR
_TURNS: Final = 0x61756474  # "audt": names these advisory locks among all of the database
_decode: Final = msgspec.json.Decoder(LoggedEntry).decode


class Waiting(msgspec.Struct, frozen=True):
    """A committed entry that the log has not taken yet."""

    position: int
    """In the outbox."""
    organization_id: str
    entry: bytes


class KnownLog(msgspec.Struct, frozen=True):
    """What the database remembers of a log."""

    log_id: str
    organization_id: str
    head: TreeHead
    last_at: int
    """When it grew last; microseconds UTC."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for; what is empty does not narrow."""

    action: str = ""
    """An action, or a resource with ``.*``."""
    principal: str = ""
    object: str = ""
    reason: str = ""
    gateway_id: str = ""
    since: int | None = None
    until: int | None = None
    """Microseconds UTC; ``until`` is not included."""

    @property
    def narrows(self) -> bool:
        """Whether anything is left out."""
        return self != Filter()


# --- the outbox and the logs -----------------------------------------------------------------


async def waiting(tx: Transaction, *, limit: int, without: Collection[str] = ()) -> list[Waiting]:
    """The oldest entries that wait, in order, but for those of some organizations."""
    query = select(OUTBOX.c.position, OUTBOX.c.organization_id, OUTBOX.c.entry)
    if without:
        query = query.where(OUTBOX.c.organization_id.not_in(without))
    rows = await tx.rows(query.order_by(OUTBOX.c.position).limit(limit))
    return [Waiting(row["position"], row["organization_id"], row["entry"]) for row in rows]


async def positions_of(
    tx: Transaction, organization_id: str, entries: Sequence[bytes]
) -> list[int]:
    """Where these entries wait in the outbox, those that still do."""
    rows = await tx.execute(
        select(OUTBOX.c.position).where(
            OUTBOX.c.organization_id == organization_id, OUTBOX.c.entry.in_(entries)
        )
    )
    return list(rows.scalars())


async def positions_from(tx: Transaction, first: int, last: int) -> set[int]:
    """Which positions between two are still in the outbox."""
    rows = await tx.execute(select(OUTBOX.c.position).where(OUTBOX.c.position.between(first, last)))
    return set(rows.scalars())


async def put_into_outbox(tx: Transaction, organization_id: str, entries: Sequence[bytes]) -> None:
    """Commit entries that somebody else made, with the transaction."""
    if entries:
        await tx.execute(
            insert(OUTBOX),
            [
                {"organization_id": organization_id, "at": tx.now, "entry": entry}
                for entry in entries
            ],
        )


async def remove_from_outbox(tx: Transaction, positions: Sequence[int]) -> None:
    """Forget what the log has taken."""
    if not positions:
        return
    low, high = min(positions), max(positions)
    if high - low + 1 == len(positions):
        await tx.execute(delete(OUTBOX).where(OUTBOX.c.position.between(low, high)))
    else:
        await tx.execute(
            delete(OUTBOX).where(OUTBOX.c.position == bindparam("taken")),
            [{"taken": position} for position in positions],
        )


async def known_logs(tx: Transaction) -> list[KnownLog]:
    """Every log."""
    return [_known(row) for row in await tx.rows(select(AUDIT_LOGS))]


async def known_log(tx: Transaction, log_id: str) -> KnownLog | None:
    """One log."""
    row = await tx.row(select(AUDIT_LOGS).where(AUDIT_LOGS.c.log_id == log_id))
    return _known(row) if row is not None else None


async def log_of(tx: Transaction, organization_id: str) -> KnownLog | None:
    """The log of an organization; of the installation when it is empty."""
    row = await tx.row(select(AUDIT_LOGS).where(AUDIT_LOGS.c.organization_id == organization_id))
    return _known(row) if row is not None else None


async def add_log(tx: Transaction, log: KnownLog) -> None:
    """Remember a new log."""
    await tx.execute(
        insert(AUDIT_LOGS).values(
            log_id=log.log_id,
            organization_id=log.organization_id,
            origin=log.head.origin,
            size=log.head.size,
            root=log.head.root,
            last_at=log.last_at,
        )
    )


async def set_head(tx: Transaction, log_id: str, *, before: TreeHead, after: TreeHead) -> None:
    """Remember how far a log is indexed. Raises ``StorageCorrupt`` when somebody else wrote it."""
    done = await tx.execute(
        update(AUDIT_LOGS)
        .where(
            AUDIT_LOGS.c.log_id == log_id,
            AUDIT_LOGS.c.size == before.size,
            AUDIT_LOGS.c.root == before.root,
        )
        .values(size=after.size, root=after.root, last_at=tx.now)
    )
    if done.rowcount != 1:
        raise StorageCorrupt(
            f"Two servers write the audit log {before.origin}.",
            advice="Stop one of them: a log has one writer.",
        )


async def add_to_index(tx: Transaction, log_id: str, first: int, entries: Sequence[bytes]) -> None:
    """Make entries searchable."""
    if entries:
        await tx.execute(
            insert(AUDIT_INDEX),
            [
                _index_row(log_id, position, entry)
                for position, entry in enumerate(entries, start=first)
            ],
        )


def _index_row(log_id: str, position: int, raw: bytes) -> dict[str, object]:
    try:
        entry = _decode(raw)
    except msgspec.DecodeError:
        # Logged as it is, and found by its position only: what was committed is never left out.
        entry = LoggedEntry(id="", sequence=0, at=0, organization_id="", action="")
    return {
        "log_id": log_id,
        "position": position,
        "entry_id": _term(entry.id, IDENTIFIER_LENGTH),
        "at": entry.at,
        "action": _term(entry.action, LONGEST_ACTION),
        "principal": _term(entry.principal),
        "object": _term(entry.object),
        "reason": _term(entry.reason),
        "gateway_id": _term(entry.gateway_id, IDENTIFIER_LENGTH),
        "gateway_sequence": entry.sequence,
    }


def _term(text: str, longest: int = LONGEST_TERM) -> str:
    """As it is indexed: PostgreSQL keeps no NUL, and the log has the text as it is."""
    return text.replace("\0", "\ufffd")[:longest]


async def search(
    tx: Transaction,
    log_id: str,
    wanted: Filter,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    below: int | None = None,
) -> list[int]:
    """Positions of entries: the newest first, or with ``after`` the oldest first."""
    conditions = _conditions(log_id, wanted)
    column = AUDIT_INDEX.c.position
    if before is not None:
        conditions.append(column < before)
    if below is not None:
        conditions.append(column < below)
    if after is not None:
        conditions.append(column > after)
    order = column.desc() if after is None else column.asc()
    rows = await tx.execute(select(column).where(*conditions).order_by(order).limit(limit))
    return list(rows.scalars())


def _conditions(log_id: str, wanted: Filter) -> list[ColumnElement[bool]]:
    table = AUDIT_INDEX.c
    conditions: list[ColumnElement[bool]] = [table.log_id == log_id]
    if wanted.action.endswith(".*"):
        conditions.append(table.action.startswith(wanted.action[:-1], autoescape=True))
    elif wanted.action:
        conditions.append(table.action == wanted.action)
    for name in ("principal", "object", "reason", "gateway_id"):
        value: str = getattr(wanted, name)
        if value:
            conditions.append(table[name] == value[:LONGEST_TERM])
    if wanted.since is not None:
        conditions.append(table.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(table.at < wanted.until)
    return conditions


# --- gateways ----------------------------------------------------------------------------------


class Source(msgspec.Struct, frozen=True):
    """How far the spool of a gateway has been taken."""

    sequence: int
    entry_id: str


async def take_turn(tx: Transaction, gateway_id: str) -> None:
    """Let batches of one gateway be taken one after another, until this transaction ends.

    One that is sent again while its first sending is still being taken would else be taken twice.
    SQLite has one writer anyway.
    """
    if tx.connection.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(_TURNS, func.hashtext(gateway_id))))


async def source(tx: Transaction, gateway_id: str) -> Source | None:
    """See ``Source``; None for a gateway that has sent nothing yet."""
    row = await tx.row(select(AUDIT_SOURCES).where(AUDIT_SOURCES.c.gateway_id == gateway_id))
    return Source(row["sequence"], row["entry_id"]) if row is not None else None


async def set_source(
    tx: Transaction, gateway_id: str, organization_id: str, reached: Source, *, new: bool
) -> None:
    """Remember how far a gateway was taken."""
    values = {"sequence": reached.sequence, "entry_id": reached.entry_id}
    if new:
        await tx.execute(
            insert(AUDIT_SOURCES).values(
                gateway_id=gateway_id, organization_id=organization_id, **values
            )
        )
    else:
        await tx.execute(
            update(AUDIT_SOURCES).where(AUDIT_SOURCES.c.gateway_id == gateway_id).values(**values)
        )


async def indexed_ids(
    tx: Transaction, gateway_id: str, sequences: Sequence[int]
) -> dict[int, set[str]]:
    """Which entries of a gateway have been logged under these numbers."""
    found: dict[int, set[str]] = {}
    rows = await tx.rows(
        select(AUDIT_INDEX.c.gateway_sequence, AUDIT_INDEX.c.entry_id).where(
            AUDIT_INDEX.c.gateway_id == gateway_id,
            AUDIT_INDEX.c.gateway_sequence.in_(sequences),
        )
    )
    for row in rows:
        found.setdefault(row["gateway_sequence"], set()).add(row["entry_id"])
    return found


async def set_aside(tx: Transaction, organization_id: str, gateway_id: str, data: bytes) -> None:
    """Keep what could not be read."""
    await tx.execute(
        insert(AUDIT_SET_ASIDE).values(
            id=tx.new_id(),
            organization_id=organization_id,
            gateway_id=gateway_id,
            at=tx.now,
            data=data,
        )
    )


# --- checkpoints and witnesses -----------------------------------------------------------------


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that the log has signed."""

    size: int
    at: int
    note: bytes
    cosignatures: int


class KnownWitness(msgspec.Struct, frozen=True):
    """Who witnesses a log."""

    key: str
    gateway_id: str
    independent: bool
    size: int
    at: int


async def store_checkpoint(tx: Transaction, log_id: str, size: int, note: bytes) -> None:
    """Remember a checkpoint; one of the same size (after a new key) is replaced."""
    table = AUDIT_CHECKPOINTS
    await tx.execute(delete(table).where(table.c.log_id == log_id, table.c.size == size))
    await tx.execute(
        insert(table).values(log_id=log_id, size=size, at=tx.now, note=note, cosignatures=0)
    )


async def set_note(
    tx: Transaction, log_id: str, size: int, *, note: bytes, cosignatures: int
) -> None:
    """Put cosignatures on a checkpoint."""
    table = AUDIT_CHECKPOINTS
    await tx.execute(
        update(table)
        .where(table.c.log_id == log_id, table.c.size == size)
        .values(note=note, cosignatures=cosignatures)
    )


async def checkpoint(tx: Transaction, log_id: str, size: int) -> StoredCheckpoint | None:
    """The checkpoint of one size."""
    table = AUDIT_CHECKPOINTS
    row = await tx.row(select(table).where(table.c.log_id == log_id, table.c.size == size))
    return _stored(row) if row is not None else None


async def checkpoints(
    tx: Transaction, log_id: str, *, limit: int, before: int | None, cosigned: bool
) -> list[StoredCheckpoint]:
    """Checkpoints, the largest first."""
    table = AUDIT_CHECKPOINTS
    query = select(table).where(table.c.log_id == log_id)
    if before is not None:
        query = query.where(table.c.size < before)
    if cosigned:
        query = query.where(table.c.cosignatures > 0)
    rows = await tx.rows(query.order_by(table.c.size.desc()).limit(limit))
    return [_stored(row) for row in rows]


async def prune_checkpoints(tx: Transaction) -> None:
    """Forget what the table's docstring says is not kept."""
    table = AUDIT_CHECKPOINTS
    newest = select(func.max(table.c.size)).group_by(table.c.log_id)
    await tx.execute(
        delete(table).where(
            table.c.at < tx.now - _HOUR, table.c.cosignatures == 0, table.c.size.not_in(newest)
        )
    )
    hourly = (
        select(func.max(table.c.size))
        .where(table.c.cosignatures > 0)
        .group_by(table.c.log_id, table.c.at // _HOUR)
    )
    await tx.execute(
        delete(table).where(
            table.c.at < tx.now - _DAY,
            table.c.cosignatures > 0,
            table.c.size.not_in(hourly),
            table.c.size.not_in(newest),
        )
    )


async def witnesses(tx: Transaction, log_id: str) -> list[KnownWitness]:
    """Everybody who has witnessed a log."""
    table = AUDIT_WITNESSES
    rows = await tx.rows(select(table).where(table.c.log_id == log_id).order_by(table.c.key))
    return [
        KnownWitness(row["key"], row["gateway_id"], row["independent"], row["size"], row["at"])
        for row in rows
    ]


async def set_witness(tx: Transaction, log_id: str, found: KnownWitness, *, new: bool) -> None:
    """Remember how far a witness has come."""
    table = AUDIT_WITNESSES
    values = {"independent": found.independent, "size": found.size, "at": found.at}
    if new:
        await tx.execute(
            insert(table).values(
                log_id=log_id, key=found.key, gateway_id=found.gateway_id, **values
            )
        )
    else:
        await tx.execute(
            update(table)
            .where(table.c.log_id == log_id, table.c.key == found.key)
            .values(gateway_id=found.gateway_id, **values)
        )


def _known(row: RowMapping) -> KnownLog:
    return KnownLog(
        log_id=row["log_id"],
        organization_id=row["organization_id"],
        head=TreeHead(row["origin"], row["size"], row["root"]),
        last_at=row["last_at"],
    )


def _stored(row: RowMapping) -> StoredCheckpoint:
    return StoredCheckpoint(row["size"], row["at"], row["note"], row["cosignatures"])
