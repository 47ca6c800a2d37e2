"""Invitations: a link that makes one user, once.

Protects: the link's secret is random, stored as a digest, and works once and for a limited time.
    What it gives is checked when it is written and again when it is accepted: an invitation does
    not outlive the rights of who wrote it.
Does not protect: against who reads the link before the one it is for. Send it on a way that only
    they can read.
Limits: name and address are forgotten when it is accepted or revoked, or when a new one for the
    same address replaces one that is over its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement

from keylease.contracts.audit import AuditAction
from keylease.errors import (
    InputInvalid,
    PermissionDenied,
    ResourceConflict,
    ResourceNotFound,
    VersionChanged,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.emails import email_key
from keylease.platform.identity.directory.groups import Groups
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.records import Invitation, InvitationState, User
from keylease.platform.identity.directory.repository import INVITATION_ROWS, PersonKind
from keylease.platform.identity.directory.users import Users
from keylease.platform.identity.one_time import digest_of, random_text
from keylease.primitives.clock import MICROSECONDS

DEFAULT_DAYS: Final = 7
MAXIMUM_DAYS: Final = 30
_DAY: Final = 86_400 * MICROSECONDS
_KIND: Final = "invitation"


class InvitationContent(msgspec.Struct, frozen=True, kw_only=True):
    """Who is invited, and to what."""

    email: str
    name: str = ""
    group_ids: tuple[str, ...] = ()
    role_id: str = ""
    project_id: str = ""
    """Where the role holds; empty is the whole organization."""
    days: int = DEFAULT_DAYS


class NewInvitation(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation with its secret, which is told this once."""

    invitation: Invitation
    secret: str


