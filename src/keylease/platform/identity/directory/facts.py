"""What the directory tells other domains. It only reads, and needs nobody."""

from __future__ import annotations

from collections.abc import Mapping

from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import PrincipalInvalid
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.records import UserState


class DirectoryFacts:
    """Who there is. Everything inside the caller's transaction."""

    async def acting_principals(self, tx: Transaction, organization_id: str) -> frozenset[str]:
        """``user:ID`` and ``service_account:ID`` of all that are active."""
        return await repository.acting_principals(tx, organization_id)

    async def project_ids(self, tx: Transaction, organization_id: str) -> frozenset[str]:
        """The organization's projects, archived ones included."""
        return await repository.project_ids(tx, organization_id)

    async def memberships(
        self, tx: Transaction, organization_id: str
    ) -> Mapping[str, tuple[str, ...]]:
        """Member -> the groups it is directly in, as ``group:ID``."""
        return await repository.memberships(tx, organization_id)

    async def group_members(
        self, tx: Transaction, organization_id: str
    ) -> Mapping[str, tuple[str, ...]]:
        """``group:ID`` -> who is in it, directly or by groups in it; without archived groups."""
        above = await repository.memberships(tx, organization_id)
        inside: dict[str, set[str]] = {}
        for member in above:
            if member.startswith("group:"):
                continue
            pending, seen = list(above[member]), set[str]()
            while pending:
                group = pending.pop()
                if group not in seen:
                    seen.add(group)
                    inside.setdefault(group, set()).add(member)
                    pending.extend(above.get(group, ()))
        return {group: tuple(sorted(members)) for group, members in inside.items()}

    async def holder_exists(self, tx: Transaction, organization_id: str, holder: str) -> bool:
        """Whether ``KIND:ID`` is a group, a service account, or a user who has not left."""
        inside = tx.within(organization_id)
        kind, _, identifier = holder.partition(":")
        if kind == "group":
            group = await repository.GROUP_ROWS.find(inside, identifier)
            return group is not None and group.archived_at is None
        if kind == PrincipalKind.SERVICE_ACCOUNT:
            account = await repository.SERVICE_ACCOUNT_ROWS.find(inside, identifier)
            return account is not None and account.archived_at is None
        if kind == PrincipalKind.USER:
            user = await repository.USER_ROWS.find(inside, identifier)
            return user is not None and user.state is not UserState.OFFBOARDED
        return False

    async def principal_exists(self, tx: Transaction, organization_id: str, principal: str) -> bool:
        """Whether ``KIND:ID`` is a user who has not left, or a service account."""
        try:
            Principal.parse(principal)
        except PrincipalInvalid:
            return False
        return await self.holder_exists(tx, organization_id, principal)

    async def is_active(self, tx: Transaction, organization_id: str, principal: Principal) -> bool:
        """Whether a user or service account may act."""
        inside = tx.within(organization_id)
        if principal.kind is PrincipalKind.USER:
            user = await repository.USER_ROWS.find(inside, principal.id)
            return user is not None and user.state is UserState.ACTIVE
        if principal.kind is PrincipalKind.SERVICE_ACCOUNT:
            account = await repository.SERVICE_ACCOUNT_ROWS.find(inside, principal.id)
            return account is not None and account.archived_at is None
        return False

    async def needs_second_approver(self, tx: Transaction, organization_id: str) -> bool:
        """Whether a policy that widens access waits for a second principal."""
        inside = tx.within(organization_id)
        return (await repository.ORGANIZATION_ROWS.get(inside, organization_id)).second_approver
