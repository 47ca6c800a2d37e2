"""Makes a report of what was met: equal secrets become one finding with all of its locations.

Protects: every text that was read somewhere goes through ``showing`` before it is put in.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from keylease.contracts.findings import (
    Appearance,
    Belonging,
    Confidence,
    Finding,
    Location,
    Mention,
    OwnerCandidate,
    Practice,
)
from keylease.contracts.verification import Verdict
from keylease.discovery.showing import Shown
from keylease.discovery.sightings import NameSighting, Place, Sighting

_RANK: Final = {Confidence.HIGH: 0, Confidence.MEDIUM: 1, Confidence.LOW: 2}
_ID_LENGTH: Final = 32


class Met(NamedTuple):
    """A sighting, and what is known of its place beyond what the place itself says."""

    sighting: Sighting
    path: str
    """Absolute, or the title of what is no file."""
    repository: str = ""
    repository_path: str = ""
    in_history_only: bool = False
    first: Appearance | None = None
    last: Appearance | None = None
    removed: Appearance | None = None


class MetName(NamedTuple):
    """A name without a value, and the repository it was met in."""

    sighting: NameSighting
    path: str
    repository: str = ""
    repository_path: str = ""
    in_history_only: bool = False
    first: Appearance | None = None
    last: Appearance | None = None
    removed: Appearance | None = None


Owners = Callable[["Met | MetName"], Iterable[OwnerCandidate]]


class Gathering:
    """Gives findings, mentions and practices their final form."""

    def __init__(self, shown: Shown, *, host: str, owners: Owners) -> None:
        self._shown = shown
        self._host = host
        self._owners = owners
        self._numbers: Counter[str] = Counter()

    def findings(
        self,
        met: Iterable[Met],
        *,
        known: Callable[[Finding, Sighting], bool],
        told: Callable[[Sighting], Verdict] | None = None,
    ) -> list[Finding]:
        """One finding for each secret, the surest first."""
        by_digest: dict[bytes, list[Met]] = defaultdict(list)
        identifiers: set[bytes] = set()
        for one in met:
            by_digest[one.sighting.digest].append(one)
            if one.sighting.key_id_digest != one.sighting.digest:
                identifiers.add(one.sighting.key_id_digest)
        found = []
        for digest, places in by_digest.items():
            if digest in identifiers:
                continue  # the public half of a pair whose secret half was found too
            best = min(places, key=lambda one: _RANK[one.sighting.confidence]).sighting
            locations = tuple(
                self._location(one, encodings=one.sighting.encodings)
                for one in sorted(places, key=_by_place)
            )
            finding = Finding(
                id=str(best.fingerprints[0]) if best.fingerprints else f"at.{locations[0].id}",
                provider=best.provider,
                kind=best.kind,
                confidence=best.confidence,
                reason=best.reason,
                nature=best.nature,
                masked=best.masked,
                key_id=best.key_id,  # public, as the detectors promise
                fingerprints=best.fingerprints,
                locations=locations,
            )
            if told is not None:
                finding = self._verified(finding, told(best))
            found.append(
                msgspec.structs.replace(finding, known=True) if known(finding, best) else finding
            )
        return sorted(
            found, key=lambda one: (_RANK[one.confidence], one.provider, one.locations[0].path)
        )

    def _verified(self, finding: Finding, verdict: Verdict) -> Finding:
        text, said = self._shown.text, verdict.belongs_to
        return msgspec.structs.replace(
            finding,
            liveness=verdict.liveness,
            liveness_reason=verdict.reason,
            liveness_at=verdict.at,
            belongs_to=None
            if said is None
            else Belonging(
                account=text(said.account),
                organization=text(said.organization),
                project=text(said.project),
                scopes=tuple(map(text, said.scopes)),
            ),
        )

    def mentions(self, met: Iterable[MetName]) -> list[Mention]:
        """Names without values, by name."""
        found = [
            Mention(
                name=self._shown.text(one.sighting.name),
                provider=one.sighting.provider,
                reason=self._shown.text(one.sighting.reason),
                location=self._location(one),
                refers_to=self._shown.text(one.sighting.refers_to),
            )
            for one in met
            if not one.sighting.practice
        ]
        return sorted(found, key=lambda one: (one.name, one.location.path, one.location.line))

    def practices(self, met: Iterable[MetName]) -> list[Practice]:
        """Places that need no stored secret."""
        found = [
            Practice(name=one.sighting.name, location=self._location(one))
            for one in met
            if one.sighting.practice
        ]
        return sorted(found, key=lambda one: (one.location.path, one.location.line))

    def _location(self, met: Met | MetName, *, encodings: tuple[str, ...] = ()) -> Location:
        place = met.sighting.place
        text, path = self._shown.text, self._shown.path(met.path)
        repository_path = text(met.repository_path)
        where = (met.repository, repository_path) if met.repository else (self._host, path)
        name, detail = text(place.name), text(place.detail)
        identity = "\0".join((place.kind.value, *where, name, detail))
        self._numbers[identity] += 1
        numbered = f"{identity}\0{self._numbers[identity]}"
        owners = tuple(dict.fromkeys((*place.owners, *self._owners(met))))
        return Location(
            id=hashlib.sha256(numbered.encode()).hexdigest()[:_ID_LENGTH],
            kind=place.kind,
            path=path,
            line=place.line,
            column=place.column,
            name=name,
            environment=text(place.environment),
            detail=detail,
            repository=met.repository,
            repository_path=repository_path,
            in_history_only=met.in_history_only,
            first=self._appearance(met.first),
            last=self._appearance(met.last),
            removed=self._appearance(met.removed),
            owner_candidates=tuple(
                OwnerCandidate(text(owner.owner), owner.reason) for owner in owners
            ),
            encodings=encodings,
        )

    def _appearance(self, one: Appearance | None) -> Appearance | None:
        if one is None:
            return None
        return Appearance(
            commit=one.commit,
            at=one.at,
            author=self._shown.text(one.author),
            path=self._shown.text(one.path),
        )


def _by_place(met: Met) -> tuple[bool, str, int]:
    return (met.in_history_only, met.path, met.sighting.place.line)


def path_of(place: Place) -> str:
    """The place's path as text."""
    return os.fsdecode(place.path)
