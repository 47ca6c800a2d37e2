"""One person who tries to be the two that a wider policy needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.policy_kit import credential, grant, route

from keylease.errors import PermissionDenied
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey, ShownApiKey
from keylease.platform.identity.directory.service_accounts import AccountContent
from keylease.platform.identity.sign_in.service import acting
from keylease.platform.policy.publications import PolicyVersion, Proposal
from keylease.platform.server.services import Services

PERMISSIONS = ("policy:manage", "policy:publish", "credential:manage", "api_key:manage")


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield joined


@pytest.fixture
async def ada(services: Services) -> Caller:
    """The first owner, of an organization in which two decide."""
    await services.identity.first_start.sign_in_link()
    async with services.database.reading() as tx:
        caller = acting(await services.directory.owner_to_set_up(tx))
    organizations = services.directory.organizations
    before = await organizations.get(caller, caller.organization_id)
    await organizations.change(
        caller, before.id, name=before.name, second_approver=True, expected=before.version
    )
    return caller


async def another_owner(services: Services, ada: Caller, name: str) -> Caller:
    async with services.database.transaction(ada) as tx:
        user = await services.directory.users.add(tx, name=name, email=f"{name}@example.org")
        await services.rules.authority.make_owner(tx, f"user:{user.id}")
    async with services.database.reading() as tx:
        known = await services.directory.user(tx, user.id)
    assert known is not None
    return acting(known)


async def machine(services: Services, ada: Caller) -> ShownApiKey:
    """The key of a service account, made by Ada."""
    assert ada.principal is not None
    account = await services.directory.service_accounts.create(
        ada, AccountContent(name="deployments", owner_id=ada.principal.id)
    )
    async with services.database.transaction(ada) as tx:
        await services.rules.authority.make_owner(tx, f"service_account:{account.id}")
    wanted = NewApiKey(
        name="ci", permissions=PERMISSIONS, principal=f"service_account:{account.id}"
    )
    return await services.identity.api_keys.create(ada, wanted)


async def proposed_by(services: Services, key: str) -> Proposal:
    caller = await services.identity.api_keys.authenticate(key)
    resources, publisher = services.policy.resources, services.policy.publisher
    made = await resources.create(caller, credential())
    await resources.create(caller, route(made.id))
    await resources.create(caller, grant())
    draft = (await publisher.standing(caller)).draft
    proposal = await publisher.publish(caller, expected=draft)
    assert isinstance(proposal, Proposal)
    return proposal


async def test_nobody_approves_what_a_service_account_did_with_their_key(
    services: Services, ada: Caller
) -> None:
    bob = await another_owner(services, ada, "bob")
    eve = await another_owner(services, ada, "eve")
    shown = await machine(services, ada)
    proposal = await proposed_by(services, shown.text)
    # Ada made the key. Bob rotates it, and so could act with it too. Revoking hides neither.
    keys = services.identity.api_keys
    rotated = await keys.rotate(bob, shown.key.id, grace_seconds=0, expected=shown.key.version)
    await keys.revoke(bob, shown.key.id, expected=rotated.key.version)
    for caller in (ada, bob):
        with pytest.raises(PermissionDenied, match="shown an API key"):
            await services.policy.publisher.approve(caller, proposal.id)
    assert isinstance(await services.policy.publisher.approve(eve, proposal.id), PolicyVersion)


async def test_a_machine_between_two_machines_hides_nobody(services: Services, ada: Caller) -> None:
    eve = await another_owner(services, ada, "eve")
    first = await machine(services, ada)
    between = await services.identity.api_keys.authenticate(first.text)
    wanted = NewApiKey(name="more", permissions=PERMISSIONS)
    second = await services.identity.api_keys.create(between, wanted)
    proposal = await proposed_by(services, second.text)
    with pytest.raises(PermissionDenied, match="shown an API key"):
        await services.policy.publisher.approve(ada, proposal.id)
    assert isinstance(await services.policy.publisher.approve(eve, proposal.id), PolicyVersion)


async def test_no_api_key_lets_one_decide_again(services: Services, ada: Caller) -> None:
    organizations = services.directory.organizations
    before = await organizations.get(ada, ada.organization_id)
    key = msgspec.structs.replace(ada, api_key_id=before.id)
    session = msgspec.structs.replace(ada, session_id=before.id)
    version = before.version
    for caller in (key, ada):
        with pytest.raises(PermissionDenied, match="Only a person"):
            await organizations.change(
                caller, before.id, name=before.name, second_approver=False, expected=version
            )
    after = await organizations.change(
        session, before.id, name=before.name, second_approver=False, expected=version
    )
    assert not after.second_approver