class Invitations:
    """Writes, revokes and accepts invitations."""

    def __init__(
        self, database: Database, authority: Authority, *, users: Users, groups: Groups
    ) -> None:
        self._database = database
        self._authority = authority
        self._users = users
        self._groups = groups

    async def get(self, caller: Caller, invitation_id: str) -> Invitation:
        """One invitation. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await INVITATION_ROWS.get(tx, invitation_id)

    async def page(
        self, caller: Caller, request: PageRequest, *conditions: ColumnElement[bool]
    ) -> Page[Invitation]:
        """Invitations, the oldest first."""
        async with self._database.reading(caller) as tx:
            return await INVITATION_ROWS.page(tx, request, *conditions)

    async def create(self, caller: Caller, content: InvitationContent) -> NewInvitation:
        """Write an invitation. Raises ``PermissionDenied`` for more than the caller can give."""
        async with self._authority.transaction(caller) as tx:
            if await tx.created_before(_KIND) is not None:
                raise ResourceConflict(
                    "The invitation was made before; its link is shown once.",
                    advice="Revoke it and make a new one if the link was lost.",
                )
            await self._authority.begin_change(tx, directory=True)
            await self._check_groups(tx, content.group_ids)
            await self._check_gifts(tx, content.group_ids, content.role_id, content.project_id)
            await self._check_free(tx, email_key(content.email))
            secret, invitation_id = random_text(), tx.new_id()
            await INVITATION_ROWS.add(
                tx,
                invitation_id,
                secret_digest=digest_of(secret, purpose=_KIND),
                state=InvitationState.PENDING,
                group_ids=msgspec.json.encode(content.group_ids),
                role_id=content.role_id,
                project_id=content.project_id,
                invited_by=caller.name,
                user_id="",
                created_at=tx.now,
                expires_at=tx.now + content.days * _DAY,
            )
            await self._store_person(tx, invitation_id, content)
            await tx.record(AuditAction.INVITATION_CREATED, invitation_id)
            await tx.created(_KIND, invitation_id)
            made = await INVITATION_ROWS.get(tx, invitation_id)
            return NewInvitation(invitation=made, secret=secret)

    async def revoke(self, caller: Caller, invitation_id: str, *, expected: int) -> Invitation:
        """Take an invitation back. Raises ``ResourceConflict`` when it is too late."""
        async with self._authority.transaction(caller) as tx:
            before = await INVITATION_ROWS.expect(tx, invitation_id, expected)
            if before.state is not InvitationState.PENDING:
                raise ResourceConflict(f"The invitation is {before.state.value} already.")
            await self._revoke(tx, invitation_id)
            return await INVITATION_ROWS.get(tx, invitation_id)

    async def look_up(self, tx: Transaction, secret: str) -> Invitation:
        """The invitation that a secret opens, in any organization.

        Raises ``ResourceNotFound``, in the same words for a wrong, used, revoked and old one.
        """
        found = await repository.pending_with_digest(tx, digest_of(secret, purpose=_KIND))
        if found is None or found.expires_at <= tx.now:
            raise _not_valid()
        return found

    async def accept(self, tx: Transaction, secret: str, *, name: str = "") -> User:
        """Make the user that an invitation is for. Raises as ``look_up`` does.

        ``ResourceConflict`` when who wrote it cannot give any more what it promises.
        """
        return await self.accept_found(tx, await self.look_up(tx, secret), name=name)

    async def accept_found(self, tx: Transaction, found: Invitation, *, name: str = "") -> User:
        """``accept`` for who has proven in another way that the invitation is theirs."""
        inside = tx.within(found.organization_id)
        await self._authority.begin_change(inside, directory=True)
        try:
            invitation = await INVITATION_ROWS.expect(inside, found.id, found.version)
        except VersionChanged as error:  # accepted or revoked since it was looked up
            raise _not_valid() from error
        giver, groups = invitation.invited_by, await self._groups_in_use(inside, invitation)
        try:
            await self._check_gifts(
                inside, groups, invitation.role_id, invitation.project_id, giver=giver
            )
        except (PermissionDenied, InputInvalid) as error:
            raise ResourceConflict(
                "Who wrote the invitation cannot give any more what it promises.",
                advice="Ask for a new one.",
            ) from error
        await repository.erase_person(inside, invitation.id)
        user = await self._users.add(inside, name=name or invitation.name, email=invitation.email)
        holder = f"user:{user.id}"
        for group_id in groups:
            await self._groups.join(inside, group_id, holder)
        if invitation.role_id:
            role_id, project_id = invitation.role_id, invitation.project_id
            await self._authority.give_role(inside, holder, role_id, project_id, giver=giver)
        await INVITATION_ROWS.change(
            inside, invitation.id, state=InvitationState.ACCEPTED, user_id=user.id
        )
        await inside.record(
            AuditAction.INVITATION_ACCEPTED, invitation.id, details={"user_id": user.id}
        )
        return user

    async def pending_for(self, tx: Transaction, email: str) -> Invitation | None:
        """The open invitation of ``tx.caller.organization_id`` for an address."""
        key = email_key(email)
        found = await repository.person_with_email(tx, PersonKind.INVITATION, key)
        invitation = await INVITATION_ROWS.find(tx, found) if found else None
        return invitation if invitation and invitation.expires_at > tx.now else None

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """The invitations that a principal wrote and nobody accepted yet (``HoldingSource``)."""
        return tuple(
            Holding(kind=_KIND, id=invitation.id, outcome=Outcome.REVOKED)
            for invitation in await repository.pending_invitations_by(tx, principal)
        )

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Revoke them."""
        del to  # whoever takes over writes their own
        held = await self.held(tx, principal)
        for holding in held:
            await self._revoke(tx, holding.id)
        return held

    async def _revoke(self, tx: Transaction, invitation_id: str) -> None:
        await repository.erase_person(tx, invitation_id)
        await INVITATION_ROWS.change(tx, invitation_id, state=InvitationState.REVOKED)
        await tx.record(AuditAction.INVITATION_REVOKED, invitation_id)

    async def _check_groups(self, tx: Transaction, group_ids: Sequence[str]) -> None:
        for group_id in group_ids:
            group = await repository.GROUP_ROWS.find(tx, group_id)
            if group is None or group.archived_at is not None:
                raise InputInvalid("There is no such group.")

    async def _groups_in_use(self, tx: Transaction, invitation: Invitation) -> tuple[str, ...]:
        """What is left of the groups it promises: one that was archived since gives nothing."""
        found = [await repository.GROUP_ROWS.get(tx, group) for group in invitation.group_ids]
        return tuple(group.id for group in found if group.archived_at is None)

    async def _check_gifts(
        self,
        tx: Transaction,
        group_ids: Sequence[str],
        role_id: str,
        project_id: str,
        *,
        giver: str = "",
    ) -> None:
        for group_id in group_ids:
            await self._groups.check_joining(tx, group_id, giver=giver)
        if role_id:
            await self._authority.check_role(tx, role_id, project_id, giver=giver)

    async def _check_free(self, tx: Transaction, key: str) -> None:
        if await repository.person_with_email(tx, PersonKind.USER, key):
            raise ResourceConflict("There is a user with this address.")
        before = await repository.person_with_email(tx, PersonKind.INVITATION, key)
        if not before:
            return
        if (await INVITATION_ROWS.get(tx, before)).expires_at > tx.now:
            raise ResourceConflict(
                "There is an open invitation for this address.", advice="Revoke it first."
            )
        await self._revoke(tx, before)

    async def _store_person(
        self, tx: Transaction, invitation_id: str, content: InvitationContent
    ) -> None:
        with unless_made_meanwhile():
            await repository.add_person(
                tx,
                invitation_id,
                PersonKind.INVITATION,
                name=content.name,
                email=content.email,
                email_key=email_key(content.email),
            )


def _not_valid() -> ResourceNotFound:
    return ResourceNotFound(
        "The invitation is not valid, or not any more.", advice="Ask for a new one."
    )
