"""Gives and revokes grants."""

from __future__ import annotations

import re
from typing import Final

from keylease.errors import InputInvalid, ResourceConflict, ResourceNotFound
from keylease.platform.access import repository
from keylease.platform.access.authority import GRANT_KIND, Authority, check_inside
from keylease.platform.access.grants import HOLDER_KINDS, Grant, NewGrant
from keylease.platform.access.interfaces import Directory
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.repository import GrantFilter
from keylease.platform.access.roles import BuiltInRole
from keylease.platform.access.snapshot import FOREVER
from keylease.platform.access.snapshots import Snapshots
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.db.versions import check_version

_IDENTIFIER: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HOLDER: Final = re.compile(f"({'|'.join(HOLDER_KINDS)}):{_IDENTIFIER}")
_OBJECT: Final = re.compile(f"([a-z_]+)/{_IDENTIFIER}")
_KINDS: Final = frozenset(permission.resource for permission in Permission)


class GrantService:
    """Who holds what, where, from when to when."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        snapshots: Snapshots,
        directory: Directory,
    ) -> None:
        self._database = database
        self._authority = authority
        self._snapshots = snapshots
        self._directory = directory

    async def give(self, caller: Caller, new: NewGrant) -> Grant:
        """Give a grant. The caller needs ``access:manage`` there, and all that it gives.

        Raises ``InputInvalid``, ``ResourceNotFound`` or ``PermissionDenied``.
        """
        organization_id = caller.organization_id
        async with self._authority.transaction(caller) as tx:
            if (before := await tx.created_before(GRANT_KIND)) is not None:
                return await self._found(tx, before)
            await self._authority.begin_change(tx)
            snapshot = await self._snapshots.inside(tx, organization_id)
            if new.place.project_id and new.place.project_id not in snapshot.projects:
                raise ResourceNotFound("There is no such project.")
            check_inside(tx, snapshot, Permission.ACCESS_MANAGE, new.place)
            _check_form(new, now=tx.now)
            if not await self._directory.holder_exists(tx, organization_id, new.holder):
                raise InputInvalid("There is no such user, service account or group.")
            permissions = frozenset({new.permission}) if new.permission else None
            if permissions is None:
                role = await repository.role(tx, organization_id, new.role_id)
                if role is None:
                    raise InputInvalid("There is no such role.")
                permissions = frozenset(role.permissions)
            until = FOREVER if new.ends_at is None else new.ends_at
            await self._authority.check_giving(tx, permissions, new.place, until=until)
            grant = await self._authority.give(tx, new)
            await tx.created(GRANT_KIND, grant.id)
            return grant

    async def revoke(self, caller: Caller, grant_id: str, *, expected: int) -> Grant:
        """Revoke a grant. The caller needs ``access:manage`` where it holds.

        Only an Owner revokes an Owner's. Raises ``ResourceConflict`` for the last Owner's.
        """
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx)
            grant = await self._found(tx, grant_id)
            snapshot = await self._snapshots.inside(tx, caller.organization_id)
            check_inside(tx, snapshot, Permission.ACCESS_MANAGE, grant.place)
            check_version(current=grant.version, expected=expected)
            if grant.revoked_at is not None:
                raise ResourceConflict("The grant was revoked before.")
            if grant.role_id == BuiltInRole.OWNER:
                everything = frozenset(Permission)
                await self._authority.check_giving(tx, everything, grant.place, until=tx.now)
            await self._authority.revoke(tx, [grant])
            if grant.role_id == BuiltInRole.OWNER:
                await self._authority.check_owner_remains(tx)
            return await self._found(tx, grant_id)

    async def get(self, caller: Caller, grant_id: str) -> Grant:
        """One grant. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await self._found(tx, grant_id)

    async def page(self, caller: Caller, wanted: GrantFilter, request: PageRequest) -> Page[Grant]:
        """Grants of the organization, the oldest first."""
        async with self._database.reading(caller) as tx:
            found = await repository.grants(tx, caller.organization_id, wanted, request)
        return page_of(found, request, key=lambda grant: (grant.id,))

    async def _found(self, tx: Transaction, grant_id: str) -> Grant:
        grant = await repository.grant(tx, tx.caller.organization_id, grant_id)
        if grant is None:
            raise ResourceNotFound("There is no such grant.")
        return grant


def _check_form(new: NewGrant, *, now: int) -> None:
    if not _HOLDER.fullmatch(new.holder):
        raise InputInvalid("A grant's holder is user:ID, service_account:ID or group:ID.")
    if bool(new.role_id) == bool(new.permission):
        raise InputInvalid("A grant gives either a role or one permission.")
    if new.permission and new.permission not in set(Permission):
        raise InputInvalid("There is no such permission.")
    _check_object(new.place)
    starts_at = now if new.starts_at is None else new.starts_at
    if new.ends_at is not None and new.ends_at <= max(starts_at, now):
        raise InputInvalid("A grant ends after it starts, and not in the past.")
    if starts_at < now:
        raise InputInvalid("A grant does not start in the past.")


def _check_object(place: Place) -> None:
    if not place.object:
        return
    match = _OBJECT.fullmatch(place.object)
    if match is None or match[1] not in _KINDS:
        raise InputInvalid(
            "An object is KIND/ID.",
            advice="KIND is the resource of a permission, such as credential.",
        )
