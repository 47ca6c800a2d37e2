"""Reads which places share a name, and links those that have no value with those that have one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, select

from keylease.contracts.findings import Location
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory.consumers import kind_of
from keylease.platform.inventory.linking import Mentioned, NameLink, Valued, links_of, reach_of
from keylease.platform.inventory.names import Telling, called, kubernetes_object, telling
from keylease.platform.inventory.records import Place, StandsFor
from keylease.platform.inventory.repository import place_of
from keylease.platform.inventory.tables import LOCATIONS, NAMES, SOURCES

_AT_ONCE: Final = 400
"""Values in one IN list: databases bound them."""


def object_of(location: Location, *, refers_to: str = "") -> str:
    """The secret of Kubernetes in which a value lies, or which a name refers to."""
    if refers_to:
        return refers_to.partition("/")[0]
    thing = kubernetes_object(location)
    return thing.name if thing is not None and thing.keeps else ""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """By what namesakes are looked for."""

    names: frozenset[str]
    """As ``called`` writes them."""
    objects: frozenset[str]
    reaches: frozenset[str]
    """Only there; a name of its own is looked for everywhere."""

    def __or__(self, other: Sought) -> Sought:
        return Sought(
            names=self.names | other.names,
            objects=self.objects | other.objects,
            reaches=self.reaches | other.reaches,
        )


def sought_for(locations: Iterable[tuple[Location, str]], refers_to: Iterable[str] = ()) -> Sought:
    """What may be linked with these locations, each with its source."""
    known = tuple(locations)
    return Sought(
        names=frozenset(called(location.name) for location, _ in known),
        objects=frozenset(object_of(location) for location, _ in known)
        | {reference.partition("/")[0] for reference in refers_to},
        reaches=frozenset(reach_of(location, source).stored for location, source in known),
    )


async def links_for(
    tx: Transaction, places: Mapping[str, Iterable[Place]]
) -> dict[str, tuple[NameLink, ...]]:
    """Which names stand for these secrets, by secret. ``places`` are the secrets' own."""
    own = ((place.location, place.source_id) for each in places.values() for place in each)
    found: dict[str, list[NameLink]] = defaultdict(list)
    for link in await links_among(tx, sought_for(own)):
        if link.secret_id in places:
            found[link.secret_id].append(link)
    return {secret_id: tuple(links) for secret_id, links in found.items()}


async def links_among(tx: Transaction, sought: Sought) -> tuple[NameLink, ...]:
    """Every link of the names that are sought, or refer to one of the objects.

    Each is judged with all of its rivals: a name that two secrets have is not taken for one.
    """
    rows = await _rows(tx, sought)
    mentions = [row for row in rows.values() if row["secret_id"] is None]
    rows |= await _rows(tx, _of_rows(mentions))
    return links_of(
        (
            Mentioned(place=place_of(row), reason=row["reason"], refers_to=row["refers_to"])
            for row in mentions
        ),
        (
            Valued(secret_id=str(row["secret_id"]), place=place_of(row))
            for row in rows.values()
            if row["secret_id"] is not None
        ),
    )


async def with_secrets(tx: Transaction, mentions: Iterable[Place]) -> tuple[Place, ...]:
    """The same names, each with the secrets that it is linked with now."""
    named = tuple(mentions)
    found: dict[str, list[StandsFor]] = defaultdict(list)
    sought = sought_for((place.location, place.source_id) for place in named)
    for link in await links_among(tx, sought):
        if link.removed_at is None:
            found[link.mentioned.place.id].append(
                StandsFor(
                    secret_id=link.secret_id, evidence=link.evidence, ambiguous=link.ambiguous
                )
            )
    return tuple(
        msgspec.structs.replace(place, stands_for=tuple(found.get(place.id, ()))) for place in named
    )


async def unlinked(tx: Transaction, providers: Collection[str]) -> tuple[Place, ...]:
    """Consumers that name a secret of these providers and are linked with none."""
    rows = await tx.rows(
        _named()
        .where(
            LOCATIONS.c.organization_id == tx.caller.organization_id,
            LOCATIONS.c.secret_id.is_(None),
            LOCATIONS.c.provider.in_(sorted(providers)),
            LOCATIONS.c.removed_at.is_(None),
            LOCATIONS.c.in_history_only.is_(False),
            SOURCES.c.retired_at.is_(None),
        )
        .order_by(LOCATIONS.c.first_seen, LOCATIONS.c.id)
    )
    links = await links_among(tx, _of_rows(rows))
    linked = {link.mentioned.place.id for link in links if link.removed_at is None}
    places = (place_of(row) for row in rows if row["id"] not in linked)
    return tuple(place for place in places if kind_of(place.location, named=True) is not None)


async def sought_in_source(tx: Transaction, source_id: str) -> Sought:
    """What may be linked with what is in a source now."""
    rows = await tx.rows(
        select(NAMES.c.called, NAMES.c.object, NAMES.c.reach)
        .join(LOCATIONS, LOCATIONS.c.id == NAMES.c.location_id)
        .where(LOCATIONS.c.source_id == source_id, LOCATIONS.c.removed_at.is_(None))
        .distinct()
    )
    return _of_rows(rows)


def _of_rows(rows: Collection[Row]) -> Sought:
    return Sought(
        names=frozenset(row["called"] for row in rows),
        objects=frozenset(row["object"] for row in rows),
        reaches=frozenset(row["reach"] for row in rows),
    )


async def _rows(tx: Transaction, sought: Sought) -> dict[str, Row]:
    """By identifier, in a fixed order."""
    own = {name for name in sought.names if telling(name) is Telling.OWN}
    found: list[Row] = []
    for names in _some(own):
        found += await _found(tx, NAMES.c.called.in_(names))
    for column, values in (
        (NAMES.c.called, sought.names - own),
        (NAMES.c.object, sought.objects),
    ):
        for some in _some(values):
            for reaches in _some(sought.reaches):
                found += await _found(tx, column.in_(some), NAMES.c.reach.in_(reaches))
    return {str(row["id"]): row for row in sorted(found, key=_oldest)}


async def _found(tx: Transaction, *conditions: ColumnElement[bool]) -> Sequence[Row]:
    return await tx.rows(
        _named().where(
            NAMES.c.organization_id == tx.caller.organization_id,
            SOURCES.c.retired_at.is_(None),
            *conditions,
        )
    )


def _some(values: Collection[str]) -> Iterator[list[str]]:
    wanted = sorted(set(values) - {""})
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]


def _named() -> Select[Any]:
    return (
        select(
            LOCATIONS,
            SOURCES.c.name.label("source"),
            NAMES.c.called,
            NAMES.c.reach,
            NAMES.c.object,
            NAMES.c.refers_to,
            NAMES.c.reason,
        )
        .join(LOCATIONS, LOCATIONS.c.id == NAMES.c.location_id)
        .join(SOURCES, SOURCES.c.id == LOCATIONS.c.source_id)
    )


def _oldest(row: Row) -> tuple[int, str]:
    return int(row["first_seen"]), str(row["id"])
