"""Which secrets the names without a value stand for. docs/design/inventory.md has the rules.

A name is linked inside its reach only: the object of Kubernetes that it refers to, its repository
(or what one scan covers), and, for a name that somebody made for one secret, the organization. So
``OPENAI_API_KEY`` in one repository says nothing about the ``OPENAI_API_KEY`` of another. What can
be several secrets, or not one for sure, is marked as ambiguous.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.platform.inventory.names import Telling, called, kubernetes_object, telling
from keylease.platform.inventory.records import Place

MOST_FOR_A_NAME: Final = 8
"""Secrets that one mention may stand for. A name that more have tells nothing, and links none."""


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


class Reach(msgspec.Struct, frozen=True):
    """Within which one name is mostly one secret."""

    words: str
    scope: tuple[str, str]


def links_of(mentions: Iterable[Mentioned], valued: Iterable[Valued]) -> tuple[NameLink, ...]:
    """Every link, in the order of the mentions."""
    finder = _Finder(valued)
    return tuple(link for mention in mentions for link in finder.links(mention))


class _Finder:
    def __init__(self, valued: Iterable[Valued]) -> None:
        self._by_name: dict[str, list[Valued]] = defaultdict(list)
        self._by_object: dict[str, list[Valued]] = defaultdict(list)
        for one in valued:
            if name := called(one.place.location.name):
                self._by_name[name].append(one)
            thing = kubernetes_object(one.place.location)
            if thing is not None and thing.keeps:
                self._by_object[thing.name].append(one)

    def links(self, mention: Mentioned) -> list[NameLink]:
        """What one name stands for."""
        if found := self._by_reference(mention):
            words = f"takes {mention.refers_to}, the secret of Kubernetes in which the value lies"
            return _chosen(mention, found, words, sure=True)
        name = mention.place.location.name
        same = [
            one
            for one in self._by_name.get(called(name), ())
            if _may_be_one_environment(mention.place, one.place)
        ]
        reach = reach_of(mention.place)
        near = [one for one in same if reach_of(one.place).scope == reach.scope]
        told = telling(name)
        if near:
            nearest = _nearest(mention.place, near)
            sure = told is not Telling.NOTHING and (
                reach.scope[0] == "repository" or all(_around(mention.place, x) for x in nearest)
            )
            words = f"names {name}, as the value is called in {reach.words}"
            return _chosen(mention, nearest, words, sure=sure)
        if told is Telling.OWN:
            words = f"names {name}, a name of its own that the value has elsewhere"
            return _chosen(mention, same, words, sure=True)
        return []

    def _by_reference(self, mention: Mentioned) -> list[Valued]:
        wanted, _, member = mention.refers_to.partition("/")
        mine = kubernetes_object(mention.place.location)
        if not wanted or mine is None:
            return []
        found = []
        for one in self._by_object.get(wanted, ()):
            thing = kubernetes_object(one.place.location)
            if (
                thing is not None
                and (not member or called(one.place.location.name) == called(member))
                and (not thing.namespace or thing.namespace == (mine.namespace or thing.namespace))
                and reach_of(one.place).scope == reach_of(mention.place).scope
            ):
                found.append(one)
        return found


def reach_of(place: Place) -> Reach:
    """The repository that a place is in or belongs to; else what was scanned together."""
    location = place.location
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
    return Reach("what was scanned with it", ("source", place.source_id))


_FORGES: Final = {"github": "github.com", "gitlab": "gitlab.com"}


def _may_be_one_environment(one: Place, other: Place) -> bool:
    first, second = one.location.environment, other.location.environment
    return not first or not second or first.casefold() == second.casefold()


def _folder(place: Place) -> str:
    path = place.location.repository_path or place.location.path
    return path.rpartition("/")[0]


def _around(mention: Place, one: Valued) -> bool:
    """Whether the value lies in a folder around the one that names it, or in the same."""
    folder = _folder(one.place)
    return not folder or f"{_folder(mention)}/".startswith(f"{folder}/")


def _nearest(mention: Place, near: list[Valued]) -> list[Valued]:
    """Of several values of one name in a repository: those that lie closest around the mention."""
    around = [one for one in near if _still(one) and _around(mention, one)]
    if not around:
        return near
    depth = max(len(_folder(one.place)) for one in around)
    closest = [one for one in around if len(_folder(one.place)) == depth]
    return closest + [one for one in near if not _still(one)]


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
