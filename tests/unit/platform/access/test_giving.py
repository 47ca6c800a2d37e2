"""Nobody gives what they do not hold, and an Owner remains."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.support.house import House, new_house, someone
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.errors import (
    InputInvalid,
    PermissionDenied,
    ResourceConflict,
    ResourceNotFound,
    VersionChanged,
)
from keylease.platform.access.grants import NewGrant
from keylease.platform.access.permissions import DANGEROUS, Permission
from keylease.platform.access.places import Place
from keylease.platform.access.role_service import RoleContent
from keylease.platform.db.callers import Caller, IdempotencyKey
from keylease.platform.db.database import Database

READ = Permission.CREDENTIAL_READ


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def test_an_admin_gives_what_admins_hold_and_no_more(house: House) -> None:
    admin, bob = await house.user("Ada", role="admin"), await house.user("Bob")
    await house.grant(bob.name, role="engineer", by=admin)
    for role in ("owner", "admin"):
        if role == "owner":
            with pytest.raises(PermissionDenied):
                await house.grant(bob.name, role=role, by=admin)
        else:
            await house.grant(bob.name, role=role, by=admin)
    for permission in DANGEROUS:
        with pytest.raises(PermissionDenied):
            await house.grant(bob.name, permission=permission.value, by=admin)


async def test_who_may_not_manage_access_gives_nothing(house: House) -> None:
    viewer = await house.user("Vera", role="viewer")
    with pytest.raises(PermissionDenied, match="access:manage"):
        await house.grant(viewer.name, role="viewer", by=viewer)


async def test_a_manager_of_a_project_gives_in_that_project(house: House) -> None:
    mine, other = await house.project("mine"), await house.project("other")
    inside = Place(project_id=mine.id)
    lead = await house.user("Lea", role="admin", place=inside)
    bob = await house.user("Bob")
    await house.grant(bob.name, role="viewer", place=inside, by=lead)
    assert await house.may(bob, READ, project_id=mine.id)
    named = Place(project_id=mine.id, object=f"credential/{someone()}")
    await house.grant(bob.name, role="viewer", place=named, by=lead)
    outside = (Place(), Place(project_id=other.id), Place(object=f"credential/{someone()}"))
    for place in outside:
        with pytest.raises(PermissionDenied):
            await house.grant(bob.name, role="viewer", place=place, by=lead)


async def test_nobody_gives_for_longer_than_they_hold(house: House, clock: ManualClock) -> None:
    end = clock.now() + 3_600_000_000
    helper, bob = await house.user("Hans"), await house.user("Bob")
    await house.grant(helper.name, role="admin", ends_at=end)
    await house.grant(bob.name, role="viewer", ends_at=end, by=helper)
    with pytest.raises(PermissionDenied, match="before what it gives"):
        await house.grant(bob.name, role="viewer", by=helper)


async def test_an_api_key_gives_no_more_than_it_has(house: House) -> None:
    bob, project = await house.user("Bob"), await house.project("p")
    key = msgspec.structs.replace(
        house.owner, permissions=frozenset({Permission.ACCESS_MANAGE.value, READ.value})
    )
    await house.grant(bob.name, permission=READ.value, by=key)
    with pytest.raises(PermissionDenied, match="API key"):
        await house.grant(bob.name, role="viewer", by=key)
    bound = msgspec.structs.replace(house.owner, project_id=project.id)
    with pytest.raises(PermissionDenied, match="another project"):
        await house.grant(bob.name, role="viewer", by=bound)
    await house.grant(bob.name, role="viewer", place=Place(project_id=project.id), by=bound)


async def test_a_role_is_made_of_what_its_maker_holds(house: House) -> None:
    keeper = await house.user("Kim")
    await house.grant(keeper.name, permission=Permission.ACCESS_MANAGE.value)
    with pytest.raises(PermissionDenied, match="credential:manage"):
        await house.rules.roles.create(keeper, content("r", Permission.CREDENTIAL_MANAGE))
    await house.rules.roles.create(keeper, content("s", Permission.ACCESS_MANAGE))


async def test_a_role_is_widened_by_what_its_changer_holds(house: House) -> None:
    keeper = await house.user("Kim")
    await house.grant(keeper.name, permission=Permission.ACCESS_MANAGE.value)
    role = await house.rules.roles.create(house.owner, content("r", READ))
    await house.grant(keeper.name, role=role.id)
    wider = content("r", READ, Permission.CREDENTIAL_MANAGE)
    with pytest.raises(PermissionDenied, match="credential:manage"):
        await house.rules.roles.change(keeper, role.id, wider, expected=1)
    narrower = await house.rules.roles.change(
        keeper, role.id, content("r", Permission.ACCESS_MANAGE), expected=1
    )
    assert narrower.version == 2
    assert not await house.may(keeper, READ)


async def test_dangerous_permissions_are_no_part_of_a_role(house: House) -> None:
    for permission in DANGEROUS:
        with pytest.raises(InputInvalid, match="no part of a role"):
            await house.rules.roles.create(house.owner, content("r", READ, permission))
    bob = await house.user("Bob", role="admin")
    assert not await house.may(bob, Permission.AUDIT_EXPORT)
    await house.grant(bob.name, permission=Permission.AUDIT_EXPORT.value)
    assert await house.may(bob, Permission.AUDIT_EXPORT)
    assert not await house.may(bob, Permission.POLICY_PUBLISH)


async def test_roles_have_names_of_their_own_and_go_when_nobody_holds_them(house: House) -> None:
    roles, bob = house.rules.roles, await house.user("Bob")
    role = await roles.create(house.owner, content("Keeper", READ))
    for name in ("Keeper", "keeper", "Owner"):
        with pytest.raises(ResourceConflict):
            await roles.create(house.owner, content(name, READ))
    grant = await house.grant(bob.name, role=role.id)
    with pytest.raises(ResourceConflict, match="held"):
        await roles.remove(house.owner, role.id, expected=1)
    await house.rules.grants.revoke(house.owner, grant.id, expected=1)
    with pytest.raises(VersionChanged):
        await roles.remove(house.owner, role.id, expected=9)
    await roles.remove(house.owner, role.id, expected=1)
    with pytest.raises(ResourceNotFound):
        await roles.get(house.owner, role.id)
    await roles.create(house.owner, content("Keeper", READ))
    with pytest.raises(ResourceConflict, match="Built-in"):
        await roles.change(house.owner, "viewer", content("v", READ), expected=1)


async def test_the_last_owner_stays(house: House, clock: ManualClock) -> None:
    grants = house.rules.grants
    async with house.database.reading(house.owner) as tx:
        (first,) = await house.rules.authority.held(tx, house.owner.name)
    with pytest.raises(ResourceConflict, match="no Owner"):
        await grants.revoke(house.owner, first.id, expected=1)
    bob = await house.user("Bob")
    # Neither a right that ends nor a program's counts.
    await house.grant(bob.name, role="owner", ends_at=clock.now() + 10)
    with pytest.raises(ResourceConflict, match="no Owner"):
        await grants.revoke(house.owner, first.id, expected=1)
    # By a group it does.
    team = await house.group("owners", bob.name)
    await house.grant(f"group:{team.id}", role="owner")
    await grants.revoke(house.owner, first.id, expected=1)
    with pytest.raises(ResourceConflict, match="no Owner"):
        await house.directory.groups.remove_member(bob, team.id, bob.name)
    with pytest.raises(ResourceConflict, match="no Owner"):
        await house.directory.groups.archive(bob, team.id, expected=1)
    assert await house.may(bob, Permission.SIGN_IN_MANAGE)


async def test_two_owners_cannot_remove_each_other_at_once(house: House) -> None:
    bob = await house.user("Bob")
    second = await house.grant(bob.name, role="owner")
    async with house.database.reading(house.owner) as tx:
        (first,) = await house.rules.authority.held(tx, house.owner.name)
    done = await asyncio.gather(
        house.rules.grants.revoke(house.owner, second.id, expected=1),
        house.rules.grants.revoke(bob, first.id, expected=1),
        return_exceptions=True,
    )
    refused = [each for each in done if isinstance(each, PermissionDenied | ResourceConflict)]
    assert len(refused) == 1, done


async def test_only_an_owner_takes_from_an_owner(house: House) -> None:
    admin, bob = await house.user("Ada", role="admin"), await house.user("Bob")
    grant = await house.grant(bob.name, role="owner")
    with pytest.raises(PermissionDenied):
        await house.rules.grants.revoke(admin, grant.id, expected=1)
    users, bob_id = house.directory.users, bob.name.partition(":")[2]
    with pytest.raises(PermissionDenied):
        await users.suspend(admin, bob_id, expected=1)
    with pytest.raises(PermissionDenied):
        await users.change(admin, bob_id, name="Bob", email="eve@example.org", expected=1)
    await users.suspend(house.owner, bob_id, expected=1)


async def test_a_denied_change_leaves_nothing_but_its_entry(house: House) -> None:
    admin, bob = await house.user("Ada", role="admin"), await house.user("Bob")
    before = await house.entries()
    with pytest.raises(PermissionDenied):
        await house.grant(bob.name, role="owner", by=admin)
    (entry,) = (await house.entries())[len(before) :]
    assert entry.action is AuditAction.ACCESS_DENIED
    assert entry.principal == admin.name
    assert entry.reason == "not_granted"
    assert entry.details["permission"] in DANGEROUS | {"organization:manage", "sign_in:manage"}
    assert not await house.may(bob, READ)


async def test_a_grant_that_makes_no_sense_is_refused(house: House) -> None:
    good = NewGrant(holder=house.owner.name, role_id="viewer")
    wrong: tuple[dict[str, object], ...] = (
        {"holder": f"user:{someone()}"},
        {"holder": "workload:ci"},
        {"holder": "everybody"},
        {"role_id": "nonsense"},
        {"role_id": ""},
        {"permission": "credential:read"},
        {"role_id": "", "permission": "credential:*"},
        {"place": Place(object="credential")},
        {"place": Place(object=f"spaceship/{someone()}")},
        {"ends_at": 1},
        {"starts_at": 1},
    )
    for each in wrong:
        with pytest.raises(InputInvalid):
            await house.rules.grants.give(house.owner, msgspec.structs.replace(good, **each))


async def test_a_grant_sent_again_is_given_once(house: House) -> None:
    sent = IdempotencyKey(key="k", request_digest="d")
    caller = msgspec.structs.replace(house.owner, idempotency=sent)
    bob = await house.user("Bob")
    new = NewGrant(holder=bob.name, role_id="viewer")
    first = await house.rules.grants.give(caller, new)
    assert (await house.rules.grants.give(caller, new)).id == first.id


async def test_grants_of_another_organization_are_not_there(
    house: House, database: Database, clock: ManualClock
) -> None:
    other = await new_house(database, clock, name="Other")
    theirs = await other.grant((await other.user("Zoe")).name, role="viewer")
    with pytest.raises(ResourceNotFound):
        await house.rules.grants.get(house.owner, theirs.id)
    with pytest.raises(ResourceNotFound):
        await house.rules.grants.revoke(house.owner, theirs.id, expected=1)
    with pytest.raises(InputInvalid):
        await house.grant(theirs.holder, role="viewer")
    project = await other.project("p")
    with pytest.raises(ResourceNotFound):
        await house.grant(house.owner.name, role="viewer", place=Place(project_id=project.id))


async def test_the_platform_itself_asks_no_route(house: House) -> None:
    nobody = Caller(principal=None, organization_id=house.organization_id)
    with pytest.raises(PermissionDenied):
        await house.rules.decisions.require(nobody, READ)


def content(name: str, *permissions: Permission) -> RoleContent:
    return RoleContent(name=name, permissions=frozenset(permissions))
