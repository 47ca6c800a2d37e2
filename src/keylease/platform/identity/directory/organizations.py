"""Organizations, and how the first one begins."""

from __future__ import annotations

from typing import Final

from keylease.contracts.audit import AuditAction
from keylease.errors import PermissionDenied
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.projects import EnvironmentContent, Environments, Projects
from keylease.platform.identity.directory.records import Organization, User
from keylease.platform.identity.directory.shelf import Content
from keylease.platform.identity.directory.users import Users

FIRST_NAME: Final = "My organization"
FIRST_OWNER: Final = "Owner"
FIRST_PROJECT: Final = "default"
FIRST_ENVIRONMENTS: Final = (
    EnvironmentContent(name="dev", description="Where people try things out."),
    EnvironmentContent(name="staging", description="Like production, without its data."),
    EnvironmentContent(name="prod", description="What customers use.", production=True),
)


class Organizations:
    """Tenants. An installation begins with one; each caller sees only its own."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        *,
        users: Users,
        projects: Projects,
        environments: Environments,
    ) -> None:
        self._database = database
        self._authority = authority
        self._users = users
        self._projects = projects
        self._environments = environments

    async def first_owner(self, tx: Transaction) -> User | None:
        """The owner that the installation began with; ``None`` before it has begun."""
        return await repository.first_owner(tx)

    async def begin(
        self, tx: Transaction, *, name: str = FIRST_NAME, owner: str = FIRST_OWNER, email: str = ""
    ) -> User:
        """Make the first organization, with its owner. Raises ``ResourceConflict`` if there is one.

        Of two servers that start together, one makes it, and the other is refused.
        """
        founder = await self.found(tx, name=name, owner=owner, email=email)
        with unless_made_meanwhile():
            await repository.mark_founded(tx.within(founder.organization_id), founder.id)
        return founder

    async def found(self, tx: Transaction, *, name: str, owner: str, email: str = "") -> User:
        """Make an organization: its Owner, a default project, three environments."""
        organization_id = tx.new_id()
        inside = tx.within(organization_id)
        await repository.ORGANIZATION_ROWS.add(
            inside, organization_id, name=name, second_approver=False, created_at=tx.now
        )
        await self._authority.begin_change(inside, directory=True)
        await inside.record(AuditAction.ORGANIZATION_FOUNDED, organization_id)
        user = await self._users.add(inside, name=owner, email=email)
        await self._authority.make_owner(inside, f"user:{user.id}")
        await self._projects.add(inside, Content(name=FIRST_PROJECT))
        for content in FIRST_ENVIRONMENTS:
            await self._environments.add(inside, content)
        return user

    async def get(self, caller: Caller, organization_id: str) -> Organization:
        """The caller's organization. Raises ``ResourceNotFound`` for every other."""
        async with self._database.reading(caller) as tx:
            return await repository.ORGANIZATION_ROWS.get(tx, organization_id)

    async def change(
        self,
        caller: Caller,
        organization_id: str,
        *,
        name: str,
        second_approver: bool,
        expected: int,
    ) -> Organization:
        """Rename it, or say whether wider policies need a second person."""
        async with self._authority.transaction(caller) as tx:
            rows = repository.ORGANIZATION_ROWS
            before = await rows.expect(tx, organization_id, expected)
            await rows.change(tx, organization_id, name=name, second_approver=second_approver)
            if before.second_approver and not second_approver and not caller.session_id:
                raise PermissionDenied(
                    "Only a person who is signed in lets one decide again what two decide now.",
                    advice="An API key could belong to either of the two.",
                )
            details = {}
            if before.second_approver != second_approver:
                details["second_approver"] = "on" if second_approver else "off"
            await tx.record(AuditAction.ORGANIZATION_CHANGED, organization_id, details=details)
            return await rows.get(tx, organization_id)
