"""What a change may give and take: nobody gives what they do not hold, and an Owner remains.

Used inside the transactions of whoever changes rights: grants and roles here, groups, users and
service accounts in the directory, API keys beside it.

Protects: a grant, a group's new member, a wider role, an invitation or a key for somebody else
    gives only what its giver holds there, for as long, and with the API key it uses. Only an Owner
    takes anything from an Owner. The last Owner stays: a user who acts, and whose right has no end.
    Changes of one organization happen one after the other, also over several servers, so that two
    Owners cannot remove each other at once.
Does not protect: what an Owner does. Owners hold everything; the audit log says what they did.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceConflict
from keylease.platform.access import repository
from keylease.platform.access.decisions import (
    Decision,
    Question,
    can_give,
    decide,
    grants_held,
    holders_of,
    lacking,
)
from keylease.platform.access.denials import DenialLog
from keylease.platform.access.grants import Grant, NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.reasons import Denied
from keylease.platform.access.repository import GrantFilter
from keylease.platform.access.roles import BuiltInRole
from keylease.platform.access.snapshot import FOREVER, Snapshot
from keylease.platform.access.snapshots import Snapshots
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.transaction import Transaction

GRANT_KIND: Final = "grant"


class _Gift(msgspec.Struct, frozen=True):
    """What somebody would get: permissions, where, until when."""

    permissions: frozenset[str]
    place: Place
    until: int


class Authority:
    """The checks of changes. They raise ``PermissionDenied`` or ``ResourceConflict``."""

    def __init__(self, database: Database, snapshots: Snapshots, denials: DenialLog) -> None:
        self._database = database
        self._snapshots = snapshots
        self._denials = denials

    @contextlib.asynccontextmanager
    async def transaction(self, caller: Caller) -> AsyncIterator[Transaction]:
        """A transaction whose denial, if it ends with one, gets its audit entry afterwards."""
        try:
            async with self._database.transaction(caller) as tx:
                yield tx
        except Denied as denied:
            decision = denied.decision
            await self._denials.denied(caller, decision.question, decision.reason)
            raise

    async def begin_change(self, tx: Transaction, *, directory: bool = False) -> int:
        """Put this change after all others of the organization; gives its access version.

        First of all in a transaction that changes rights. ``directory`` says that groups,
        projects or the state of principals change.
        """
        organization_id = tx.caller.organization_id
        tx.after_commit(lambda: self._snapshots.outdated(organization_id))
        return await repository.count_up(tx, organization_id, directory=directory)

    async def check_giving(
        self,
        tx: Transaction,
        permissions: frozenset[str],
        place: Place,
        *,
        until: int = FOREVER,
        giver: str = "",
    ) -> None:
        """Refuse unless the caller, or ``giver``, holds the permissions there for as long."""
        if tx.caller.principal is None and not giver:
            return  # the platform itself: start-up, and mappings that an Owner has set
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        _check_giving(tx, snapshot, _Gift(permissions, place, until), giver)

    async def check_joining(self, tx: Transaction, group_id: str, *, giver: str = "") -> None:
        """Refuse unless the caller, or ``giver``, holds all that members of the group get."""
        await self.check_standing(tx, f"group:{group_id}", giver=giver)

    async def check_standing(self, tx: Transaction, holder: str, *, giver: str = "") -> None:
        """Refuse unless the caller, or ``giver``, holds all that ``KIND:ID`` holds or will hold.

        For whatever makes a caller able to act as somebody else: a key for a service account,
        another email address.
        """
        if tx.caller.principal is None and not giver:
            return
        if (giver or tx.caller.name) == holder and not _is_narrowed(tx.caller):
            return
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        gifts = {
            _Gift(snapshot.permissions_of(grant), grant.place, grant.ends_at)
            for grant in grants_held(snapshot, holder)
            if grant.ends_at > tx.now
        }
        for gift in gifts:
            _check_giving(tx, snapshot, gift, giver)

    async def check_role(
        self, tx: Transaction, role_id: str, project_id: str, *, giver: str = ""
    ) -> None:
        """Refuse unless the caller, or ``giver``, may give the role in the project, for good.

        Raises ``InputInvalid`` for a role or a project that is not there.
        """
        role = await repository.role(tx, tx.caller.organization_id, role_id)
        if role is None:
            raise InputInvalid("There is no such role.")
        place = Place(project_id=project_id)
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        if project_id and project_id not in snapshot.projects:
            raise InputInvalid("There is no such project.")
        needed = frozenset(role.permissions) | {Permission.ACCESS_MANAGE}
        await self.check_giving(tx, needed, place, giver=giver)

    async def check_taking(self, tx: Transaction, holder: str) -> None:
        """Refuse when ``KIND:ID`` is an Owner and the caller is not."""
        if tx.caller.principal is None:
            return
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        for grant in grants_held(snapshot, holder):
            if grant.role_id == BuiltInRole.OWNER and grant.ends_at > tx.now:
                gift = _Gift(frozenset(Permission), grant.place, tx.now)
                _check_giving(tx, snapshot, gift, "")

    async def check_owner_remains(self, tx: Transaction) -> None:
        """Refuse when, after what the transaction did, nobody would be Owner without end."""
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        owners = {
            holder
            for holder, places in snapshot.grants.items()
            for grant in places.get(Place(), ())
            if grant.role_id == BuiltInRole.OWNER
            and grant.starts_at <= tx.now
            and grant.ends_at == FOREVER
        }
        users = (p for p in snapshot.principals if p.startswith("user:"))
        if not any(not owners.isdisjoint(holders_of(snapshot, user)) for user in users):
            raise ResourceConflict(
                "The organization would have no Owner left.",
                advice="Make somebody else Owner first, without an end, and repeat this.",
            )

    async def give(self, tx: Transaction, new: NewGrant, *, giver: str = "") -> Grant:
        """Store a grant and its audit entry. What it may give was checked before."""
        access_version = await self.begin_change(tx)
        grant = Grant(
            id=tx.new_id(),
            holder=new.holder,
            role_id=new.role_id,
            permission=new.permission,
            place=new.place,
            starts_at=tx.now if new.starts_at is None else new.starts_at,
            ends_at=new.ends_at,
            given_by=giver or tx.caller.name,
            given_at=tx.now,
            reason=new.reason,
        )
        await repository.add_grant(
            tx, tx.caller.organization_id, grant, access_version=access_version
        )
        await tx.record(AuditAction.GRANT_GIVEN, grant.id, details=_details(grant))
        return grant

    async def give_role(
        self, tx: Transaction, holder: str, role_id: str, project_id: str, *, giver: str = ""
    ) -> None:
        """``give`` for a role without end; ``check_role`` was called before."""
        new = NewGrant(holder=holder, role_id=role_id, place=Place(project_id=project_id))
        await self.give(tx, new, giver=giver)

    async def revoke(self, tx: Transaction, grants: Sequence[Grant]) -> None:
        """Revoke grants, with their audit entries. Who may, and who remains, is checked outside."""
        organization_id = tx.caller.organization_id
        access_version = await self.begin_change(tx)
        ids = [grant.id for grant in grants]
        await repository.revoke_grants(tx, organization_id, ids, access_version=access_version)
        for grant in grants:
            await tx.record(AuditAction.GRANT_REVOKED, grant.id, details=_details(grant))

    async def make_owner(self, tx: Transaction, holder: str) -> None:
        """Give the first Owner of a new organization everything."""
        await self.give_role(tx, holder, BuiltInRole.OWNER.value, "")

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """The grants a principal was given itself (``HoldingSource``)."""
        return tuple(map(_holding, await self._live_grants(tx, principal)))

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Revoke the grants of a principal that leaves."""
        del to  # rights are given, not inherited
        grants = await self._live_grants(tx, principal)
        if grants:
            await self.revoke(tx, grants)
        return tuple(map(_holding, grants))

    async def _live_grants(self, tx: Transaction, holder: str) -> Sequence[Grant]:
        wanted = GrantFilter(holder=holder, live_at=tx.now)
        return await repository.grants(tx, tx.caller.organization_id, wanted)


