"""Projects, environments, organizations: named things with versions."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.support.house import House, new_house, someone
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.errors import ResourceConflict, ResourceNotFound, VersionChanged
from keylease.platform.db.callers import IdempotencyKey
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.projects import EnvironmentContent
from keylease.platform.identity.directory.shelf import Content


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def test_an_organization_begins_with_what_is_needed(house: House) -> None:
    directory, owner = house.directory, house.owner
    projects = await directory.projects.page(owner, PageRequest())
    assert [project.name for project in projects.items] == ["default"]
    environments = (await directory.environments.page(owner, PageRequest())).items
    found = {each.name: each.production for each in environments}
    assert found == {"dev": False, "staging": False, "prod": True}
    assert (await house.entries())[0].action is AuditAction.ORGANIZATION_FOUNDED


async def test_a_project_lives(house: House) -> None:
    projects, owner = house.directory.projects, house.owner
    made = await projects.create(owner, Content(name="p", description="first"))
    assert (made.version, made.archived_at) == (1, None)
    changed = await projects.change(owner, made.id, Content(name="q"), expected=1)
    assert (changed.name, changed.description, changed.version) == ("q", "", 2)
    archived = await projects.archive(owner, made.id, expected=2)
    assert archived.archived_at is not None
    with pytest.raises(ResourceConflict, match="archived"):
        await projects.change(owner, made.id, Content(name="r"), expected=3)
    restored = await projects.restore(owner, made.id, expected=3)
    assert restored.archived_at is None
    with pytest.raises(ResourceConflict, match="not archived"):
        await projects.restore(owner, made.id, expected=4)
    actions = [entry.action.value for entry in (await house.entries())[-4:]]
    assert actions == ["project.created", "project.changed", "project.archived", "project.restored"]


async def test_an_old_version_changes_nothing(house: House) -> None:
    project = await house.project("p")
    with pytest.raises(VersionChanged):
        await house.directory.projects.change(
            house.owner, project.id, Content(name="q"), expected=7
        )
    assert await house.directory.projects.get(house.owner, project.id) == project


async def test_names_are_unique_among_what_is_in_use(house: House) -> None:
    projects, owner = house.directory.projects, house.owner
    first = await projects.create(owner, Content(name="p"))
    with pytest.raises(ResourceConflict):
        await projects.create(owner, Content(name="p"))
    await projects.archive(owner, first.id, expected=1)
    await projects.create(owner, Content(name="p"))
    with pytest.raises(ResourceConflict):
        await projects.restore(owner, first.id, expected=2)


async def test_two_who_change_the_same_version(house: House) -> None:
    project = await house.project("p")
    done = await asyncio.gather(
        *(
            house.directory.projects.change(house.owner, project.id, Content(name=name), expected=1)
            for name in ("a", "b")
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, VersionChanged) for each in done) == 1


async def test_a_create_sent_again_makes_nothing_new(house: House) -> None:
    sent = IdempotencyKey(key="k", request_digest="d")
    caller = msgspec.structs.replace(house.owner, idempotency=sent)
    first = await house.directory.projects.create(caller, Content(name="p"))
    assert await house.directory.projects.create(caller, Content(name="p")) == first


async def test_pages_hold_everything_once(house: House) -> None:
    for number in range(5):
        await house.project(f"p{number}")
    names, cursor = [], ""
    while True:
        page = await house.directory.projects.page(house.owner, PageRequest(limit=2, cursor=cursor))
        names += [project.name for project in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(names) == ["default", "p0", "p1", "p2", "p3", "p4"]


async def test_tenants_do_not_see_each_other(
    house: House, database: Database, clock: ManualClock
) -> None:
    other = await new_house(database, clock, name="Other")
    theirs = await other.project("p")
    projects = house.directory.projects
    for refused in (
        projects.get(house.owner, theirs.id),
        projects.change(house.owner, theirs.id, Content(name="q"), expected=1),
        projects.archive(house.owner, theirs.id, expected=1),
        projects.get(house.owner, someone()),
        house.directory.organizations.get(house.owner, other.organization_id),
    ):
        with pytest.raises(ResourceNotFound):
            await refused
    seen = (await projects.page(house.owner, PageRequest())).items
    assert theirs.id not in {project.id for project in seen}
    await house.project("p")  # the same name in another organization is another name


async def test_an_environment_says_whether_it_is_production(house: House) -> None:
    made = await house.directory.environments.create(
        house.owner, EnvironmentContent(name="eu-prod", production=True)
    )
    assert made.production
    changed = await house.directory.environments.change(
        house.owner, made.id, EnvironmentContent(name="eu-prod"), expected=1
    )
    assert not changed.production


async def test_the_organization_says_whether_a_second_person_is_needed(house: House) -> None:
    organizations, organization_id = house.directory.organizations, house.organization_id
    before = await organizations.get(house.owner, organization_id)
    assert not before.second_approver
    after = await organizations.change(
        house.owner,
        organization_id,
        name="Acme Ltd",
        second_approver=True,
        expected=before.version,
    )
    assert (after.name, after.second_approver) == ("Acme Ltd", True)
    async with house.database.reading() as tx:
        facts = house.directory.facts
        assert await facts.needs_second_approver(tx, organization_id)
    assert (await house.entries())[-1].details == {"second_approver": "on"}


async def test_the_first_organization_is_made_once(database: Database, clock: ManualClock) -> None:
    house = await new_house(database, clock, name="Not the first by this way")
    async with database.transaction() as tx:
        first = await house.directory.owner_to_set_up(tx)
    async with database.transaction() as tx:
        assert await house.directory.owner_to_set_up(tx) == first
    assert (first.name, first.email, first.active) == ("Owner", "", True)


async def test_of_two_servers_that_start_together_one_makes_it(
    database: Database, clock: ManualClock
) -> None:
    house = await new_house(database, clock)

    async def start() -> str:
        async with database.transaction() as tx:
            return (await house.directory.owner_to_set_up(tx)).id

    done = await asyncio.gather(start(), start(), return_exceptions=True)
    made = {each for each in done if isinstance(each, str)}
    assert len(made) == 1
    assert all(isinstance(each, str | ResourceConflict) for each in done)
    assert await start() in made
