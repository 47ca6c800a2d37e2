from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.house import House, new_house, someone
from tests.support.manual_clock import ManualClock

from keylease.errors import InputInvalid, PermissionDenied, ResourceConflict, ResourceNotFound
from keylease.platform.access.grants import NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.groups import MAXIMUM_DEPTH, check_nesting
from keylease.platform.identity.directory.service_accounts import AccountContent

READ = Permission.CREDENTIAL_READ


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def test_members_hold_what_the_group_holds(house: House) -> None:
    ada = await house.user("Ada")
    inner = await house.group("inner", ada.name)
    outer = await house.group("outer", f"group:{inner.id}")
    await house.grant(f"group:{outer.id}", role="viewer")
    assert await house.may(ada, READ)
    await house.directory.groups.remove_member(house.owner, outer.id, f"group:{inner.id}")
    assert not await house.may(ada, READ)


async def test_an_archived_group_gives_nothing(house: House) -> None:
    ada = await house.user("Ada")
    team = await house.group("team", ada.name)
    await house.grant(f"group:{team.id}", role="viewer")
    assert await house.may(ada, READ)
    await house.directory.groups.archive(house.owner, team.id, expected=1)
    assert not await house.may(ada, READ)
    with pytest.raises(ResourceConflict, match="archived"):
        await house.directory.groups.add_member(house.owner, team.id, house.owner.name)
    with pytest.raises(InputInvalid):
        await house.grant(f"group:{team.id}", role="viewer")
    with pytest.raises(TypeError, match="not restored"):
        await house.directory.groups.restore(house.owner, team.id, expected=2)


async def test_nobody_adds_to_a_group_that_holds_more_than_they(house: House) -> None:
    admin = await house.user("Ada", role="admin")
    bob = await house.user("Bob")
    outer = await house.group("outer")
    inner = await house.group("inner")
    await house.directory.groups.add_member(house.owner, outer.id, f"group:{inner.id}")
    grant = await house.grant(f"group:{outer.id}", permission=Permission.AUDIT_EXPORT.value)
    for group in (inner, outer):
        for member in (bob.name, admin.name):
            with pytest.raises(PermissionDenied, match="audit:export"):
                await house.directory.groups.add_member(admin, group.id, member)
    await house.rules.grants.revoke(house.owner, grant.id, expected=1)
    await house.directory.groups.add_member(admin, inner.id, bob.name)


async def test_a_right_that_begins_later_counts_as_well(house: House, clock: ManualClock) -> None:
    admin, bob = await house.user("Ada", role="admin"), await house.user("Bob")
    team = await house.group("team")
    later = NewGrant(holder=f"group:{team.id}", role_id="owner", starts_at=clock.now() + 10**9)
    await house.rules.grants.give(house.owner, later)
    with pytest.raises(PermissionDenied):
        await house.directory.groups.add_member(admin, team.id, bob.name)


async def test_only_an_owner_takes_from_a_group_of_owners(house: House) -> None:
    admin, bob = await house.user("Ada", role="admin"), await house.user("Bob")
    team = await house.group("owners", bob.name)
    await house.grant(f"group:{team.id}", role="owner")
    with pytest.raises(PermissionDenied):
        await house.directory.groups.remove_member(admin, team.id, bob.name)
    with pytest.raises(PermissionDenied):
        await house.directory.groups.archive(admin, team.id, expected=1)


async def test_a_group_of_a_project_gives_in_that_project(house: House) -> None:
    project, ada = await house.project("p"), await house.user("Ada")
    team = await house.group("team", ada.name)
    await house.grant(f"group:{team.id}", role="viewer", place=Place(project_id=project.id))
    assert await house.may(ada, READ, project_id=project.id)
    assert not await house.may(ada, READ)


async def test_service_accounts_are_members_too(house: House) -> None:
    owner_id = house.owner.name.partition(":")[2]
    account = await house.directory.service_accounts.create(
        house.owner, AccountContent(name="ci", owner_id=owner_id)
    )
    team = await house.group("team", f"service_account:{account.id}")
    added = await house.directory.groups.add_member(
        house.owner, team.id, f"service_account:{account.id}"
    )
    assert added.added_by == house.owner.name
    found = await house.directory.groups.members(house.owner, team.id, PageRequest(limit=1))
    assert found.items == (added,)
    assert not found.next_cursor


async def test_a_group_is_never_in_itself(house: House) -> None:
    groups = [await house.group(f"g{number}") for number in range(3)]
    add = house.directory.groups.add_member
    await add(house.owner, groups[1].id, f"group:{groups[0].id}")
    await add(house.owner, groups[2].id, f"group:{groups[1].id}")
    for inner, outer in ((0, 0), (1, 0), (2, 0), (2, 1)):
        with pytest.raises(ResourceConflict, match="itself"):
            await add(house.owner, groups[outer].id, f"group:{groups[inner].id}")


async def test_members_must_be_there(house: House, database: Database, clock: ManualClock) -> None:
    other = await new_house(database, clock, name="Other")
    team = await house.group("team")
    for wrong in (f"user:{someone()}", "workload:ci", other.owner.name, "user:*"):
        with pytest.raises(InputInvalid):
            await house.directory.groups.add_member(house.owner, team.id, wrong)
    with pytest.raises(ResourceNotFound):
        await house.directory.groups.remove_member(house.owner, team.id, house.owner.name)
    with pytest.raises(ResourceNotFound):
        await house.directory.groups.members(other.owner, team.id, PageRequest())
    with pytest.raises(ResourceNotFound):
        await other.directory.groups.add_member(other.owner, team.id, other.owner.name)


def test_nesting_has_a_bound() -> None:
    chain = {str(number): (str(number + 1),) for number in range(MAXIMUM_DEPTH - 2)}
    check_nesting(chain, inner="new", outer="0")
    check_nesting(chain, inner=str(MAXIMUM_DEPTH - 2), outer="new")
    chain[str(MAXIMUM_DEPTH - 2)] = (str(MAXIMUM_DEPTH - 1),)
    for inner, outer in (("new", "0"), (str(MAXIMUM_DEPTH - 1), "new")):
        with pytest.raises(ResourceConflict, match="deep"):
            check_nesting(chain, inner=inner, outer=outer)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_no_order_of_additions_makes_a_cycle(additions: list[tuple[int, int]]) -> None:
    nesting: dict[str, tuple[str, ...]] = {}
    for inner, outer in additions:
        try:
            check_nesting(nesting, inner=str(inner), outer=str(outer))
        except ResourceConflict:
            continue
        nesting[str(inner)] = (*nesting.get(str(inner), ()), str(outer))
    assert all(depth(nesting, group, ()) <= MAXIMUM_DEPTH for group in nesting)


def depth(nesting: dict[str, tuple[str, ...]], group: str, seen: tuple[str, ...]) -> int:
    assert group not in seen, "a cycle"
    further = (depth(nesting, each, (*seen, group)) for each in nesting.get(group, ()))
    return 1 + max(further, default=0)
