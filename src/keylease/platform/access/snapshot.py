"""What decisions are made from: everything an organization has granted, ready for look-ups.

A snapshot is never changed. A newer one is made from it by what has changed since, so that one new
grant among ten thousand does not cost reading all of them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place

FOREVER: Final = (1 << 63) - 1
"""The end of what has none, in microseconds; so that ends compare like other times."""

GrantsAt = Mapping[Place, tuple["HeldGrant", ...]]


class HeldGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that was not revoked; it may not have begun, or be over."""

    id: str
    holder: str
    """``user:ID``, ``service_account:ID`` or ``group:ID``."""
    role_id: str = ""
    permission: str = ""
    """Instead of a role: this one permission."""
    place: Place = Place()
    starts_at: int = 0
    ends_at: int = FOREVER


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One organization at one version."""

    organization_id: str
    version: int = 0
    """Counts every change; what is read at the same version is the same."""
    directory_version: int = 0
    """The version at which groups, projects or the state of principals changed last."""
    roles: Mapping[str, frozenset[Permission]] = {}
    """Built-in and own."""
    grants: Mapping[str, GrantsAt] = {}
    """Holder -> place -> grants."""
    groups_of: Mapping[str, tuple[str, ...]] = {}
    """``user:ID``, ``service_account:ID`` or ``group:ID`` -> the ``group:ID`` it is directly in.
    Archived groups are not in it."""
    projects: frozenset[str] = frozenset()
    principals: frozenset[str] = frozenset()
    """Who may act: neither suspended nor archived nor gone."""

    def permissions_of(self, grant: HeldGrant) -> frozenset[str]:
        """What a grant gives."""
        if grant.permission:
            return frozenset((grant.permission,))
        return self.roles.get(grant.role_id, _NOTHING)


_NOTHING: Final[frozenset[str]] = frozenset()


def with_grants(
    grants: Mapping[str, GrantsAt], *, changed: Iterable[HeldGrant], gone: Mapping[str, str]
) -> dict[str, GrantsAt]:
    """``grants`` with those that changed replaced and those that are gone removed.

    ``gone`` maps a grant's identifier to its holder.
    """
    per_holder: dict[str, dict[str, HeldGrant]] = {}

    def of(holder: str) -> dict[str, HeldGrant]:
        if holder not in per_holder:
            places = grants.get(holder, {})
            per_holder[holder] = {g.id: g for at_place in places.values() for g in at_place}
        return per_holder[holder]

    for grant_id, holder in gone.items():
        of(holder).pop(grant_id, None)
    for grant in changed:
        of(grant.holder)[grant.id] = grant
    result = dict(grants)
    for holder, held in per_holder.items():
        result.pop(holder, None)
        places: dict[Place, tuple[HeldGrant, ...]] = {}
        for grant in held.values():
            places[grant.place] = (*places.get(grant.place, ()), grant)
        if places:
            result[holder] = places
    return result
