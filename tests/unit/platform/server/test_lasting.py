"""Answers that last end with the rights of whoever asked for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

from keylease.platform.access.grants import NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.audit.service import PlacedEntry
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.identity.sessions.interfaces import Circumstances, SignInMethod
from keylease.platform.identity.sessions.service import caller_of
from keylease.platform.identity.sign_in.service import acting
from keylease.platform.server.lasting import still_allowed
from keylease.platform.server.routes.audit import _events
from keylease.platform.server.services import Services

READ = Permission.AUDIT_READ


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield joined


@pytest.fixture
async def owner(services: Services) -> Caller:
    await services.identity.first_start.sign_in_link()
    async with services.database.reading() as tx:
        return acting(await services.directory.owner_to_set_up(tx))


async def reader(services: Services, owner: Caller) -> tuple[Caller, str]:
    """Bob, signed in, who may read the log; and the grant by which he may."""
    async with services.database.transaction(owner) as tx:
        user = await services.directory.users.add(tx, name="Bob", email="bob@example.org")
    grant = await services.rules.grants.give(
        owner, NewGrant(holder=f"user:{user.id}", permission=READ.value)
    )
    async with services.database.transaction() as tx:
        known = await services.directory.user(tx, user.id)
        assert known is not None
        started = await services.identity.sessions.start(
            tx.within(known.organization_id),
            known,
            Circumstances(),
            method=SignInMethod.PASSKEY,
            limited=False,
        )
    return caller_of(started.session), grant.id


@pytest.mark.parametrize("what", ["session", "grant", "user", "time"])
async def test_it_ends_with_what_it_rests_on(
    services: Services, owner: Caller, clock: ManualClock, what: str
) -> None:
    bob, grant_id = await reader(services, owner)
    assert await still_allowed(services, bob, READ)
    await services.identity.sessions.exchange(bob)  # its text is another one now
    assert await still_allowed(services, bob, READ)
    assert bob.principal is not None
    match what:
        case "session":
            await services.identity.sessions.end(owner, bob.session_id)
        case "grant":
            await services.rules.grants.revoke(owner, grant_id, expected=1)
        case "user":
            await services.directory.users.suspend(owner, bob.principal.id, expected=1)
        case _:
            clock.advance(8 * 86_400)
    assert not await still_allowed(services, bob, READ)


async def test_it_ends_with_its_api_key(services: Services, owner: Caller) -> None:
    keys = services.identity.api_keys
    shown = await keys.create(owner, NewApiKey(name="reader", permissions=(READ.value,)))
    caller = await keys.authenticate(shown.text)
    assert await still_allowed(services, caller, READ)
    version = (await keys.read(owner, shown.key.id)).version
    await keys.revoke(owner, shown.key.id, expected=version)
    assert not await still_allowed(services, caller, READ)


async def test_a_stream_asks_again(clock: ManualClock) -> None:
    asked: list[int] = []

    async def entries() -> AsyncIterator[PlacedEntry | None]:
        while True:
            yield None
            clock.advance(3)

    async def twice() -> bool:
        asked.append(1)
        return len(asked) < 3

    events = [event async for event in _events(entries(), twice, clock)]
    assert len(asked) == 3
    assert len(events) == 7
