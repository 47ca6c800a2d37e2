"""Bundles as a gateway checks them: numbers, content, times, keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.policy_kit import (
    ADA,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    Surroundings,
    a_policy,
    credential,
    entries,
    policy_of,
    publish,
)

from keylease.contracts.audit import AuditAction
from keylease.contracts.bundles import DEFAULT_VALIDITY, SignedBundle, fingerprint
from keylease.contracts.policy import ApiKeyUse, PolicyBundle, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.errors import BundleOutdated, PolicyInvalid, PolicyKeyUnavailable, ResourceNotFound
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.domain import Policy
from keylease.platform.policy.interfaces import SeenVersion
from keylease.platform.policy.resources import AgeAction
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.link.bundle_check import HighWater, OpenedBundle, open_bundle
from keylease.strongroom.link.enrolment import Enrolment

GROUP = "eu"


class Gateway:
    """Takes bundles as a real one does, and remembers what a real one remembers."""

    def __init__(self, policy_key: bytes, clock: ManualClock, group: str = GROUP) -> None:
        self.enrolment = Enrolment(
            url="https://x",
            gateway_id="g",
            organization_id=ORGANIZATION,
            group=group,
            policy_key=policy_key,
        )
        self.mark = HighWater()
        self.clock = clock

    def take(self, signed: SignedBundle | None) -> PolicyBundle:
        assert signed is not None
        opened: OpenedBundle = open_bundle(
            signed,
            enrolment=self.enrolment,
            high_water=self.mark,
            maximum_age=DEFAULT_VALIDITY,
            now=self.clock.now(),
        )
        self.mark = opened.mark
        self.enrolment = msgspec.structs.replace(self.enrolment, policy_key=opened.policy_key)
        return opened.bundle


@pytest.fixture
async def gateway(policy: Policy, clock: ManualClock) -> Gateway:
    return Gateway(await policy.bundles.policy_key(ORGANIZATION), clock)


async def test_nothing_is_given_out_before_something_was_published(policy: Policy) -> None:
    await a_policy(policy)
    assert await policy.bundles.bundle(ORGANIZATION, GROUP) is None


async def test_a_gateway_takes_what_was_published(policy: Policy, gateway: Gateway) -> None:
    made, _, _ = await a_policy(policy)
    await publish(policy)
    await policy.resources.create(ADA, credential("draft-only"))
    bundle = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert [held.id for held in bundle.credentials] == [made.id]
    assert bundle.group == GROUP
    assert await policy.bundles.bundle(OTHER_ORGANIZATION, GROUP) is None


async def test_every_change_is_a_higher_version_and_nothing_else_is(
    policy: Policy, gateway: Gateway, clock: ManualClock
) -> None:
    made, _, _ = await a_policy(policy)
    await publish(policy)
    first = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    again = await policy.bundles.bundle(ORGANIZATION, GROUP)
    assert again is await policy.bundles.bundle(ORGANIZATION, GROUP)
    clock.advance(1)
    await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id)
    second = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    await policy.resources.create(ADA, credential("second"))
    await publish(policy)
    third = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert first.version < second.version < third.version
    assert [revocation.value for revocation in third.revocations] == [made.id]


async def test_an_old_bundle_is_not_taken_any_more(policy: Policy, gateway: Gateway) -> None:
    await a_policy(policy)
    await publish(policy)
    old = await policy.bundles.bundle(ORGANIZATION, GROUP)
    gateway.take(old)
    await policy.revocations.revoke(ADA, RevocationKind.ALL)
    gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    with pytest.raises(BundleOutdated):
        gateway.take(old)


async def test_a_version_is_issued_again_long_before_half_of_its_time(
    policy: Policy, gateway: Gateway, clock: ManualClock
) -> None:
    await a_policy(policy)
    await publish(policy)
    first = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    for _ in range(8):
        clock.advance(DEFAULT_VALIDITY / 8)
        later = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
        assert later.version == first.version
        assert later.expires_at - clock.now() > DEFAULT_VALIDITY * MICROSECONDS // 2


async def test_two_servers_give_one_version_one_content(
    policy: Policy,
    database: Database,
    clock: ManualClock,
    tmp_path: Path,
    around: Surroundings,
    gateway: Gateway,
) -> None:
    other = policy_of(database, clock, tmp_path, around)
    await a_policy(policy)
    await publish(policy)
    one = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert gateway.take(await other.bundles.bundle(ORGANIZATION, GROUP)).version == one.version
    await other.revocations.revoke(ADA, RevocationKind.ALL)
    generations = await policy.bundles.generations([ORGANIZATION, OTHER_ORGANIZATION])
    assert list(generations) == [ORGANIZATION]
    two = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert two.version > one.version
    assert gateway.take(await other.bundles.bundle(ORGANIZATION, GROUP)).version == two.version


async def test_many_polls_at_once_make_one_bundle(policy: Policy, database: Database) -> None:
    await a_policy(policy)
    await publish(policy)
    found = await asyncio.gather(*(policy.bundles.bundle(ORGANIZATION, GROUP) for _ in range(10)))
    assert len({signed.digest for signed in found if signed is not None}) == 1
    issued = [e for e in await entries(database) if e.action is AuditAction.POLICY_BUNDLE_ISSUED]
    assert len(issued) == 1


async def test_groups_have_bundles_of_their_own(
    policy: Policy, gateway: Gateway, clock: ManualClock
) -> None:
    await a_policy(policy)
    await policy.resources.create(ADA, credential("us-only", gateway_groups=("us",)))
    await publish(policy)
    elsewhere = Gateway(gateway.enrolment.policy_key, clock, "us")
    here = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    there = elsewhere.take(await policy.bundles.bundle(ORGANIZATION, "us"))
    assert [held.name for held in here.credentials] == ["openai"]
    assert [held.name for held in there.credentials] == ["openai", "us-only"]
    assert here.version != there.version


async def test_a_platform_that_was_put_back_goes_on_above_its_gateways(
    policy: Policy, gateway: Gateway
) -> None:
    await a_policy(policy)
    await publish(policy)
    before = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    gateway.mark = msgspec.structs.replace(gateway.mark, version=700, content="another")
    with pytest.raises(BundleOutdated):
        gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    await policy.bundles.gateway_is_ahead(ORGANIZATION, GROUP, 700)
    after = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert (before.version, after.version) == (1, 701)
    # What no platform can have given is not believed.
    await policy.bundles.gateway_is_ahead(ORGANIZATION, GROUP, 2**53 - 1)
    assert gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP)).version == 701


async def test_api_keys_are_carried_as_soon_as_they_change(
    policy: Policy, gateway: Gateway, around: Surroundings, database: Database
) -> None:
    await a_policy(policy)
    await publish(policy)
    gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    key = ApiKeyUse(
        id="018f0000-0000-7000-8000-0000000000dd",
        digest="0" * 64,
        principal=ADA.name,
        purposes=(Purpose.DEVELOPMENT,),
    )
    around.keys.append(key)
    async with database.transaction(ADA) as tx:
        await policy.inputs.bundle_inputs_changed(tx, ORGANIZATION)
    bundle = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    assert bundle.api_keys == (key,)


async def test_a_version_that_is_seen_gets_its_last_moment(
    policy: Policy, gateway: Gateway, around: Surroundings, clock: ManualClock
) -> None:
    made, _, _ = await a_policy(policy)
    content = credential(maximum_age_seconds=3600, age_action=AgeAction.REFUSE)
    await policy.resources.update(ADA, made.id, content, expected=1)
    await publish(policy)
    assert gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP)).critical == ()
    seen = SeenVersion(fingerprint="digest-1", first_seen=clock.now(), last_seen=clock.now())
    around.versions[made.id] = [seen]
    clock.advance(900)  # nobody says that there is a new version: it is looked for
    bundle = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    (aged,) = bundle.credentials[0].aged
    assert aged.refuse_from == seen.first_seen + 3600 * MICROSECONDS


async def test_who_waits_is_woken_by_what_was_committed(policy: Policy) -> None:
    woken: list[str] = []
    policy.inputs.on_change(woken.append)
    await a_policy(policy)
    assert woken == []
    await publish(policy)
    await policy.revocations.revoke(ADA, RevocationKind.ALL)
    assert woken == [ORGANIZATION, ORGANIZATION]


# --- the key -----------------------------------------------------------------------------------


async def test_the_key_is_a_file_that_only_its_owner_reads(policy: Policy, tmp_path: Path) -> None:
    public = await policy.bundles.policy_key(ORGANIZATION)
    assert await policy.bundles.policy_key(ORGANIZATION) == public
    assert await policy.bundles.policy_key(OTHER_ORGANIZATION) != public
    (file,) = (tmp_path / "policy-keys" / ORGANIZATION).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stem == fingerprint(public).removeprefix("sha256:")


async def test_a_gateway_follows_new_keys_without_being_enrolled_again(
    policy: Policy, gateway: Gateway, clock: ManualClock, tmp_path: Path, database: Database
) -> None:
    first = await policy.bundles.policy_key(ORGANIZATION)
    await a_policy(policy)
    await publish(policy)
    gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    late = Gateway(first, clock)
    for _ in range(2):
        await policy.keys.rotate(ADA)
        gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    late.take(await policy.bundles.bundle(ORGANIZATION, GROUP))
    listed = (await policy.keys.keys(ADA)).items
    assert [key.in_use for key in listed] == [True, False, False]
    assert listed[0].public_key == gateway.enrolment.policy_key == late.enrolment.policy_key
    assert len(list((tmp_path / "policy-keys" / ORGANIZATION).iterdir())) == 1
    actions = [entry.action for entry in await entries(database)]
    assert actions.count(AuditAction.POLICY_KEY_ROTATED) == 2


@pytest.mark.parametrize("what", ["gone", "open", "another", "broken"])
async def test_nothing_is_signed_with_a_key_that_cannot_be_trusted(
    policy: Policy, tmp_path: Path, what: str
) -> None:
    await policy.bundles.policy_key(ORGANIZATION)
    await a_policy(policy)
    await publish(policy)
    (file,) = (tmp_path / "policy-keys" / ORGANIZATION).iterdir()
    match what:
        case "gone":
            file.unlink()
        case "open":
            file.chmod(0o644)
        case "broken":
            file.write_text("no key")
        case "another":
            await policy.bundles.policy_key(OTHER_ORGANIZATION)
            (other,) = (tmp_path / "policy-keys" / OTHER_ORGANIZATION).iterdir()
            file.write_bytes(other.read_bytes())
    with pytest.raises(PolicyKeyUnavailable):
        await policy.bundles.bundle(ORGANIZATION, GROUP)


# --- revocations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RevocationKind.ALL, "x"),
        (RevocationKind.LEASE, "x"),
        (RevocationKind.ADMISSION, ""),
        (RevocationKind.PRINCIPAL, "ada"),
        (RevocationKind.PRINCIPAL, "gateway:x"),
        (RevocationKind.CREDENTIAL, "018f0000-0000-7000-8000-000000000099"),
    ],
)
async def test_a_revocation_of_nothing_is_refused(
    policy: Policy, kind: RevocationKind, value: str
) -> None:
    with pytest.raises(PolicyInvalid):
        await policy.revocations.revoke(ADA, kind, value)


async def test_revocations_are_listed_and_lifted(
    policy: Policy, gateway: Gateway, database: Database, clock: ManualClock
) -> None:
    made, _, _ = await a_policy(policy)
    await publish(policy)
    one = await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id, reason="lost")
    clock.advance(1)
    two = await policy.revocations.revoke(ADA, RevocationKind.PRINCIPAL, ADA.name)
    assert len(gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP)).revocations) == 2
    await policy.revocations.lift(ADA, one.id)
    (left,) = gateway.take(await policy.bundles.bundle(ORGANIZATION, GROUP)).revocations
    assert left.value == ADA.name
    listed = await policy.revocations.page(ADA, PageRequest())
    assert [found.id for found in listed.items] == [two.id, one.id]
    in_force = await policy.revocations.page(ADA, PageRequest(), in_force=True)
    assert [found.id for found in in_force.items] == [two.id]
    actions = [entry.action for entry in await entries(database)]
    assert actions.count(AuditAction.REVOCATION_MADE) == 2
    assert "lost" not in str(await entries(database))


async def test_revocations_of_others_do_not_exist(policy: Policy) -> None:
    made, _, _ = await a_policy(policy)
    one = await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id)
    mallory = msgspec.structs.replace(ADA, organization_id=OTHER_ORGANIZATION)
    with pytest.raises(ResourceNotFound):
        await policy.revocations.get(mallory, one.id)
    with pytest.raises(ResourceNotFound):
        await policy.revocations.lift(mallory, one.id)
    with pytest.raises(PolicyInvalid):
        await policy.revocations.revoke(mallory, RevocationKind.CREDENTIAL, made.id)
