"""Which secrets the names without a value stand for. docs/design/inventory.md has the rules.

A name is linked inside its reach only: the object of Kubernetes that it refers to, its repository
(or what one scan covers), and, for a name that somebody made for one secret, the organization. So
``OPENAI_API_KEY`` in one repository says nothing about the ``OPENAI_API_KEY`` of another. What can
be several secrets, or not one for sure, is marked as ambiguous.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from keylease.contracts.findings import Location, PlaceKind
from keylease.platform.inventory.names import Telling, called, kubernetes_object, telling
from keylease.platform.inventory.records import Place

MOST_FOR_A_NAME: Final = 8
"""Secrets that one mention may stand for. A name that more have tells nothing, and links none."""

LONGEST_REACH: Final = 600
"""Characters of a reach as it is stored."""
_MOST_LOOKED_AT: Final = 512
"""Places of one name in one reach that are looked at for each mention: it bounds the work that a
report can make."""


class Mentioned(msgspec.Struct, frozen=True, kw_only=True):
    """A name without a value."""

    place: Place
    reason: str = ""
    """How the place refers to it: ``GitHub Actions secret``."""
    refers_to: str = ""
    """The object, and its member, that it takes the value from: ``openai/api-key``."""


class Valued(msgspec.Struct, frozen=True, kw_only=True):
    """A place of a secret."""

    secret_id: str
    place: Place


class NameLink(msgspec.Struct, frozen=True, kw_only=True):
    """A name that stands for a secret, as far as is known."""

    secret_id: str
    mentioned: Mentioned
    evidence: str
    ambiguous: bool
    first_seen: int
    """Since when both were there; microseconds UTC."""
    last_seen: int
    removed_at: int | None


Scope = tuple[str, str]
"""The kind of a reach, and which one it is."""


class Reach(msgspec.Struct, frozen=True):
    """Within which one name is mostly one secret."""

    words: str
    scope: Scope

    @property
    def stored(self) -> str:
        """As ``inventory_names`` has it."""
        return ":".join(self.scope)[:LONGEST_REACH]


def links_of(mentions: Iterable[Mentioned], valued: Iterable[Valued]) -> tuple[NameLink, ...]:
    """Every link, in the order of the mentions."""
    finder = _Finder(valued)
    return tuple(link for mention in mentions for link in finder.links(mention))


class _Finder:
    """Looks values up by their names, so that thousands of namesakes elsewhere cost nothing."""

    def __init__(self, valued: Iterable[Valued]) -> None:
        self._by_name: dict[str, list[Valued]] = defaultdict(list)
        self._by_reach: dict[tuple[Scope, str], list[Valued]] = defaultdict(list)
        self._by_folder: dict[tuple[Scope, str, str], list[Valued]] = defaultdict(list)
        self._by_object: dict[tuple[Scope, str], list[Valued]] = defaultdict(list)
        for one in valued:
            scope = reach_of(one.place.location, one.place.source_id).scope
            if name := called(one.place.location.name):
                self._by_name[name].append(one)
                self._by_reach[scope, name].append(one)
                self._by_folder[scope, name, _folder(one.place)].append(one)
            thing = kubernetes_object(one.place.location)
            if thing is not None and thing.keeps:
                self._by_object[scope, thing.name].append(one)

    def links(self, mention: Mentioned) -> list[NameLink]:
        """What one name stands for."""
        if found := self._by_reference(mention):
            words = f"takes {mention.refers_to}, the secret of Kubernetes in which the value lies"
            return _chosen(mention, found, words, sure=True)
        name = mention.place.location.name
        reach, told = (
            reach_of(mention.place.location, mention.place.source_id),
            telling(called(name)),
        )
        words = f"names {name}, as the value is called in {reach.words}"
        if around := self._around(mention.place, reach.scope, called(name)):
            return _chosen(mention, around, words, sure=told is not Telling.NOTHING)
        if near := _fitting(mention.place, self._by_reach.get((reach.scope, called(name)), [])):
            sure = told is not Telling.NOTHING and reach.scope[0] == "repository"
            return _chosen(mention, near, words, sure=sure)
        if told is Telling.OWN:
            same = _fitting(mention.place, self._by_name.get(called(name), []))
            words = f"names {name}, a name of its own that the value has elsewhere"
            return _chosen(mention, same, words, sure=True)
        return []

    def _around(self, mention: Place, scope: Scope, name: str) -> list[Valued]:
        """Values in the closest folder around the mention that has one; and what was around it."""
        found: list[Valued] = []
        for folder in _folders(mention):
            there = _fitting(mention, self._by_folder.get((scope, name, folder), []))
            found += there
            if any(map(_still, there)):
                return found
        return []

    def _by_reference(self, mention: Mentioned) -> list[Valued]:
        wanted, _, member = mention.refers_to.partition("/")
        mine = kubernetes_object(mention.place.location)
        if not wanted or mine is None:
            return []
        found = []
        for one in self._by_object.get(
            (reach_of(mention.place.location, mention.place.source_id).scope, wanted), ()
        ):
            thing = kubernetes_object(one.place.location)
            if (
                thing is not None
                and (not member or called(one.place.location.name) == called(member))
                and (not mine.namespace or thing.namespace in {"", mine.namespace})
            ):
                found.append(one)
        return found


def reach_of(location: Location, source_id: str) -> Reach:
    """The repository that a place is in or belongs to; else what was scanned together."""
    if location.repository:
        return Reach("the same repository", ("repository", location.repository.casefold()))
    if location.kind is PlaceKind.CI_SECRET:
        # What a forge keeps for a repository belongs to it, though the forge was asked.
        forge, _, container = location.path.partition(":")
        if forge in _FORGES and "/" in container:
            address = f"{_FORGES[forge]}/{container}".casefold()
            return Reach("the same repository", ("repository", address))
    if location.kind is PlaceKind.KUBERNETES_CLUSTER:
        return Reach("the same cluster", ("cluster", location.path.partition(": ")[0]))
    return Reach("what was scanned with it", ("source", source_id))


_FORGES: Final = {"github": "github.com", "gitlab": "gitlab.com"}


def _fitting(mention: Place, values: list[Valued]) -> list[Valued]:
    """Those that may be of the mention's environment. Very many of one name tell nothing."""
    if len(values) > _MOST_LOOKED_AT:
        return []
    return [one for one in values if _may_be_one_environment(mention, one.place)]


