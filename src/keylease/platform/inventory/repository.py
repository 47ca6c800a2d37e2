"""Reads the inventory's tables. What is written by scans is ``intake``'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from keylease.contracts.findings import Location
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory.records import Exemption, Place, Vendor
from keylease.platform.inventory.states import State
from keylease.platform.inventory.tables import (
    CHANGES,
    EXCEPTIONS,
    FINGERPRINTS,
    LOCATIONS,
    REPORTED,
    SECRETS,
    SOURCES,
    VENDORS,
)

_AT_ONCE: Final = 400
_given: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_location: Final = msgspec.json.Decoder(Location).decode
_details: Final = msgspec.json.Decoder(dict[str, str]).decode


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which secrets are asked for; what is empty does not narrow."""

    text: str = ""
    """Part of a path, a name, a repository, a masked form, an owner or a key id."""
    provider: str = ""
    owner: str = ""
    consumer: str = ""
    """Part of a consumer's identifier, name or repository; a query alone cannot narrow by it."""
    vendor_id: str = ""
    credential_ids: tuple[str, ...] = ()
    secret_ids: tuple[str, ...] = ()
    location_id: str = ""
    present: bool | None = None
    """False asks for what is gone everywhere."""


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One change."""

    id: str
    at: int
    what: str
    by: str
    secret_id: str
    details: dict[str, str]


def _matches(organization_id: str, wanted: Wanted) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [SECRETS.c.organization_id == organization_id]
    if wanted.provider:
        conditions.append(SECRETS.c.provider == wanted.provider)
    if wanted.owner:
        conditions.append(SECRETS.c.owner == wanted.owner)
    if wanted.credential_ids:
        conditions.append(
            or_(
                SECRETS.c.credential_id.in_(wanted.credential_ids),
                _reported_as(organization_id, wanted.credential_ids),
            )
        )
    if wanted.secret_ids:
        conditions.append(SECRETS.c.id.in_(wanted.secret_ids))
    if wanted.present is not None:
        absent = SECRETS.c.removed_at.is_not(None)
        conditions.append(~absent if wanted.present else absent)
    if wanted.vendor_id:
        conditions.append(_has_place(LOCATIONS.c.vendor_id == wanted.vendor_id))
    if wanted.location_id:
        conditions.append(_has_place(LOCATIONS.c.id == wanted.location_id))
    if wanted.text:
        found = [
            column.icontains(wanted.text, autoescape=True)
            for column in (SECRETS.c.masked, SECRETS.c.owner, SECRETS.c.key_id, SECRETS.c.kind)
        ]
        there = [
            column.icontains(wanted.text, autoescape=True)
            for column in (LOCATIONS.c.path, LOCATIONS.c.name, LOCATIONS.c.repository)
        ]
        conditions.append(or_(*found, _has_place(or_(*there))))
    return and_(*conditions)


def _has_place(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(LOCATIONS.c.id).where(LOCATIONS.c.secret_id == SECRETS.c.id, condition).exists()


def _reported_as(organization_id: str, credential_ids: tuple[str, ...]) -> ColumnElement[bool]:
    """Gateways fetched it for one of these credentials."""
    return (
        select(FINGERPRINTS.c.fingerprint)
        .join(
            REPORTED,
            and_(
                REPORTED.c.organization_id == FINGERPRINTS.c.organization_id,
                REPORTED.c.fingerprint == FINGERPRINTS.c.fingerprint,
            ),
        )
        .where(
            FINGERPRINTS.c.organization_id == organization_id,
            FINGERPRINTS.c.secret_id == SECRETS.c.id,
            REPORTED.c.credential_id.in_(credential_ids),
        )
        .exists()
    )


async def secrets(
    tx: Transaction, wanted: Wanted, page: PageRequest | None = None
) -> Sequence[Row]:
    """Rows of ``inventory_secrets``, newest first; one more than the page's limit."""
    query = select(SECRETS).where(_matches(tx.caller.organization_id, wanted))
    if page is not None:
        if (after := page.after()) is not None:
            query = query.where(SECRETS.c.id < after[0])
        query = query.limit(page.limit + 1)
    return await tx.rows(query.order_by(SECRETS.c.id.desc()))


async def secret(tx: Transaction, secret_id: str) -> Row | None:
    """One of them, of the caller's organization."""
    return await tx.row(
        select(SECRETS).where(
            SECRETS.c.organization_id == tx.caller.organization_id, SECRETS.c.id == secret_id
        )
    )


async def places_of(tx: Transaction, secret_ids: Iterable[str]) -> dict[str, tuple[Place, ...]]:
    """Every place of each secret, first seen first."""
    found: dict[str, list[Place]] = defaultdict(list)
    async for row in _chunked(
        tx,
        secret_ids,
        lambda ids: (
            select(LOCATIONS, SOURCES.c.name.label("source"))
            .join(SOURCES, SOURCES.c.id == LOCATIONS.c.source_id)
            .where(LOCATIONS.c.secret_id.in_(ids), SOURCES.c.retired_at.is_(None))
            .order_by(LOCATIONS.c.first_seen, LOCATIONS.c.id)
        ),
    ):
        found[str(row["secret_id"])].append(place_of(row))
    return {secret_id: tuple(places) for secret_id, places in found.items()}


