from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import select
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
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, Outcome, Sighting
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory.contacts import ContactContent
from keylease.platform.identity.directory.invitations import InvitationContent
from keylease.platform.identity.directory.records import InvitationState, Topic, UserState
from keylease.platform.identity.directory.service_accounts import AccountContent
from keylease.platform.identity.directory.tables import PERSON

READ = Permission.CREDENTIAL_READ


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


def id_of(caller: Caller) -> str:
    return caller.name.partition(":")[2]


class Sessions:
    """Stands for another domain."""

    def __init__(self) -> None:
        self.released: list[tuple[str, str]] = []
        self.fails = False

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        assert tx.caller.organization_id
        return (Holding(kind="session", id="s1", label=principal, outcome=Outcome.REVOKED),)

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        if self.fails:
            raise ResourceConflict("Not now.")
        self.released.append((principal, to))
        return await self.held(tx, principal)


async def with_things(house: House) -> Caller:
    """Somebody who holds one of everything."""
    ada = await house.user("Ada", role="admin")
    await house.group("team", ada.name)
    await house.directory.service_accounts.create(
        ada, AccountContent(name="ci", owner_id=id_of(ada))
    )
    await house.directory.invitations.create(ada, InvitationContent(email="eve@example.org"))
    await house.directory.contacts.create(
        ada, ContactContent(topics=(Topic.SECURITY,), user_id=id_of(ada))
    )
    return ada


async def test_what_somebody_holds_owns_and_saw(house: House) -> None:
    ada = await with_things(house)
    house.directory.register(Sessions())
    house.seen.sightings = [Sighting(at=5, action="lease.issued", object="l1")]
    found = await house.directory.offboarding.holdings(house.owner, id_of(ada))
    assert {(holding.kind, holding.outcome) for holding in found.held} == {
        ("group", Outcome.REVOKED),
        ("service_account", Outcome.HANDED_OVER),
        ("invitation", Outcome.REVOKED),
        ("contact", Outcome.HANDED_OVER),
        ("grant", Outcome.REVOKED),
        ("session", Outcome.REVOKED),
    }
    assert found.seen == tuple(house.seen.sightings)
    assert found.user.state is UserState.ACTIVE


async def test_one_call_takes_all_of_it_back(house: House) -> None:
    ada, sessions = await with_things(house), Sessions()
    house.directory.register(sessions)
    heir = await house.user("Hedy")
    before = await house.directory.offboarding.holdings(house.owner, id_of(ada))
    done = await house.directory.offboarding.offboard(
        house.owner, id_of(ada), hand_over_to=id_of(heir), expected=1
    )
    assert done.user.state is UserState.OFFBOARDED
    assert set(done.released) == set(before.held)
    assert sessions.released == [(ada.name, heir.name)]
    assert not await house.may(ada, READ)
    after = await house.directory.offboarding.holdings(house.owner, id_of(ada))
    assert {holding.kind for holding in after.held} == {"session"}  # the stand-in's
    inherited = await house.directory.offboarding.holdings(house.owner, id_of(heir))
    assert {h.kind for h in inherited.held} == {"service_account", "contact", "session"}
    assert not await house.may(heir, READ)  # what is owned goes over, rights do not
    last = (await house.entries())[-1]
    assert last.action is AuditAction.USER_OFFBOARDED
    assert last.details == {"hand_over_to": id_of(heir), "handed_over": "2", "revoked": "4"}
    (invitation,) = [h for h in done.released if h.kind == "invitation"]
    left = await house.directory.invitations.get(house.owner, invitation.id)
    assert left.state is InvitationState.REVOKED


async def test_when_a_part_fails_nothing_happened(house: House) -> None:
    ada, sessions = await with_things(house), Sessions()
    house.directory.register(sessions)
    sessions.fails = True
    entries = await house.entries()
    before = await house.directory.offboarding.holdings(house.owner, id_of(ada))
    with pytest.raises(ResourceConflict, match="Not now"):
        await house.directory.offboarding.offboard(
            house.owner, id_of(ada), hand_over_to=id_of(house.owner), expected=1
        )
    assert await house.directory.offboarding.holdings(house.owner, id_of(ada)) == before
    assert await house.entries() == entries
    assert await house.may(ada, READ)


async def test_who_can_be_offboarded_by_whom(
    house: House, database: Database, clock: ManualClock
) -> None:
    offboard = house.directory.offboarding.offboard
    other = await new_house(database, clock, name="Other")
    ada, heir = await house.user("Ada", role="admin"), await house.user("Hedy")
    second = await house.user("Otto", role="owner")
    with pytest.raises(PermissionDenied):
        await offboard(ada, id_of(second), hand_over_to=id_of(heir), expected=1)
    with pytest.raises(ResourceConflict, match="Somebody else"):
        await offboard(house.owner, id_of(house.owner), hand_over_to=id_of(heir), expected=1)
    for nobody in (someone(), id_of(ada), id_of(other.owner)):
        with pytest.raises(InputInvalid):
            await offboard(house.owner, id_of(ada), hand_over_to=nobody, expected=1)
    with pytest.raises(ResourceNotFound):
        await offboard(house.owner, id_of(other.owner), hand_over_to=id_of(heir), expected=1)
    with pytest.raises(VersionChanged):
        await offboard(house.owner, id_of(ada), hand_over_to=id_of(heir), expected=2)
    await offboard(second, id_of(house.owner), hand_over_to=id_of(heir), expected=1)
    with pytest.raises(ResourceConflict, match="left already"):
        await offboard(second, id_of(house.owner), hand_over_to=id_of(heir), expected=2)
    with pytest.raises(InputInvalid):
        await house.grant(house.owner.name, role="viewer", by=second)


async def test_who_has_left_can_be_forgotten(house: House) -> None:
    ada, users = await house.user("Ada"), house.directory.users
    with pytest.raises(ResourceConflict, match="has left"):
        await users.erase(house.owner, id_of(ada), expected=1)
    await house.directory.offboarding.offboard(
        house.owner, id_of(ada), hand_over_to=id_of(house.owner), expected=1
    )
    erased = await users.erase(house.owner, id_of(ada), expected=2)
    assert (erased.name, erased.email) == ("", "")
    async with house.database.reading() as tx:
        assert "Ada" not in str(await tx.rows(select(PERSON)))
    again = await house.user("Ada")  # the address is free; it is another user
    assert id_of(again) != id_of(ada)
