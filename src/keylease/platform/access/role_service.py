"""An organization's own roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceConflict, ResourceNotFound
from keylease.platform.access import repository
from keylease.platform.access.authority import Authority
from keylease.platform.access.permissions import DANGEROUS, Permission
from keylease.platform.access.places import Place
from keylease.platform.access.repository import GrantFilter
from keylease.platform.access.roles import BUILT_IN, Role
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.db.versions import check_version

MAXIMUM_ROLES: Final = 200
_KIND: Final = "role"


class RoleContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a role is made of, or changed to."""

    name: str
    description: str = ""
    permissions: frozenset[Permission]


class RoleService:
    """Makes, changes and removes roles. The caller holds ``access:manage`` in the organization."""

    def __init__(self, database: Database, authority: Authority) -> None:
        self._database = database
        self._authority = authority

    async def create(self, caller: Caller, content: RoleContent) -> Role:
        """Make a role of permissions that the caller holds in the whole organization.

        Raises ``InputInvalid``, ``ResourceConflict`` or ``PermissionDenied``.
        """
        async with self._authority.transaction(caller) as tx:
            if (before := await tx.created_before(_KIND)) is not None:
                return await self._found(tx, before)
            await self._authority.begin_change(tx)
            await self._check(tx, content)
            await self._authority.check_giving(tx, frozenset(content.permissions), Place())
            role = Role(
                id=tx.new_id(),
                name=content.name,
                description=content.description,
                permissions=content.permissions,
            )
            await repository.add_role(tx, caller.organization_id, role)
            await tx.record(AuditAction.ROLE_CREATED, role.id, details=_details(role))
            await tx.created(_KIND, role.id)
            return role

    async def change(
        self, caller: Caller, role_id: str, content: RoleContent, *, expected: int
    ) -> Role:
        """Change a role. What is added to it, all who hold it get: the caller must hold that."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx)
            before = await self._own(tx, role_id, expected)
            await self._check(tx, content, role_id=role_id)
            added = frozenset(content.permissions - before.permissions)
            await self._authority.check_giving(tx, added, Place())
            role = Role(
                id=role_id,
                name=content.name,
                description=content.description,
                permissions=content.permissions,
                version=before.version + 1,
            )
            await repository.change_role(tx, caller.organization_id, role)
            await tx.record(AuditAction.ROLE_CHANGED, role.id, details=_details(role, before))
            return role

    async def remove(self, caller: Caller, role_id: str, *, expected: int) -> None:
        """Take a role out of use. Raises ``ResourceConflict`` while somebody holds it."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx)
            await self._own(tx, role_id, expected)
            wanted = GrantFilter(role_id=role_id, live_at=tx.now)
            if await repository.grants(tx, caller.organization_id, wanted):
                raise ResourceConflict(
                    "The role is held by somebody.",
                    advice="Revoke its grants first: GET /v1/access/grants?role_id= lists them.",
                )
            await repository.remove_role(tx, caller.organization_id, role_id)
            await tx.record(AuditAction.ROLE_REMOVED, role_id)

    async def get(self, caller: Caller, role_id: str) -> Role:
        """One role, built-in or own. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await self._found(tx, role_id)

    async def all(self, caller: Caller) -> Sequence[Role]:
        """Every role, the built-in ones first."""
        async with self._database.reading(caller) as tx:
            return (*BUILT_IN.values(), *await repository.all_roles(tx, caller.organization_id))

    async def _found(self, tx: Transaction, role_id: str) -> Role:
        role = await repository.role(tx, tx.caller.organization_id, role_id)
        if role is None:
            raise ResourceNotFound("There is no such role.")
        return role

    async def _own(self, tx: Transaction, role_id: str, expected: int) -> Role:
        role = await self._found(tx, role_id)
        if role.built_in:
            raise ResourceConflict(
                "Built-in roles do not change.", advice="Make a role of your own beside it."
            )
        check_version(current=role.version, expected=expected)
        return role

    async def _check(self, tx: Transaction, content: RoleContent, *, role_id: str = "") -> None:
        if dangerous := sorted(content.permissions & DANGEROUS):
            raise InputInvalid(
                f"{', '.join(dangerous)}: dangerous permissions are no part of a role.",
                advice="Grant each by itself, to whoever needs it and for as long as needed.",
            )
        others = [
            role
            for role in (
                *BUILT_IN.values(),
                *await repository.all_roles(tx, tx.caller.organization_id),
            )
            if role.id != role_id
        ]
        if any(role.name.casefold() == content.name.casefold() for role in others):
            raise ResourceConflict("There is a role of this name.")
        if len(others) >= MAXIMUM_ROLES + len(BUILT_IN):
            raise ResourceConflict(f"An organization has at most {MAXIMUM_ROLES} roles of its own.")


def _details(role: Role, before: Role | None = None) -> dict[str, str]:
    """What the role gives now, or what was added to it and taken from it."""
    if before is None:
        return {"permissions": " ".join(sorted(role.permissions))}
    details = {
        "added": " ".join(sorted(role.permissions - before.permissions)),
        "removed": " ".join(sorted(before.permissions - role.permissions)),
    }
    return {name: value for name, value in details.items() if value}