async def mentions(
    tx: Transaction, *, provider: str = "", vendor_id: str = "", page: PageRequest
) -> Sequence[Row]:
    """Places without a value: names of secrets that are kept elsewhere."""
    query = (
        select(LOCATIONS, SOURCES.c.name.label("source"))
        .join(SOURCES, SOURCES.c.id == LOCATIONS.c.source_id)
        .where(
            LOCATIONS.c.organization_id == tx.caller.organization_id,
            LOCATIONS.c.secret_id.is_(None),
            SOURCES.c.retired_at.is_(None),
        )
    )
    if provider:
        query = query.where(LOCATIONS.c.provider == provider)
    if vendor_id:
        query = query.where(LOCATIONS.c.vendor_id == vendor_id)
    if (after := page.after()) is not None:
        query = query.where(LOCATIONS.c.id < after[0])
    return await tx.rows(query.order_by(LOCATIONS.c.id.desc()).limit(page.limit + 1))


async def exceptions_of(
    tx: Transaction, secret_ids: Iterable[str]
) -> dict[str, tuple[Exemption, ...]]:
    """Every exception of each secret, also those that ended."""
    found: dict[str, list[Exemption]] = defaultdict(list)
    async for row in _chunked(
        tx,
        secret_ids,
        lambda ids: (
            select(EXCEPTIONS).where(EXCEPTIONS.c.secret_id.in_(ids)).order_by(EXCEPTIONS.c.id)
        ),
    ):
        found[str(row["secret_id"])].append(exemption_of(row))
    return {secret_id: tuple(rows) for secret_id, rows in found.items()}


async def fingerprints_of(tx: Transaction, secret_id: str) -> tuple[str, ...]:
    """``key.version.value`` of each."""
    rows = await tx.rows(
        select(FINGERPRINTS.c.fingerprint)
        .where(FINGERPRINTS.c.secret_id == secret_id)
        .order_by(FINGERPRINTS.c.fingerprint)
    )
    return tuple(str(row["fingerprint"]) for row in rows)


async def history(
    tx: Transaction, *, secret_id: str = "", page: PageRequest
) -> tuple[HistoryLine, ...]:
    """Changes, newest first; one more than the page's limit."""
    query = select(CHANGES).where(CHANGES.c.organization_id == tx.caller.organization_id)
    if secret_id:
        query = query.where(CHANGES.c.secret_id == secret_id)
    if (after := page.after()) is not None:
        query = query.where(CHANGES.c.id < after[0])
    rows = await tx.rows(query.order_by(CHANGES.c.id.desc()).limit(page.limit + 1))
    return tuple(
        HistoryLine(
            id=str(row["id"]),
            at=int(row["at"]),
            what=str(row["what"]),
            by=str(row["by"]),
            secret_id=str(row["secret_id"] or ""),
            details=_details(row["details"]),
        )
        for row in rows
    )


async def sources(tx: Transaction) -> Sequence[Row]:
    """Every source, with how many places of it are present."""
    present = (
        select(LOCATIONS.c.source_id, func.count().label("present"))
        .where(LOCATIONS.c.removed_at.is_(None))
        .group_by(LOCATIONS.c.source_id)
        .subquery()
    )
    return await tx.rows(
        select(SOURCES, func.coalesce(present.c.present, 0).label("present"))
        .outerjoin(present, present.c.source_id == SOURCES.c.id)
        .where(SOURCES.c.organization_id == tx.caller.organization_id)
        .order_by(SOURCES.c.id)
    )


async def vendors(tx: Transaction, *, name: str = "", vendor_id: str = "") -> tuple[Vendor, ...]:
    """Vendors of the caller's organization, by name."""
    query = select(VENDORS).where(VENDORS.c.organization_id == tx.caller.organization_id)
    if name:
        query = query.where(VENDORS.c.name == name)
    if vendor_id:
        query = query.where(VENDORS.c.id == vendor_id)
    return tuple(vendor_of(row) for row in await tx.rows(query.order_by(VENDORS.c.name)))


def place_of(row: Row) -> Place:
    """A row of ``inventory_locations`` joined with its source."""
    return Place(
        id=str(row["id"]),
        source_id=str(row["source_id"]),
        source=str(row["source"]),
        vendor_id=str(row["vendor_id"] or ""),
        provider=str(row["provider"]),
        location=_location(row["location"]),
        pushed_by=str(row["pushed_by"]),
        first_seen=int(row["first_seen"]),
        last_seen=int(row["last_seen"]),
        removed_at=row["removed_at"],
    )


def exemption_of(row: Row) -> Exemption:
    """A row of ``inventory_exceptions``."""
    return Exemption(
        id=str(row["id"]),
        secret_id=str(row["secret_id"]),
        state=State(row["state"]),
        reason=str(row["reason"]),
        owner=str(row["owner"]),
        made_by=str(row["made_by"]),
        made_at=int(row["made_at"]),
        ends_at=int(row["ends_at"]),
        withdrawn_at=row["withdrawn_at"],
        version=int(row["version"]),
    )


def vendor_of(row: Row) -> Vendor:
    """A row of ``inventory_vendors``."""
    return Vendor(
        id=str(row["id"]),
        name=str(row["name"]),
        title=str(row["title"]),
        connector=str(row["connector"]),
        given=_given(row["given"]),
        since=row["since"],
        attested_by=str(row["attested_by"]),
        attested_at=int(row["attested_at"]),
        note=str(row["note"]),
        archived_at=row["archived_at"],
        version=int(row["version"]),
    )


async def _chunked(
    tx: Transaction, ids: Iterable[str], query: Callable[[list[str]], Select[Any]]
) -> AsyncIterator[Row]:
    """Run a query for some identifiers at a time: databases bound the length of IN lists."""
    known = list(ids)
    for start in range(0, len(known), _AT_ONCE):
        for row in await tx.rows(query(known[start : start + _AT_ONCE])):
            yield row
