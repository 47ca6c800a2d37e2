"""Groups, which may lie in groups.

Protects: no group is in itself, however far around; nesting is at most ``MAXIMUM_DEPTH`` deep; a
    new member gets only what who adds it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceConflict, ResourceNotFound
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.identity.directory.interfaces import Authority, GroupWatcher
from keylease.platform.identity.directory.records import Group, GroupMember
from keylease.platform.identity.directory.shelf import Actions, Shelf

MAXIMUM_DEPTH: Final = 8
"""Groups in a chain, the innermost and the outermost included."""
_MEMBER: Final = re.compile(r"(user|service_account|group):[0-9a-f-]{36}")

Nesting = Mapping[str, tuple[str, ...]]
"""Group -> the groups it is directly in."""


class Groups(Shelf[Group]):
    """Sets of principals that are given rights together."""

    def __init__(self, database: Database, authority: Authority, facts: DirectoryFacts) -> None:
        actions = Actions(
            created=AuditAction.GROUP_CREATED,
            changed=AuditAction.GROUP_CHANGED,
            archived=AuditAction.GROUP_ARCHIVED,
        )
        super().__init__(database, authority, repository.GROUP_ROWS, actions, kind="group")
        self._facts = facts
        self._watchers: list[GroupWatcher] = []

    def watch(self, watcher: GroupWatcher) -> None:
        """Ask and tell whoever gives members of groups more than rights on the platform."""
        self._watchers.append(watcher)

    async def check_joining(self, tx: Transaction, group_id: str, *, giver: str = "") -> None:
        """Refuse unless the caller, or ``giver``, may give all that members of the group get."""
        await self._authority.check_joining(tx, group_id, giver=giver)
        if giver or not self._watchers:
            return  # who invited was asked then
        above = frozenset(_levels(await repository.nesting(tx), group_id))
        for watcher in self._watchers:
            await watcher.check_joining(tx, frozenset(f"group:{name}" for name in above))

    async def members(
        self, caller: Caller, group_id: str, request: PageRequest
    ) -> Page[GroupMember]:
        """Who is directly in a group. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            await self._rows.get(tx, group_id)
            return await repository.members_page(tx, group_id, request)

    async def add_member(self, caller: Caller, group_id: str, member: str) -> GroupMember:
        """Put ``KIND:ID`` into a group; nothing happens when it is in it already.

        Raises ``PermissionDenied`` unless the caller holds all that members of the group get,
        ``ResourceConflict`` for a cycle or a nesting that is too deep.
        """
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            await self._group_in_use(tx, group_id)
            exists = _MEMBER.fullmatch(member) and await self._facts.holder_exists(
                tx, caller.organization_id, member
            )
            if not exists:
                raise InputInvalid("There is no such user, service account or group.")
            await self.check_joining(tx, group_id)
            return await self.join(tx, group_id, member)

    async def join(
        self, tx: Transaction, group_id: str, member: str, *, added_by: str = ""
    ) -> GroupMember:
        """``add_member`` when the right to do so was checked; ``added_by`` is else the caller."""
        if (before := await repository.membership(tx, group_id, member)) is not None:
            return before
        if member.startswith("group:"):
            inner = member.partition(":")[2]
            check_nesting(await repository.nesting(tx), inner=inner, outer=group_id)
        made = GroupMember(member=member, added_at=tx.now, added_by=added_by or tx.caller.name)
        await repository.add_member(tx, group_id, made)
        await tx.record(AuditAction.GROUP_MEMBER_ADDED, group_id, details={"member": member})
        await self._tell(tx)
        return made

    async def remove_member(self, caller: Caller, group_id: str, member: str) -> None:
        """Take a member out of a group. Raises ``ResourceNotFound`` when it is not in it."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            await self._rows.get(tx, group_id)
            await self._authority.check_taking(tx, f"group:{group_id}")
            await self.leave(tx, group_id, member)
            await self._authority.check_owner_remains(tx)

    async def leave(self, tx: Transaction, group_id: str, member: str) -> None:
        """``remove_member`` when the right to do so was checked."""
        if not await repository.remove_member(tx, group_id, member):
            raise ResourceNotFound("It is not a member of this group.")
        await tx.record(AuditAction.GROUP_MEMBER_REMOVED, group_id, details={"member": member})
        await self._tell(tx)

    async def before_archiving(self, tx: Transaction, object_id: str) -> None:
        """Only an Owner takes from Owners."""
        await self._authority.check_taking(tx, f"group:{object_id}")

    async def after_archiving(self, tx: Transaction, object_id: str) -> None:
        """Its members have lost what it gave."""
        del object_id
        await self._authority.check_owner_remains(tx)
        await self._tell(tx)

    async def _tell(self, tx: Transaction) -> None:
        for watcher in self._watchers:
            await watcher.members_changed(tx)

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """The groups a principal is directly in (``HoldingSource``)."""
        return tuple(
            Holding(kind="group", id=group.id, label=group.name, outcome=Outcome.REVOKED)
            for group in await repository.groups_with(tx, principal)
        )

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Take a principal that leaves out of all its groups."""
        del to  # memberships are rights: given, not inherited
        held = await self.held(tx, principal)
        for holding in held:
            await self.leave(tx, holding.id, principal)
        return held

    async def _group_in_use(self, tx: Transaction, group_id: str) -> Group:
        group = await self._rows.get(tx, group_id)
        if group.archived_at is not None:
            raise ResourceConflict("The group is archived.", advice="Make a new one.")
        return group


def check_nesting(nesting: Nesting, *, inner: str, outer: str) -> None:
    """Raise ``ResourceConflict`` unless ``inner`` can lie in ``outer``."""
    above = _levels(nesting, outer)
    if inner in above:
        raise ResourceConflict("The group would be in itself.")
    turned: dict[str, tuple[str, ...]] = {}
    for group, groups in nesting.items():
        for containing in groups:
            turned[containing] = (*turned.get(containing, ()), group)
    below = _levels(turned, inner)
    if max(above.values()) + max(below.values()) + 2 > MAXIMUM_DEPTH:
        raise ResourceConflict(f"Groups are nested at most {MAXIMUM_DEPTH} deep.")


def _levels(nesting: Nesting, start: str) -> dict[str, int]:
    """Every group that can be reached, with the length of the longest way to it."""
    levels = {start: 0}
    pending = [start]
    while pending:
        group = pending.pop()
        for further in nesting.get(group, ()):
            # Without cycles no way is longer than the number of groups.
            if levels.get(further, -1) < levels[group] + 1:
                levels[further] = levels[group] + 1
                pending.append(further)
    return levels
