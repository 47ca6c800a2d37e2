"""Whether a principal may do something, and why: pure functions over a snapshot.

Protects: nothing is allowed unless a grant says so: to the principal or to a group it is in, of the
    permission itself or of a role that lists it, at the place or one around it, now. No permission
    implies another. What narrows a caller (the permissions and the project of its API key) can only
    take away.
Does not protect: that the object lies in the project that is named is for the domain to say which
    owns the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.snapshot import FOREVER, HeldGrant, Snapshot

Holders = Mapping[str, tuple[str, ...]]
"""Whose grants count for a principal -> the groups on the way to it, the nearest first."""


class Reason(StrEnum):
    """Why it is so. Stable; stored in audit entries."""

    GRANTED = "granted"
    NOT_ACTIVE = "not_active"
    """The principal is suspended, archived or unknown."""
    OUTSIDE_API_KEY = "outside_api_key"
    """The API key was not given this permission."""
    OUTSIDE_PROJECT = "outside_project"
    """The API key belongs to another project."""
    NOT_STARTED = "not_started"
    ENDED = "ended"
    ENDS_EARLIER = "ends_earlier"
    """The principal holds it for less time than it wants to give it."""
    ELSEWHERE = "elsewhere"
    """The principal holds the permission at other places only."""
    NOT_GRANTED = "not_granted"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """May this principal do this here?"""

    principal: str
    permission: Permission
    place: Place = Place()
    key_permissions: frozenset[str] | None = None
    """The permissions of the API key that is used; ``None`` is all."""
    key_project: str = ""
    """The project of the API key that is used; empty is all."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Allow or deny, with the reason."""

    question: Question
    reason: Reason
    grant: HeldGrant | None = None
    """The grant that allows it, or the one that nearly did."""
    via: tuple[str, ...] = ()
    """The groups through which the grant is held, the principal's own first."""

    @property
    def allowed(self) -> bool:
        """Only for who shows it; who acts on it calls ``AccessService.require``."""
        return self.reason is Reason.GRANTED


def holders_of(snapshot: Snapshot, principal: str) -> Holders:
    """The principal and every group it is in, directly or through other groups."""
    found: dict[str, tuple[str, ...]] = {principal: ()}
    pending = [principal]
    for holder in pending:
        for group in snapshot.groups_of.get(holder, ()):
            if group not in found:
                found[group] = (*found[holder], group)
                pending.append(group)
    return found


def decide(
    snapshot: Snapshot, question: Question, *, now: int, holders: Holders | None = None
) -> Decision:
    """Answer the question at ``now``. ``holders``, when given, is ``holders_of`` the principal."""
    # 1. Who does not act, holds nothing; an API key takes away, and never adds.
    if (refusal := _refusal_before_grants(snapshot, question)) is not None:
        return Decision(question=question, reason=refusal)
    if holders is None:
        holders = holders_of(snapshot, question.principal)
    # 2. A grant that reaches here, now.
    missed: HeldGrant | None = None
    for grant in _reaching(snapshot, holders, question.place):
        if not _gives(snapshot, grant, question.permission):
            continue
        if grant.starts_at <= now < grant.ends_at:
            return _by(question, Reason.GRANTED, grant, holders)
        missed = grant
    # 3. Why not.
    if missed is not None:
        early = now < missed.starts_at
        return _by(question, Reason.NOT_STARTED if early else Reason.ENDED, missed, holders)
    for grant in _all_grants(snapshot, holders):
        if grant.starts_at <= now < grant.ends_at and _gives(snapshot, grant, question.permission):
            return _by(question, Reason.ELSEWHERE, grant, holders)
    return Decision(question=question, reason=Reason.NOT_GRANTED)


def can_give(snapshot: Snapshot, question: Question, *, now: int, until: int = FOREVER) -> Decision:
    """Whether a principal may let another hold the permission there from now ``until`` then.

    Holding it oneself is needed, at that place and by one grant for all of the time.
    """
    decision = decide(snapshot, question, now=now)
    if decision.grant is None or not decision.allowed or decision.grant.ends_at >= until:
        return decision
    holders = holders_of(snapshot, question.principal)
    for grant in _reaching(snapshot, holders, question.place):
        if _lasts(grant, now, until) and _gives(snapshot, grant, question.permission):
            return _by(question, Reason.GRANTED, grant, holders)
    return _by(question, Reason.ENDS_EARLIER, decision.grant, holders)


def lacking(
    snapshot: Snapshot,
    giver: Question,
    permissions: frozenset[str],
    *,
    now: int,
    until: int = FOREVER,
) -> frozenset[str]:
    """Which of the permissions ``can_give`` would refuse; ``giver.permission`` does not matter."""
    if _refusal_before_grants(snapshot, msgspec.structs.replace(giver, key_permissions=None)):
        return permissions
    left = set(permissions)
    if giver.key_permissions is not None:
        left &= giver.key_permissions
    outside = permissions - left
    for grant in _reaching(snapshot, holders_of(snapshot, giver.principal), giver.place):
        if _lasts(grant, now, until):
            left -= snapshot.permissions_of(grant)
    return outside | left


def grants_held(snapshot: Snapshot, holder: str) -> tuple[HeldGrant, ...]:
    """Every grant that counts for a user, a service account or the members of a group."""
    return tuple(_all_grants(snapshot, holders_of(snapshot, holder)))


def places_with(
    snapshot: Snapshot, principal: str, permission: Permission, *, now: int
) -> frozenset[Place]:
    """Where a principal holds a permission now; ``Place()`` among them is everywhere."""
    if principal not in snapshot.principals:
        return frozenset()
    return frozenset(
        grant.place
        for grant in _all_grants(snapshot, holders_of(snapshot, principal))
        if grant.starts_at <= now < grant.ends_at and _gives(snapshot, grant, permission)
    )


def _refusal_before_grants(snapshot: Snapshot, question: Question) -> Reason | None:
    if question.principal not in snapshot.principals:
        return Reason.NOT_ACTIVE
    if question.key_permissions is not None and question.permission not in question.key_permissions:
        return Reason.OUTSIDE_API_KEY
    if question.key_project and question.key_project != question.place.project_id:
        return Reason.OUTSIDE_PROJECT
    return None


def _lasts(grant: HeldGrant, now: int, until: int) -> bool:
    """Whether it holds now, and still does just before ``until``."""
    return grant.starts_at <= now < grant.ends_at and grant.ends_at >= until


def _by(question: Question, reason: Reason, grant: HeldGrant, holders: Holders) -> Decision:
    return Decision(question=question, reason=reason, grant=grant, via=holders[grant.holder])


def _reaching(snapshot: Snapshot, holders: Holders, place: Place) -> Iterator[HeldGrant]:
    """Every grant of the holders at the place or one around it."""
    enclosing = place.enclosing()
    for holder in holders:
        places = snapshot.grants.get(holder)
        if places is not None:
            for around in enclosing:
                yield from places.get(around, ())


def _gives(snapshot: Snapshot, grant: HeldGrant, permission: Permission) -> bool:
    if grant.permission:
        return grant.permission == permission
    return permission in snapshot.roles.get(grant.role_id, ())


def _all_grants(snapshot: Snapshot, holders: Holders) -> Iterator[HeldGrant]:
    for holder in holders:
        for at_place in snapshot.grants.get(holder, {}).values():
            yield from at_place