def _check_giving(tx: Transaction, snapshot: Snapshot, gift: _Gift, giver: str) -> None:
    asked = _question(tx, Permission.ACCESS_MANAGE, gift.place)  # the permission comes below
    if giver:
        asked = Question(principal=giver, permission=asked.permission, place=gift.place)
    missing = lacking(snapshot, asked, gift.permissions, now=tx.now, until=gift.until)
    for text in sorted(missing):
        question = msgspec.structs.replace(asked, permission=Permission(text))
        raise Denied(can_give(snapshot, question, now=tx.now, until=gift.until), snapshot)


def _is_narrowed(caller: Caller) -> bool:
    """Whether an API key takes something away: it then is less than its owner."""
    return caller.permissions is not None or bool(caller.project_id)


def check_inside(
    tx: Transaction, snapshot: Snapshot, permission: Permission, place: Place
) -> Decision:
    """Refuse unless the caller holds the permission at the place."""
    decision = decide(snapshot, _question(tx, permission, place), now=tx.now)
    if not decision.allowed:
        raise Denied(decision, snapshot)
    return decision


def _question(tx: Transaction, permission: Permission, place: Place) -> Question:
    return Question(
        principal=tx.caller.name,
        permission=permission,
        place=place,
        key_permissions=tx.caller.permissions,
        key_project=tx.caller.project_id,
    )


def _holding(grant: Grant) -> Holding:
    what = grant.role_id or grant.permission
    label = f"{what} on {grant.place}"
    return Holding(kind=GRANT_KIND, id=grant.id, label=label, outcome=Outcome.REVOKED)


def _details(grant: Grant) -> dict[str, str]:
    details = {
        "holder": grant.holder,
        "role_id": grant.role_id,
        "permission": grant.permission,
        "project_id": grant.place.project_id,
        "object": grant.place.object,
        "ends_at": "" if grant.ends_at is None else str(grant.ends_at),
    }
    return {name: value for name, value in details.items() if value}
