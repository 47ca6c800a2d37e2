from __future__ import annotations

import asyncio

import msgspec
import pytest
from sqlalchemy import select
from tests.support.house import House, caller_of, new_house
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.errors import (
    InputInvalid,
    PermissionDenied,
    ResourceConflict,
    ResourceNotFound,
)
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller, IdempotencyKey
from keylease.platform.db.database import Database
from keylease.platform.identity.directory.invitations import InvitationContent, NewInvitation
from keylease.platform.identity.directory.records import InvitationState
from keylease.platform.identity.directory.tables import INVITATIONS
from keylease.platform.identity.interfaces import KnownUser

READ = Permission.CREDENTIAL_READ
BOB = InvitationContent(email="bob@example.org", name="Bob")


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def invite(house: House, by: Caller | None = None, **more: object) -> NewInvitation:
    content = msgspec.structs.replace(BOB, **more)
    return await house.directory.invitations.create(by or house.owner, content)


async def accept(house: House, secret: str) -> KnownUser:
    async with house.database.transaction() as tx:
        return await house.directory.accept_invitation(tx, secret)


async def test_who_is_invited_joins_with_what_was_promised(house: House) -> None:
    team, project = await house.group("team"), await house.project("p")
    await house.grant(f"group:{team.id}", role="auditor")
    made = await invite(house, group_ids=(team.id,), role_id="viewer", project_id=project.id)
    assert made.invitation.state is InvitationState.PENDING
    user = await accept(house, made.secret)
    assert (user.name, user.email) == ("Bob", "bob@example.org")
    bob = caller_of(f"user:{user.id}", house.organization_id)
    assert await house.may(bob, Permission.TRACE_READ, project_id=project.id)
    assert await house.may(bob, Permission.AUDIT_READ)
    assert not await house.may(bob, Permission.TRACE_READ)
    after = await house.directory.invitations.get(house.owner, made.invitation.id)
    assert (after.state, after.user_id) == (InvitationState.ACCEPTED, user.id)
    assert (after.name, after.email) == ("", "")
    assert AuditAction.INVITATION_ACCEPTED in {entry.action for entry in await house.entries()}


async def test_a_link_works_once(house: House) -> None:
    made = await invite(house)
    done = await asyncio.gather(
        accept(house, made.secret), accept(house, made.secret), return_exceptions=True
    )
    assert sum(isinstance(each, KnownUser) for each in done) == 1
    assert sum(isinstance(each, ResourceNotFound) for each in done) == 1
    with pytest.raises(ResourceNotFound):
        await accept(house, made.secret)


async def test_only_a_digest_of_the_secret_is_stored(house: House) -> None:
    made = await invite(house)
    async with house.database.reading() as tx:
        rows = await tx.rows(select(INVITATIONS))
    assert made.secret not in str(rows)
    assert made.secret not in str(await house.entries())


async def test_a_link_ends(house: House, clock: ManualClock) -> None:
    made = await invite(house, days=1)
    clock.advance(86_400)
    with pytest.raises(ResourceNotFound):
        await accept(house, made.secret)
    again = await invite(house)  # the old one is in nobody's way
    assert (await accept(house, again.secret)).email == "bob@example.org"


async def test_every_refusal_says_the_same(house: House, clock: ManualClock) -> None:
    revoked, used = await invite(house), None
    await house.directory.invitations.revoke(house.owner, revoked.invitation.id, expected=1)
    used = await invite(house)
    await accept(house, used.secret)
    old = await invite(house, email="old@example.org", days=1)
    clock.advance(86_400)
    messages = set()
    for secret in (revoked.secret, used.secret, old.secret, "never made"):
        with pytest.raises(ResourceNotFound) as caught:
            await accept(house, secret)
        messages.add(str(caught.value))
    assert len(messages) == 1


async def test_nobody_invites_to_more_than_they_hold(house: House) -> None:
    admin = await house.user("Ada", role="admin")
    owners = await house.group("owners")
    await house.grant(f"group:{owners.id}", role="owner")
    for more in ({"role_id": "owner"}, {"group_ids": (owners.id,)}):
        with pytest.raises(PermissionDenied):
            await invite(house, admin, **more)
    keeper = await house.user("Kim")
    await house.grant(keeper.name, permission=Permission.PRINCIPAL_MANAGE.value)
    with pytest.raises(PermissionDenied):
        await invite(house, keeper, role_id="viewer")
    await invite(house, admin, role_id="engineer")


async def test_an_invitation_does_not_outlive_the_rights_of_its_author(house: House) -> None:
    admin = await house.user("Ada", role="admin")
    made = await invite(house, admin, role_id="admin")
    user = await house.directory.users.get(house.owner, admin.name.partition(":")[2])
    await house.directory.users.suspend(house.owner, user.id, expected=user.version)
    with pytest.raises(ResourceConflict, match="cannot give any more") as caught:
        await accept(house, made.secret)
    assert "admin" not in caught.value.message  # nothing about who may what, to a stranger
    unchanged = await house.directory.invitations.get(house.owner, made.invitation.id)
    assert unchanged.state is InvitationState.PENDING


async def test_a_group_that_was_archived_is_left_out(house: House) -> None:
    team = await house.group("team")
    made = await invite(house, group_ids=(team.id,))
    await house.directory.groups.archive(house.owner, team.id, expected=1)
    user = await accept(house, made.secret)
    async with house.database.reading() as tx:
        groups = await house.directory.facts.memberships(tx, house.organization_id)
    assert f"user:{user.id}" not in groups


async def test_one_open_invitation_for_an_address(house: House) -> None:
    first = await invite(house)
    with pytest.raises(ResourceConflict, match="open invitation"):
        await invite(house, email="BOB@example.org")
    await house.directory.invitations.revoke(house.owner, first.invitation.id, expected=1)
    await accept(house, (await invite(house)).secret)
    with pytest.raises(ResourceConflict, match="user with this address"):
        await invite(house)
    with pytest.raises(ResourceConflict, match="revoked already"):
        await house.directory.invitations.revoke(house.owner, first.invitation.id, expected=2)


async def test_a_link_is_shown_once(house: House) -> None:
    sent = IdempotencyKey(key="k", request_digest="d")
    caller = msgspec.structs.replace(house.owner, idempotency=sent)
    await invite(house, caller)
    with pytest.raises(ResourceConflict, match="shown once"):
        await invite(house, caller)


async def test_an_issuer_can_vouch_for_who_is_invited(house: House) -> None:
    await invite(house, role_id="viewer")
    async with house.database.transaction() as tx:
        user = await house.directory.join_from_outside(
            tx,
            organization_id=house.organization_id,
            email="Bob@example.org",
            name="Robert",
            may_add=False,
        )
    assert user is not None
    assert user.name == "Robert"
    async with house.database.reading(house.owner) as tx:
        assert len(await house.rules.authority.held(tx, f"user:{user.id}")) == 1


async def test_what_is_promised_must_be_there(
    house: House, database: Database, clock: ManualClock
) -> None:
    other = await new_house(database, clock, name="Other")
    theirs, project = await other.group("g"), await other.project("p")
    for more in (
        {"group_ids": (theirs.id,)},
        {"role_id": "nonsense"},
        {"role_id": "viewer", "project_id": project.id},
        {"email": "nonsense"},
    ):
        with pytest.raises(InputInvalid):
            await invite(house, **more)
    mine = await invite(house)
    with pytest.raises(ResourceNotFound):
        await other.directory.invitations.get(other.owner, mine.invitation.id)
    with pytest.raises(ResourceNotFound):
        await other.directory.invitations.revoke(other.owner, mine.invitation.id, expected=1)