def _may_be_one_environment(one: Place, other: Place) -> bool:
    first, second = one.location.environment, other.location.environment
    return not first or not second or first.casefold() == second.casefold()


def _folder(place: Place) -> str:
    path = place.location.repository_path or place.location.path
    return path.rpartition("/")[0]


def _folders(place: Place) -> Iterator[str]:
    """The folder of a place and those around it, the closest first."""
    folder = _folder(place)
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


def _still(one: Valued) -> bool:
    return one.place.removed_at is None and not one.place.location.in_history_only


def _chosen(
    mention: Mentioned, candidates: list[Valued], words: str, *, sure: bool
) -> list[NameLink]:
    """Links with what is there now; else with what was; and ended ones with what is gone."""
    now = [one for one in candidates if _still(one)]
    past = [one for one in candidates if one.place.removed_at is not None]
    once = [one for one in candidates if not _still(one) and one.place.removed_at is None]
    links = _linked(mention, now, words, sure=sure)
    if not links:
        # It stood there once; what the name stands for today may be what came after it.
        links = _linked(mention, once, f"{words}, in the history only", sure=False)
    known = {link.secret_id for link in links}
    gone = [one for one in past if one.secret_id not in known]
    return links + _linked(mention, gone, words, sure=sure)


def _linked(
    mention: Mentioned, candidates: list[Valued], words: str, *, sure: bool
) -> list[NameLink]:
    by_secret: dict[str, list[NameLink]] = defaultdict(list)
    for one in candidates:
        link = _while_both_were(mention, one, words)
        if link is not None:
            by_secret[one.secret_id].append(link)
    if len(by_secret) > MOST_FOR_A_NAME:
        return []
    ambiguous = not sure or len(by_secret) > 1
    others = f"; {len(by_secret)} secrets are called so" if len(by_secret) > 1 else ""
    found = []
    for links in by_secret.values():
        longest = max(links, key=lambda link: (link.removed_at is None, link.last_seen))
        found.append(
            msgspec.structs.replace(
                longest,
                evidence=f"{longest.evidence}{others}",
                ambiguous=ambiguous,
                first_seen=min(link.first_seen for link in links),
            )
        )
    return found


def _while_both_were(mention: Mentioned, one: Valued, words: str) -> NameLink | None:
    first = max(mention.place.first_seen, one.place.first_seen)
    ends = [end for end in (mention.place.removed_at, one.place.removed_at) if end is not None]
    if ends and min(ends) <= first:
        return None
    return NameLink(
        secret_id=one.secret_id,
        mentioned=mention,
        evidence=words,
        ambiguous=False,
        first_seen=first,
        last_seen=max(first, min(mention.place.last_seen, one.place.last_seen)),
        removed_at=min(ends) if ends else None,
    )
