"""What is kept in memory against what the database says."""

from __future__ import annotations

import random

import pytest
from tests.support.house import House, new_house
from tests.support.manual_clock import ManualClock

from keylease.errors import DatabaseUnavailable, ResourceNotFound
from keylease.platform.access import repository
from keylease.platform.access.grants import NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.role_service import RoleContent
from keylease.platform.access.rules import access_rules
from keylease.platform.access.snapshots import CHECK_SECONDS
from keylease.platform.db.database import Database
from keylease.platform.identity.directory.facts import DirectoryFacts

READ = Permission.CREDENTIAL_READ


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def test_a_change_counts_at_once_in_its_own_process(house: House) -> None:
    ada = await house.user("Ada")
    assert not await house.may(ada, READ)
    grant = await house.grant(ada.name, role="viewer")
    assert await house.may(ada, READ)
    await house.rules.grants.revoke(house.owner, grant.id, expected=1)
    assert not await house.may(ada, READ)


async def test_a_change_of_another_process_counts_soon(house: House, clock: ManualClock) -> None:
    elsewhere = access_rules(house.database, DirectoryFacts(), clock).decisions
    ada = await house.user("Ada", role="viewer")
    await elsewhere.require(ada, READ)
    user = await house.directory.users.get(house.owner, ada.name.partition(":")[2])
    await house.directory.users.suspend(house.owner, user.id, expected=user.version)
    clock.advance(CHECK_SECONDS)
    assert not (await elsewhere.decision(ada, READ)).allowed


async def test_a_version_is_not_read_for_every_decision(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await house.user("Ada", role="viewer")
    reads = 0
    versions = repository.versions

    async def counted(*arguments: object) -> repository.Versions:
        nonlocal reads
        reads += 1
        return await versions(*arguments)  # type: ignore[arg-type]  # what it was called with

    monkeypatch.setattr(repository, "versions", counted)
    for _ in range(20):
        assert await house.may(ada, READ)
    assert reads == 1
    clock.advance(CHECK_SECONDS)
    assert await house.may(ada, READ)
    assert reads == 2


async def test_without_a_database_nothing_is_decided(house: House, clock: ManualClock) -> None:
    gone = Database("postgresql://nobody@127.0.0.1:1/none", clock=clock)
    decisions = access_rules(gone, DirectoryFacts(), clock).decisions
    with pytest.raises(DatabaseUnavailable):
        await decisions.require(house.owner, READ)
    with pytest.raises(DatabaseUnavailable):  # and the failure is not taken for an empty house
        await decisions.require(house.owner, READ)
    await gone.close()


async def test_catching_up_leads_to_what_reading_all_of_it_does(house: House) -> None:
    """Random changes; after each, the snapshot that caught up is the one read from nothing."""
    choose = random.Random(7)  # noqa: S311 - the choices of a test, the same each time
    people = [await house.user(f"user{n}") for n in range(3)]
    team = await house.group("team")
    project = await house.project("p")
    holders = [*(person.name for person in people), f"group:{team.id}"]
    places = [Place(), Place(project_id=project.id), Place(object=f"credential/{team.id}")]
    content = RoleContent(name="r0", permissions=frozenset({READ}))
    role = await house.rules.roles.create(house.owner, content)
    caught_up = None
    for step in range(25):
        what = choose.randrange(4)
        if what == 0:
            await house.grant(choose.choice(holders), role=role.id, place=choose.choice(places))
        elif what == 1:
            async with house.database.reading(house.owner) as tx:
                wanted = repository.GrantFilter(role_id=role.id, live_at=tx.now)
                grants = await repository.grants(tx, house.organization_id, wanted)
            if grants:
                grant = choose.choice(grants)
                await house.rules.grants.revoke(house.owner, grant.id, expected=grant.version)
        elif what == 2:
            member = choose.choice(people).name
            await house.directory.groups.add_member(house.owner, team.id, member)
        else:
            permissions = frozenset(choose.sample(list(Permission)[:8], 3))
            content = RoleContent(name=f"r{step}", permissions=permissions)
            role = await house.rules.roles.change(
                house.owner, role.id, content, expected=role.version
            )
        async with house.database.reading() as tx:
            facts, organization_id = DirectoryFacts(), house.organization_id
            caught_up = await repository.read_snapshot(tx, organization_id, facts, known=caught_up)
            fresh = await repository.read_snapshot(tx, organization_id, facts)
        assert caught_up.version == fresh.version
        assert caught_up.roles == fresh.roles
        assert caught_up.groups_of == fresh.groups_of
        assert caught_up.principals == fresh.principals
        assert as_sets(caught_up.grants) == as_sets(fresh.grants)


def as_sets(grants: object) -> object:
    assert isinstance(grants, dict)
    return {
        holder: {place: frozenset(held) for place, held in places.items()}
        for holder, places in grants.items()
    }


async def test_organizations_know_nothing_of_each_other(
    house: House, database: Database, clock: ManualClock
) -> None:
    other = await new_house(database, clock, name="Other")
    project = await other.project("theirs")
    with pytest.raises(ResourceNotFound):
        await house.rules.decisions.require(house.owner, READ, project_id=project.id)
    assert not await other.may(
        house.owner.__class__(
            principal=house.owner.principal, organization_id=other.organization_id
        ),
        READ,
    )


async def test_a_grant_that_ends_ends_without_a_change(house: House, clock: ManualClock) -> None:
    ada = await house.user("Ada")
    await house.grant(ada.name, role="viewer", ends_at=clock.now() + 60_000_000)
    assert await house.may(ada, READ)
    clock.advance(60)
    assert not await house.may(ada, READ)


async def test_a_permission_of_a_newer_program_gives_nothing(house: House) -> None:
    ada = await house.user("Ada")
    async with house.database.transaction(house.owner) as tx:
        new = NewGrant(holder=ada.name, permission="time:travel")
        await house.rules.authority.give(tx, new)
    assert not await house.may(ada, READ)
    async with house.database.reading(house.owner) as tx:
        await house.rules.authority.check_standing(tx, ada.name)


async def test_a_commit_during_a_read_is_not_missed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read began before the commit, and ends after it, with what was before."""
    ada = await house.user("Ada", role="viewer")
    user_id = ada.name.partition(":")[2]
    read, meanwhile = repository.read_snapshot, True

    async def slow(*arguments: object, **more: object) -> object:
        nonlocal meanwhile
        found = await read(*arguments, **more)  # type: ignore[arg-type]  # what it was called with
        if meanwhile:
            meanwhile = False
            await house.directory.users.suspend(house.owner, user_id, expected=1)
        return found

    monkeypatch.setattr(repository, "read_snapshot", slow)
    await house.may(ada, READ)
    assert not meanwhile
    assert not await house.may(ada, READ)
