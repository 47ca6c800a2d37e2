"""An organization with its people, for tests of the directory and of access.

house = await new_house(database, clock)
ada = await house.user("Ada", role="admin")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import select

from keylease.contracts.audit import AuditEntry
from keylease.contracts.principals import Principal
from keylease.platform.access.grants import Grant, NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.rules import AccessRules, access_rules
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Sighting
from keylease.platform.db.tables import OUTBOX
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.identity.directory.records import Group, Project
from keylease.platform.identity.directory.service import DirectoryService
from keylease.platform.identity.directory.shelf import Content
from keylease.primitives.clock import Clock


@dataclass
class SeenThings:
    """Stands for the audit log."""

    sightings: list[Sighting] = field(default_factory=list)

    async def seen(self, organization_id: str, principal: str, *, limit: int) -> Sequence[Sighting]:
        assert organization_id
        assert principal
        return self.sightings[:limit]


@dataclass
class House:
    database: Database
    rules: AccessRules
    directory: DirectoryService
    seen: SeenThings
    owner: Caller
    """The first Owner."""

    @property
    def organization_id(self) -> str:
        return self.owner.organization_id

    async def user(self, name: str, *, role: str = "", place: Place | None = None) -> Caller:
        """A new user, who holds a role if one is named."""
        async with self.database.transaction(self.owner) as tx:
            user = await self.directory.users.add(tx, name=name, email=f"{name}@example.org")
        caller = caller_of(f"user:{user.id}", self.organization_id)
        if role:
            await self.grant(caller.name, role=role, place=place or Place())
        return caller

    async def grant(
        self,
        holder: str,
        *,
        role: str = "",
        permission: str = "",
        place: Place | None = None,
        ends_at: int | None = None,
        by: Caller | None = None,
    ) -> Grant:
        new = NewGrant(
            holder=holder,
            role_id=role,
            permission=permission,
            place=place or Place(),
            ends_at=ends_at,
        )
        return await self.rules.grants.give(by or self.owner, new)

    async def group(self, name: str, *members: str) -> Group:
        group = await self.directory.groups.create(self.owner, Content(name=name))
        for member in members:
            await self.directory.groups.add_member(self.owner, group.id, member)
        return group

    async def project(self, name: str) -> Project:
        return await self.directory.projects.create(self.owner, Content(name=name))

    async def may(self, caller: Caller, permission: Permission, *, project_id: str = "") -> bool:
        decisions = self.rules.decisions
        return (await decisions.decision(caller, permission, project_id=project_id)).allowed

    async def entries(self) -> list[AuditEntry]:
        """The audit entries of all that was committed, in order."""
        async with self.database.reading() as tx:
            rows = await tx.rows(select(OUTBOX.c.entry).order_by(OUTBOX.c.position))
        return [msgspec.json.decode(row["entry"], type=AuditEntry) for row in rows]


def caller_of(principal: str, organization_id: str) -> Caller:
    return Caller(principal=Principal.parse(principal), organization_id=organization_id)


async def new_house(database: Database, clock: Clock, *, name: str = "Acme") -> House:
    """Another organization in this database, served by services of its own."""
    facts, seen = DirectoryFacts(), SeenThings()
    rules = access_rules(database, facts, clock)
    directory = DirectoryService(database, facts=facts, authority=rules.authority, sightings=seen)
    directory.register(rules.authority)
    async with database.transaction() as tx:
        owner = await directory.organizations.found(tx, name=name, owner="Olga")
    return House(
        database=database,
        rules=rules,
        directory=directory,
        seen=seen,
        owner=caller_of(f"user:{owner.id}", owner.organization_id),
    )


def someone() -> str:
    """The identifier of nobody."""
    return "018f0000-0000-7000-8000-00000000dead"
