"""Decides as ``access.decisions`` must, from the plain lists, by the definition and slowly."""

from __future__ import annotations

from dataclasses import dataclass

from keylease.platform.access.places import Place


@dataclass(frozen=True)
class PlainGrant:
    id: str
    holder: str
    gives: frozenset[str]
    place: Place
    starts_at: int
    ends_at: int | None
    revoked: bool


@dataclass(frozen=True)
class PlainOrganization:
    grants: tuple[PlainGrant, ...]
    memberships: tuple[tuple[str, str], ...]
    """Member, group."""
    active: frozenset[str]


def is_in(organization: PlainOrganization, member: str, group: str) -> bool:
    """Whether there is a way from the member to the group."""
    known = {member}
    while True:
        further = {g for m, g in organization.memberships if m in known} - known
        if not further:
            return group in known
        known |= further


def reaches(grant: PlainGrant, place: Place) -> bool:
    same_project = not grant.place.project_id or grant.place.project_id == place.project_id
    same_object = not grant.place.object or grant.place.object == place.object
    return same_project and same_object


def may(
    organization: PlainOrganization, principal: str, permission: str, place: Place, *, now: int
) -> bool:
    return any(
        principal in organization.active
        and not grant.revoked
        and grant.starts_at <= now
        and (grant.ends_at is None or now < grant.ends_at)
        and permission in grant.gives
        and reaches(grant, place)
        and is_in(organization, principal, grant.holder)
        for grant in organization.grants
    )
