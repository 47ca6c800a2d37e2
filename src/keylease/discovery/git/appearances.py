"""Where in a history secrets were: the commits that brought them and took them away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

import msgspec

from keylease.contracts.findings import Appearance
from keylease.discovery.git.history import Change
from keylease.discovery.sightings import NameSighting, Sighting

Met = TypeVar("Met", Sighting, NameSighting)


class HistoryPlace(NamedTuple, Generic[Met]):
    """One secret, or one name of one, under one path of a repository's history."""

    sighting: Met
    """In the newest object that has it; its place has the path relative to the repository."""
    at_head: bool
    first: Appearance | None = None
    last: Appearance | None = None
    removed: Appearance | None = None


def history_places(
    sightings: Iterable[Met],
    changes: Iterable[Change],
    head: Mapping[bytes, str],
    *,
    prefix: bytes,
) -> list[HistoryPlace[Met]]:
    """Join what was found in objects with the commits that moved them. Newest changes first."""
    carriers: dict[bytes, dict[str, Met]] = defaultdict(dict)
    for sighting in sightings:
        carriers[sighting.digest].setdefault(sighting.place.git_object, sighting)
    secrets_of: dict[str, list[bytes]] = defaultdict(list)
    for digest, objects in carriers.items():
        for oid in objects:
            secrets_of[oid].append(digest)

    found: dict[tuple[bytes, bytes], HistoryPlace[Met]] = {}
    removals: dict[tuple[bytes, bytes], Appearance] = {}
    for change in changes:
        _follow(change, carriers, secrets_of, found, removals)
    for digest, objects in carriers.items():
        if not any(key[0] == digest for key in found):
            # No commit that could be read brought it: a shallow clone, or one that was cut short.
            for sighting in objects.values():
                path = sighting.place.path.removeprefix(prefix)
                found.setdefault((digest, path), HistoryPlace(sighting, at_head=False))
    return [
        place._replace(
            sighting=_at(place.sighting, path),
            at_head=head.get(path) in carriers[digest],
            removed=None if head.get(path) in carriers[digest] else removals.get((digest, path)),
        )
        for (digest, path), place in found.items()
    ]


def _follow(
    change: Change,
    carriers: Mapping[bytes, Mapping[str, Met]],
    secrets_of: Mapping[str, list[bytes]],
    found: dict[tuple[bytes, bytes], HistoryPlace[Met]],
    removals: dict[tuple[bytes, bytes], Appearance],
) -> None:
    appearance = Appearance(
        commit=change.commit,
        at=change.at,
        author=change.author,
        path=change.path.decode("utf-8", errors="surrogateescape"),
    )
    for digest in secrets_of.get(change.after, ()):
        key = (digest, change.path)
        place = found.get(key)
        if place is None:
            place = HistoryPlace(carriers[digest][change.after], at_head=False, last=appearance)
        found[key] = place._replace(first=appearance)
    for digest in {d for oid in change.before for d in secrets_of.get(oid, ())}:
        if change.after not in carriers[digest]:
            removals.setdefault((digest, change.path), appearance)


def _at(sighting: Met, path: bytes) -> Met:
    return msgspec.structs.replace(
        sighting, place=msgspec.structs.replace(sighting.place, path=path)
    )
