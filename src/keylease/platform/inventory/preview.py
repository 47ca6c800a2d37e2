"""The blast radius: what breaks, and what has to be done, if this was breached.

A preview changes nothing. It says what is affected, and as plainly what is not known: an empty list
of the first without the second would be a false comfort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceNotFound
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import MAXIMUM_LIMIT, PageRequest
from keylease.platform.inventory.abilities import (
    ability,
    minutes_to_mint,
    minutes_to_replace,
)
from keylease.platform.inventory.consumers import Consumer, KnownBy
from keylease.platform.inventory.evidence import believed_there
from keylease.platform.inventory.interfaces import PolicyCredentials, RecordedUses
from keylease.platform.inventory.namesakes import unlinked
from keylease.platform.inventory.records import Place, Sighting, Vendor
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService
from keylease.primitives.clock import MICROSECONDS, isoformat

_OLD_SCAN: Final = 7 * 24 * 3600 * MICROSECONDS
_NOBODY: Final = "nobody"
LATEST: Final = 2**53
"""Microseconds UTC, in the year 2255: later than whatever is asked for."""


class SubjectKind(StrEnum):
    """What a preview is about."""

    VENDOR = "vendor"
    CREDENTIAL = "credential"
    LOCATION = "location"
    PRINCIPAL = "principal"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The breach that is imagined."""

    kind: SubjectKind
    name: str
    since: int | None = None
    """Only what was there in this time; microseconds UTC."""
    until: int | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What replacing a secret takes. Planning values; see ``abilities``."""

    minutes: int
    minted_by_api: bool
    places_to_change: int


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """One secret that whoever breached the subject may have."""

    secret: Sighting
    there: tuple[Place, ...]
    """Where the subject held it; empty for a credential or principal itself."""
    evidence: str = ""
    """Empty when the secret itself was met there, or the principal was seen using it; else why it
    is believed to be there, or to be used by it."""
    elsewhere: tuple[Place, ...]
    consumers: tuple[Consumer, ...]
    """Who will stop when it is revoked: seen using it, holding it, or named by evidence."""
    can: tuple[str, ...]
    rotation: Rotation


class OwnerPart(msgspec.Struct, frozen=True, kw_only=True):
    """One owner's share."""

    owner: str
    secrets: int
    minutes: int


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of the breach, and what is not."""

    subject: Subject
    made_at: int
    vendor: Vendor | None = None
    affected: tuple[Affected, ...]
    names_without_value: tuple[Place, ...]
    """Names of secrets at the subject whose value nobody saw: they may be any of the owner's."""
    owners: tuple[OwnerPart, ...]
    unknown: tuple[str, ...]
    minutes: int
    minutes_are: str = "planning values for one pair of hands, one secret after the other"

    def part_of(self, owner: str) -> Preview:
        """What concerns one owner; what is not known concerns everybody."""
        mine = tuple(one for one in self.affected if (one.secret.owner or _NOBODY) == owner)
        return msgspec.structs.replace(
            self,
            affected=mine,
            owners=tuple(part for part in self.owners if part.owner == owner),
            minutes=sum(one.rotation.minutes for one in mine),
        )


