"""Makes the consumers of a secret from calls, from places, and from names that are linked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.platform.inventory.consumers import (
    Consumer,
    ConsumerKind,
    ConsumerPlace,
    KnownBy,
    keeps,
    kind_of,
)
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.inventory.linking import NameLink, reach_of
from keylease.platform.inventory.records import BelievedPlace, Place

_RANK: Final = {known_by: number for number, known_by in enumerate(KnownBy)}
_NUMBER: Final = re.compile(r"^process \d+")
_ID_LENGTH: Final = 16
"""Hexadecimal digits."""


def consumers_of(
    uses: Iterable[CredentialUse], places: Iterable[Place], links: Iterable[NameLink]
) -> tuple[Consumer, ...]:
    """Everybody who uses a secret: the surest first, then who is gone; by name."""
    found: dict[str, Consumer] = {}
    for one in (*_holding(places), *named_by(links)):
        before = found.get(one.id)
        found[one.id] = one if before is None else _joined(before, one)
    everybody = [*map(_seen, uses), *found.values()]
    return tuple(
        sorted(
            everybody,
            key=lambda one: (
                one.removed_at is not None,
                _RANK[one.known_by],
                one.ambiguous,
                one.kind,
                one.repository,
                one.name,
                one.id,
            ),
        )
    )


def named_by(links: Iterable[NameLink]) -> tuple[Consumer, ...]:
    """Who names a secret, each once however many checkouts have the file."""
    found: dict[str, Consumer] = {}
    for link in links:
        place = link.mentioned.place
        kind = kind_of(place.location, named=True)
        if kind is None:
            continue
        reason = f" ({link.mentioned.reason})" if link.mentioned.reason else ""
        one = msgspec.structs.replace(
            _at(place, kind, KnownBy.NAMED),
            evidence=f"{link.evidence}{reason}",
            ambiguous=link.ambiguous,
            first_seen=link.first_seen,
            last_seen=link.last_seen,
            removed_at=link.removed_at,
        )
        before = found.get(one.id)
        found[one.id] = one if before is None else _joined(before, one)
    return tuple(found.values())


def believed_places(links: Iterable[NameLink]) -> tuple[BelievedPlace, ...]:
    """Where the value is kept, as the names there tell: at a forge, in a store, by a vendor."""
    found: dict[str, BelievedPlace] = {}
    for link in links:
        place = link.mentioned.place
        if keeps(place.location) and link.removed_at is None:
            found.setdefault(
                place.id,
                BelievedPlace(place=place, evidence=link.evidence, ambiguous=link.ambiguous),
            )
    return tuple(found.values())


def _holding(places: Iterable[Place]) -> Iterable[Consumer]:
    for place in places:
        kind = kind_of(place.location, named=False)
        if kind is not None:
            yield _at(place, kind, KnownBy.HOLDS_VALUE)


def _at(place: Place, kind: ConsumerKind, known_by: KnownBy) -> Consumer:
    location = place.location
    path = location.repository_path or location.path
    if kind is ConsumerKind.PROCESS:
        path = _NUMBER.sub("process", path)  # the same program has another number tomorrow
    name = ", ".join(filter(None, (path, location.detail)))
    identity = "\0".join((*reach_of(place.location, place.source_id).scope, path, location.detail))
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return Consumer(
        id=f"{kind}:{digest[:_ID_LENGTH]}",
        kind=kind,
        name=name,
        known_by=known_by,
        repository=location.repository,
        environment=location.environment,
        owner_candidates=tuple(dict.fromkeys(one.owner for one in location.owner_candidates)),
        first_seen=place.first_seen,
        last_seen=place.last_seen,
        removed_at=place.removed_at,
        places=(
            ConsumerPlace(
                id=place.id,
                source=place.source,
                path=location.path,
                line=location.line,
                name=location.name,
                removed_at=place.removed_at,
            ),
        ),
    )


def _joined(one: Consumer, other: Consumer) -> Consumer:
    """One consumer that was met twice: what is surest of it, and all of its places."""
    best = min(
        one,
        other,
        key=lambda each: (each.removed_at is not None, _RANK[each.known_by], each.ambiguous),
    )
    ends = (one.removed_at, other.removed_at)
    return msgspec.structs.replace(
        best,
        owner_candidates=tuple(dict.fromkeys((*one.owner_candidates, *other.owner_candidates))),
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
        removed_at=max((end for end in ends if end is not None), default=None)
        if None not in ends
        else None,
        places=tuple({place.id: place for place in (*one.places, *other.places)}.values()),
    )


def _seen(use: CredentialUse) -> Consumer:
    return Consumer(
        id=use.principal,
        kind=ConsumerKind.PRINCIPAL,
        name=use.principal,
        known_by=KnownBy.SEEN_USING,
        environment=use.environment,
        first_seen=use.first_used,
        last_seen=use.last_used,
        principal=use.principal,
        credential_id=use.credential_id,
        purpose=use.purpose,
        first_used=use.first_used,
        last_used=use.last_used,
        calls=use.calls,
    )
