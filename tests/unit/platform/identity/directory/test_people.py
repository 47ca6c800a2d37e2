"""Users, service accounts, contacts, and what sign-in asks of the directory."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import func, select
from tests.support.house import House, new_house, someone
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal
from keylease.errors import InputInvalid, PermissionDenied, ResourceConflict, ResourceNotFound
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory.contacts import ContactContent
from keylease.platform.identity.directory.emails import email_key
from keylease.platform.identity.directory.records import Topic, UserState
from keylease.platform.identity.directory.service_accounts import AccountContent
from keylease.platform.identity.directory.tables import PERSON

READ = Permission.CREDENTIAL_READ


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


def id_of(caller: Caller) -> str:
    return caller.name.partition(":")[2]


class Ended:
    """Stands for sign-in."""

    def __init__(self) -> None:
        self.principals: list[str] = []

    async def end_all(self, tx: Transaction, principal: str) -> None:
        assert tx.caller.organization_id
        self.principals.append(principal)


# --- users ---------------------------------------------------------------------------------


async def test_a_suspended_user_acts_no_more_until_resumed(house: House) -> None:
    ended = Ended()
    house.directory.register_sign_ins(ended)
    ada = await house.user("Ada", role="viewer")
    users = house.directory.users
    suspended = await users.suspend(house.owner, id_of(ada), expected=1)
    assert suspended.state is UserState.SUSPENDED
    assert ended.principals == [ada.name]
    assert not await house.may(ada, READ)
    async with house.database.reading() as tx:
        principal = Principal.parse(ada.name)
        assert not await house.directory.is_active(tx, house.organization_id, principal)
    with pytest.raises(ResourceConflict):
        await users.suspend(house.owner, id_of(ada), expected=2)
    await users.resume(house.owner, id_of(ada), expected=2)
    assert await house.may(ada, READ)


async def test_nobody_resumes_who_holds_more(house: House) -> None:
    admin, ada = await house.user("Adam", role="admin"), await house.user("Ada")
    await house.grant(ada.name, permission=Permission.AUDIT_EXPORT.value)
    await house.directory.users.suspend(admin, id_of(ada), expected=1)
    with pytest.raises(PermissionDenied, match="audit:export"):
        await house.directory.users.resume(admin, id_of(ada), expected=2)


async def test_the_last_owner_is_not_suspended(house: House) -> None:
    with pytest.raises(ResourceConflict, match="no Owner"):
        await house.directory.users.suspend(house.owner, id_of(house.owner), expected=1)


async def test_an_address_is_changed_by_who_holds_as_much(house: House) -> None:
    admin, ada = await house.user("Adam", role="admin"), await house.user("Ada")
    users = house.directory.users
    changed = await users.change(
        admin, id_of(ada), name="Ada L.", email="ada@example.com", expected=1
    )
    assert (changed.name, changed.email, changed.version) == ("Ada L.", "ada@example.com", 2)
    await house.grant(ada.name, permission=Permission.AUDIT_EXPORT.value)
    with pytest.raises(PermissionDenied):
        await users.change(admin, id_of(ada), name="Ada", email="eve@example.com", expected=2)
    await users.change(admin, id_of(ada), name="Ada", email="ada@example.com", expected=2)
    with pytest.raises(ResourceConflict):
        await users.change(
            house.owner, id_of(ada), name="Ada", email="ADAM@example.org", expected=3
        )
    last = (await house.entries())[-1]
    assert last.action is AuditAction.USER_CHANGED
    assert last.details == {"fields": "name"}


async def test_an_api_key_does_not_take_over_its_owner(house: House) -> None:
    key = msgspec.structs.replace(
        house.owner, permissions=frozenset({Permission.PRINCIPAL_MANAGE.value})
    )
    users, own_id = house.directory.users, id_of(house.owner)
    with pytest.raises(PermissionDenied, match="API key"):
        await users.change(key, own_id, name="Olga", email="eve@example.org", expected=1)
    await users.change(house.owner, own_id, name="Olga", email="olga@example.org", expected=1)


@pytest.mark.parametrize(
    "wrong", ["", "ada", "@example.org", "a b@c", "a@b\0", "a" * 260 + "@b", "a@b@c"]
)
def test_what_is_no_address(wrong: str) -> None:
    with pytest.raises(InputInvalid):
        email_key(wrong)


def test_spellings_of_one_address() -> None:
    assert email_key("Ada@EXAMPLE.org") == email_key("ada@example.org")
    assert email_key("\uff41da@example.org") == email_key("ada@example.org")


async def test_names_and_addresses_never_reach_the_audit_log(house: House) -> None:
    ada = await house.user("Ada-Lovelace")
    await house.directory.users.change(
        house.owner, id_of(ada), name="Countess", email="countess@example.com", expected=1
    )
    told = str(await house.entries())
    for personal in ("Ada-Lovelace", "Countess", "countess@example.com", "Olga"):
        assert personal not in told


async def test_who_sign_in_asks_for(house: House, database: Database, clock: ManualClock) -> None:
    other = await new_house(database, clock, name="Other")
    here, there = await house.user("Ada"), await other.user("Ada")
    async with database.reading() as tx:
        both = await house.directory.users_by_email(tx, "ADA@example.org")
        assert {user.id for user in both} == {id_of(here), id_of(there)}
        assert await house.directory.users_by_email(tx, "nonsense") == ()
        known = await house.directory.user(tx, id_of(there))
        assert known is not None
        assert (known.organization_id, known.active) == (other.organization_id, True)
        assert await house.directory.user(tx, someone()) is None
        theirs = Principal.parse(there.name)
        assert not await house.directory.is_active(tx, house.organization_id, theirs)
        assert await house.directory.is_active(tx, other.organization_id, theirs)
        facts = house.directory.facts
        for principal, exists in (
            (here.name, True),
            (there.name, False),
            ("group:x", False),
            ("", False),
        ):
            assert await facts.principal_exists(tx, house.organization_id, principal) is exists


async def test_who_an_issuer_vouches_for(house: House) -> None:
    join, organization_id = house.directory.join_from_outside, house.organization_id
    ada = await house.user("Ada")
    async with house.database.transaction() as tx:
        known = await join(
            tx, organization_id=organization_id, email="ADA@example.org", name="x", may_add=False
        )
        assert known is not None
        assert known.id == id_of(ada)
        assert (
            await join(
                tx, organization_id=organization_id, email="bob@b.org", name="Bob", may_add=False
            )
            is None
        )
        made = await join(
            tx, organization_id=organization_id, email="bob@b.org", name="Bob", may_add=True
        )
        assert made is not None
        assert (made.name, made.email) == ("Bob", "bob@b.org")


async def test_groups_of_an_issuer_come_and_go(house: House) -> None:
    ada = await house.user("Ada")
    by_person = await house.group("by person", ada.name)
    one, two = await house.group("one"), await house.group("two")

    async def outside(*group_ids: str) -> set[str]:
        async with house.database.transaction() as tx:
            user = await house.directory.user(tx, id_of(ada))
            assert user is not None
            await house.directory.set_outside_groups(
                tx, user=user, issuer_id="i1", group_ids=frozenset(group_ids)
            )
        async with house.database.reading() as tx:
            groups = await house.directory.facts.memberships(tx, house.organization_id)
        return {group.removeprefix("group:") for group in groups[ada.name]}

    assert await outside(one.id, two.id, someone()) == {by_person.id, one.id, two.id}
    assert await outside(two.id) == {by_person.id, two.id}
    before = len(await house.entries())
    assert await outside(two.id, by_person.id) == {by_person.id, two.id}
    assert len(await house.entries()) == before
    assert await outside() == {by_person.id}


async def test_an_issuer_cannot_take_away_the_last_owner(house: House) -> None:
    ada = await house.user("Ada")
    owners = await house.group("owners")
    await house.grant(f"group:{owners.id}", role="owner")
    async with house.database.reading(house.owner) as tx:
        (first,) = await house.rules.authority.held(tx, house.owner.name)
        user = await house.directory.user(tx, id_of(ada))
        assert user is not None
    for group_ids in (frozenset({owners.id}), frozenset[str]()):
        async with house.database.transaction() as tx:
            await house.directory.set_outside_groups(
                tx, user=user, issuer_id="i1", group_ids=group_ids
            )
        if group_ids:
            await house.rules.grants.revoke(house.owner, first.id, expected=1)
    assert await house.may(ada, Permission.ORGANIZATION_MANAGE)


# --- service accounts ----------------------------------------------------------------------


async def test_a_service_account_lives(house: House) -> None:
    accounts = house.directory.service_accounts
    ada = await house.user("Ada")
    made = await accounts.create(house.owner, AccountContent(name="ci", owner_id=id_of(ada)))
    principal = f"service_account:{made.id}"
    caller = Caller(principal=Principal.parse(principal), organization_id=house.organization_id)
    assert not await house.may(caller, READ)
    await house.grant(principal, role="viewer")
    assert await house.may(caller, READ)
    changed = await accounts.change(
        house.owner, made.id, AccountContent(name="ci", owner_id=id_of(house.owner)), expected=1
    )
    assert changed.owner_id == id_of(house.owner)
    await accounts.archive(house.owner, made.id, expected=2)
    assert not await house.may(caller, READ)
    async with house.database.reading(house.owner) as tx:
        assert not await house.rules.authority.held(tx, principal)
    with pytest.raises(InputInvalid):
        await house.grant(principal, role="viewer")


async def test_a_service_account_has_an_active_owner(house: House) -> None:
    for owner_id in ("", someone()):
        with pytest.raises(InputInvalid):
            await house.directory.service_accounts.create(
                house.owner, AccountContent(name="ci", owner_id=owner_id)
            )


async def test_nobody_gives_a_service_account_more_than_they_hold(house: House) -> None:
    admin = await house.user("Ada", role="admin")
    account = await house.directory.service_accounts.create(
        admin, AccountContent(name="ci", owner_id=id_of(admin))
    )
    principal = f"service_account:{account.id}"
    with pytest.raises(PermissionDenied):
        await house.grant(principal, role="owner", by=admin)
    await house.grant(principal, role="owner")
    async with house.database.reading(admin) as tx:  # what a key for it asks
        with pytest.raises(PermissionDenied):
            await house.rules.authority.check_standing(tx, principal)
    with pytest.raises(PermissionDenied):
        await house.directory.service_accounts.archive(admin, account.id, expected=1)


# --- contacts ------------------------------------------------------------------------------


async def test_a_contact_is_a_user_or_an_address(house: House) -> None:
    contacts, owner = house.directory.contacts, house.owner
    by_address = await contacts.create(
        owner, ContactContent(topics=(Topic.SECURITY,), name="Desk", email="desk@example.org")
    )
    assert (by_address.name, by_address.email) == ("Desk", "desk@example.org")
    changed = await contacts.change(
        owner,
        by_address.id,
        ContactContent(topics=(Topic.BUDGET, Topic.ROTATION), user_id=id_of(owner)),
        expected=1,
    )
    assert (changed.email, changed.user_id, changed.version) == ("", id_of(owner), 2)
    assert changed.topics == (Topic.BUDGET, Topic.ROTATION)
    for wrong in (
        ContactContent(topics=(Topic.SECURITY,)),
        ContactContent(topics=(Topic.SECURITY,), user_id=id_of(owner), email="a@b.org"),
        ContactContent(topics=(Topic.SECURITY,), user_id=someone()),
        ContactContent(topics=(Topic.SECURITY,), email="nonsense"),
    ):
        with pytest.raises(InputInvalid):
            await contacts.create(owner, wrong)
    await contacts.remove(owner, by_address.id, expected=2)
    with pytest.raises(ResourceNotFound):
        await contacts.get(owner, by_address.id)
    assert (await contacts.page(owner, PageRequest())).items == ()


async def test_a_contact_that_is_removed_leaves_no_address(house: House) -> None:
    made = await house.directory.contacts.create(
        house.owner, ContactContent(topics=(Topic.SECURITY,), email="desk@example.org")
    )
    await house.directory.contacts.remove(house.owner, made.id, expected=1)
    async with house.database.reading() as tx:
        query = select(func.count()).select_from(PERSON).where(PERSON.c.kind == "contact")
        assert (await tx.execute(query)).scalar_one() == 0