class IncidentPreviews:
    """Makes previews. Each is written down: looking at a blast radius is a sign of an incident."""

    def __init__(
        self,
        database: Database,
        inventory: InventoryService,
        *,
        credentials: PolicyCredentials,
        uses: RecordedUses,
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._credentials = credentials
        self._uses = uses

    async def preview(self, caller: Caller, subject: Subject) -> Preview:
        """The blast radius. Raises ``ResourceNotFound`` for a subject that is not known."""
        if (subject.since or 0) > (subject.until or LATEST):
            raise InputInvalid("The time ends before it begins.")
        vendor: Vendor | None = None
        names: tuple[Place, ...] = ()
        match subject.kind:
            case SubjectKind.VENDOR:
                vendor = await self._inventory.vendor(caller, subject.name)
                seen = await self._inventory.all(caller, Wanted(vendor_id=vendor.id))
                names = await self._names_at(caller, vendor.id)
            case SubjectKind.CREDENTIAL:
                credential_id = await self._credential(caller, subject.name)
                seen = await self._inventory.all(caller, Wanted(credential_ids=(credential_id,)))
            case SubjectKind.LOCATION:
                seen = await self._inventory.all(caller, Wanted(location_id=subject.name))
                if not seen:
                    raise ResourceNotFound("No secret is known at this location.")
            case SubjectKind.PRINCIPAL:
                seen = await self._of_principal(caller, subject.name)
        affected = tuple(
            msgspec.structs.replace(_affected(one, there), evidence=_only_named(one, subject))
            for one in seen
            if (there := _there(one, subject, vendor)) is not None
        )
        names = tuple(name for name in names if _in_time(name, subject))
        unmatched = names
        if names:
            everything = await self._inventory.all(caller, Wanted())
            certain = {one.secret.id for one in affected}
            links = believed_there(
                names,
                [one for one in everything if one.id not in certain and one.live is not False],
            )
            affected += tuple(
                msgspec.structs.replace(
                    _affected(link.secret, ()), there=link.there, evidence=link.evidence
                )
                for link in links
            )
            linked = {name.id for link in links for name in link.there}
            unmatched = tuple(name for name in names if name.id not in linked)
        now = await self._written_down(caller, subject, len(affected))
        return Preview(
            subject=subject,
            made_at=now,
            vendor=vendor,
            affected=affected,
            names_without_value=names,
            owners=_owners(affected),
            unknown=tuple(await self._unknown(caller, subject, vendor, affected, unmatched, now)),
            minutes=sum(one.rotation.minutes for one in affected),
        )

    async def _names_at(self, caller: Caller, vendor_id: str) -> tuple[Place, ...]:
        names: list[Place] = []
        page = PageRequest(limit=MAXIMUM_LIMIT)
        while True:
            found = await self._inventory.mentions(caller, page, vendor_id=vendor_id)
            names += found.items
            if not found.next_cursor:
                return tuple(names)
            page = PageRequest(limit=MAXIMUM_LIMIT, cursor=found.next_cursor)

    async def _credential(self, caller: Caller, name: str) -> str:
        facts = await self._credentials.credential_facts(caller)
        for credential in facts.values():
            if name in {credential.id, credential.name}:
                return credential.id
        raise ResourceNotFound("There is no such credential in the policy.")

    async def _of_principal(self, caller: Caller, name: str) -> tuple[Sighting, ...]:
        """What it owns, what its calls were made with, and what it holds or names."""
        found = {one.id: one for one in await self._inventory.all(caller, Wanted(owner=name))}
        for one in await self._inventory.all(caller, Wanted(consumer=name)):
            if _as_consumer(one, name):
                found[one.id] = one
        facts = await self._credentials.credential_facts(caller)
        uses = await self._uses.uses_of(caller, tuple(facts)) if facts else ()
        used = tuple({use.credential_id for use in uses if use.principal == name})
        if used:
            for one in await self._inventory.all(caller, Wanted(credential_ids=used)):
                found[one.id] = one
        return tuple(sorted(found.values(), key=lambda one: -one.risk))

    async def _unknown(
        self,
        caller: Caller,
        subject: Subject,
        vendor: Vendor | None,
        affected: tuple[Affected, ...],
        names: tuple[Place, ...],
        now: int,
    ) -> list[str]:
        gaps = []
        if vendor is not None and not vendor.connector:
            gaps.append(
                f"No connector reads {vendor.name}: what it holds is what "
                f"{vendor.attested_by or 'somebody'} said on {isoformat(vendor.attested_at)[:10]}."
            )
        if names:
            gaps.append(
                f"{len(names)} names at {subject.name} fit no secret that is known: "
                f"{', '.join(sorted({name.location.name for name in names})[:5])}. What they hold "
                "is in none of the places that were scanned, or in one that was not."
            )
        believed = sum(bool(one.evidence) for one in affected)
        if believed and subject.kind is SubjectKind.PRINCIPAL:
            gaps.append(
                f"{believed} of the secrets are named by {subject.name}, and were not seen to be "
                "used by it."
            )
        elif believed:
            gaps.append(
                f"{believed} of the secrets are believed to be there by their names or previews; "
                "nobody has seen the values."
            )
        gaps += _unsure_of_consumers(affected)
        gaps += await self._named_without_value(caller, affected)
        unchecked = sum(one.secret.live is None for one in affected)
        if unchecked:
            gaps.append(f"Whether {unchecked} of the secrets still work was not checked.")
        sources = await self._inventory.sources(caller)
        old = [str(row["name"]) for row in sources if now - row["last_scan_at"] > _OLD_SCAN]
        if not sources:
            gaps.append("Nothing was ever scanned, so other places are not known.")
        elif old:
            gaps.append(f"{len(old)} sources were not scanned for a week: {', '.join(old[:5])}.")
        never = sum(row["last_complete_at"] is None for row in sources)
        if never:
            gaps.append(f"{never} sources were never scanned to the end.")
        return gaps

    async def _named_without_value(
        self, caller: Caller, affected: tuple[Affected, ...]
    ) -> tuple[str, ...]:
        """Who may use one of the secrets, too, and is linked with none."""
        providers = {one.secret.provider for one in affected} - {""}
        if not providers:
            return ()
        async with self._database.reading(caller) as tx:
            places = await unlinked(tx, providers)
        if not places:
            return ()
        where = dict.fromkeys(place.location.repository or place.location.path for place in places)
        count = "1 more place" if len(places) == 1 else f"{len(places)} more places"
        text = (
            f"A secret of {', '.join(sorted(providers))} is named in {count}, with no value near "
            f"that is known; it may be one of these: {', '.join([*where][:5])}."
        )
        return (text,)

    async def _written_down(self, caller: Caller, subject: Subject, affected: int) -> int:
        async with self._database.transaction(caller) as tx:
            await tx.record(
                AuditAction.INCIDENT_PREVIEWED,
                subject.kind,
                details={"affected": str(affected)},
            )
            return tx.now


def _there(seen: Sighting, subject: Subject, vendor: Vendor | None) -> tuple[Place, ...] | None:
    """The places at the subject, in its time; ``None`` when there was none in that time."""
    if vendor is not None:
        there = tuple(place for place in seen.places if place.vendor_id == vendor.id)
    elif subject.kind is SubjectKind.LOCATION:
        there = tuple(place for place in seen.places if place.id == subject.name)
    else:
        return ()
    there = tuple(place for place in there if _in_time(place, subject))
    return there or None


def _unsure_of_consumers(affected: Iterable[Affected]) -> Iterator[str]:
    unsure = sum(any(user.ambiguous for user in one.consumers) for one in affected)
    if unsure:
        yield (
            f"{unsure} of the secrets have consumers that may use another secret instead: what "
            "they name is ambiguous."
        )
    unmatched = sum(one.secret.credential is None for one in affected)
    if unmatched:
        yield (
            f"{unmatched} of the secrets are no credential of the policy: their use does not "
            "pass the gateway, so of their consumers only those are known that hold or name "
            "them where something was scanned."
        )


def _as_consumer(seen: Sighting, name: str) -> tuple[Consumer, ...]:
    """What the subject is to the secret, when it is one of its consumers now."""
    return tuple(
        user for user in seen.consumers if name in {user.id, user.name} and user.removed_at is None
    )


def _only_named(seen: Sighting, subject: Subject) -> str:
    """Why a principal is taken for a consumer that neither owns it nor was seen with it."""
    if subject.kind is not SubjectKind.PRINCIPAL or seen.owner == subject.name:
        return ""
    users = _as_consumer(seen, subject.name)
    if not users or any(user.known_by is not KnownBy.NAMED for user in users):
        return ""
    unsure = "ambiguous: " if all(user.ambiguous for user in users) else ""
    return f"{unsure}it {users[0].evidence}"


def _in_time(place: Place, subject: Subject) -> bool:
    if subject.until is not None and place.first_seen > subject.until:
        return False
    return not (
        subject.since is not None
        and place.removed_at is not None
        and place.removed_at < subject.since
    )


def _affected(seen: Sighting, there: tuple[Place, ...]) -> Affected:
    at = {place.id for place in there}
    change = [place for place in seen.places if place.removed_at is None]
    opens = ability(seen.provider, seen.kind)
    return Affected(
        secret=seen,
        there=there,
        elsewhere=tuple(place for place in seen.places if place.id not in at),
        consumers=tuple(user for user in seen.consumers if user.removed_at is None),
        can=opens.can,
        rotation=Rotation(
            minutes=minutes_to_mint(seen.provider, seen.kind)
            + sum(
                minutes_to_replace(place.location.kind, at_vendor=bool(place.vendor_id))
                for place in change
            ),
            minted_by_api=opens.minted_by_api,
            places_to_change=len(change),
        ),
    )


def _owners(affected: Iterable[Affected]) -> tuple[OwnerPart, ...]:
    secrets: Counter[str] = Counter()
    minutes: Counter[str] = Counter()
    for one in affected:
        owner = one.secret.owner or _NOBODY
        secrets[owner] += 1
        minutes[owner] += one.rotation.minutes
    return tuple(
        OwnerPart(owner=owner, secrets=count, minutes=minutes[owner])
        for owner, count in sorted(secrets.items(), key=lambda item: (-item[1], item[0]))
    )
