"""Joins what is stored of a secret with what the policy declares and the gateways measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.inventory import repository
from keylease.platform.inventory.consumers import Consumer
from keylease.platform.inventory.consuming import believed_places, consumers_of
from keylease.platform.inventory.interfaces import (
    CredentialUse,
    PolicyCredentials,
    RecordedUses,
)
from keylease.platform.inventory.linking import NameLink
from keylease.platform.inventory.namesakes import links_for
from keylease.platform.inventory.records import Exemption, Place, Sighting
from keylease.platform.inventory.reported import Reported, reported_for
from keylease.platform.inventory.states import CredentialFacts, Facts, judge
from keylease.platform.inventory.states import Place as JudgedPlace


class _Around(msgspec.Struct, frozen=True, kw_only=True):
    """What is known around some secrets; each by secret but the last two."""

    places: Mapping[str, tuple[Place, ...]]
    links: Mapping[str, tuple[NameLink, ...]]
    reported: Mapping[str, tuple[Reported, ...]]
    facts: Mapping[str, CredentialFacts]
    """By credential."""
    uses: tuple[CredentialUse, ...]

    def uses_of(self, row: Row) -> tuple[CredentialUse, ...]:
        """Calls with any of the credentials that the secret is."""
        reported = self.reported.get(str(row["id"]), ())
        ids = {row["credential_id"], *(one.credential_id for one in reported)}
        return tuple(use for use in self.uses if use.credential_id in ids)

    def consumers(self, row: Row) -> tuple[Consumer, ...]:
        """Everybody who uses the secret."""
        secret_id = str(row["id"])
        return consumers_of(
            self.uses_of(row), self.places.get(secret_id, ()), self.links.get(secret_id, ())
        )


class Joining:
    """Makes sightings of rows."""

    def __init__(self, *, credentials: PolicyCredentials, uses: RecordedUses) -> None:
        self._credentials = credentials
        self._uses = uses

    async def sightings(self, tx: Transaction, rows: Sequence[Row]) -> tuple[Sighting, ...]:
        """The secrets of these rows, in their order."""
        around = await self._around(tx, rows)
        exceptions = await repository.exceptions_of(tx, [str(row["id"]) for row in rows])
        return tuple(
            _sighting(row, around, now=tx.now, exceptions=exceptions.get(str(row["id"]), ()))
            for row in rows
        )

    async def used_by(self, tx: Transaction, rows: Sequence[Row], text: str) -> frozenset[str]:
        """Identifiers of those secrets that have a consumer with this text in what it is called."""
        around = await self._around(tx, rows)
        wanted = text.casefold()
        return frozenset(
            str(row["id"])
            for row in rows
            if any(
                wanted in f"{one.id} {one.name} {one.repository}".casefold()
                for one in around.consumers(row)
            )
        )

    async def _around(self, tx: Transaction, rows: Sequence[Row]) -> _Around:
        ids = [str(row["id"]) for row in rows]
        places = await repository.places_of(tx, ids)
        reported = await reported_for(tx, ids)
        known = {str(row["credential_id"]) for row in rows if row["credential_id"]}
        known |= {one.credential_id for each in reported.values() for one in each}
        facts = await self._credentials.credential_facts(tx.caller) if known else {}
        return _Around(
            places=places,
            links=await links_for(tx, places),
            reported={
                secret_id: tuple(_with_its_name(one, facts) for one in each)
                for secret_id, each in reported.items()
            },
            facts=facts,
            uses=await self._uses.uses_of(tx.caller, known) if known else (),
        )


def _with_its_name(one: Reported, facts: Mapping[str, CredentialFacts]) -> Reported:
    if one.credential_id not in facts:
        return one
    return msgspec.structs.replace(one, name=facts[one.credential_id].name)


def _sighting(
    row: Row, around: _Around, *, now: int, exceptions: tuple[Exemption, ...]
) -> Sighting:
    secret_id = str(row["id"])
    places = around.places.get(secret_id, ())
    credential = around.facts.get(str(row["credential_id"]))
    live = {"live": True, "dead": False}.get(row["liveness"])
    last_used = max((use.last_used for use in around.uses_of(row)), default=None)
    facts = Facts(
        live=live,
        owner=row["owner"],
        places=tuple(map(_judged, places)),
        credential=credential,
        last_used=last_used,
        known_since=row["first_seen"],
    )
    in_force = [one for one in exceptions if one.withdrawn_at is None and one.ends_at > now]
    judgement = judge(facts, now=now, excepted=frozenset(one.state for one in in_force))
    candidates = dict.fromkeys(
        candidate.owner for place in places for candidate in place.location.owner_candidates
    )
    return Sighting(
        id=row["id"],
        provider=row["provider"],
        kind=row["kind"],
        masked=row["masked"],
        key_id=row["key_id"],
        confidence=row["confidence"],
        live=live,
        live_checked_at=row["liveness_at"],
        belongs_to=row["belongs_to"],
        owner=row["owner"] or (credential.owner if credential else ""),
        owner_confirmed=row["owner_confirmed"],
        owner_candidates=tuple(candidates),
        credential=credential,
        reported=around.reported.get(secret_id, ()),
        consumers=around.consumers(row),
        last_used=last_used,
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        removed_at=row["removed_at"],
        places=places,
        believed_places=believed_places(around.links.get(secret_id, ())),
        exceptions=exceptions,
        states=judgement.states,
        risk=judgement.risk,
        version=row["version"],
    )


def _judged(place: Place) -> JudgedPlace:
    location = place.location
    return JudgedPlace(
        kind=location.kind,
        path=location.path,
        repository=location.repository,
        environment=location.environment,
        at_vendor=bool(place.vendor_id),
        in_history_only=location.in_history_only,
        removed=place.removed_at is not None,
    )
