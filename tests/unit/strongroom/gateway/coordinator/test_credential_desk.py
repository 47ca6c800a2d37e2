"""The desk that gives secrets to workers: nothing without its binding and its audit entry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.call_rig import ORGANIZATION, binding, bundle, credential
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import AgedVersion, PolicyBundle
from keylease.contracts.references import Reference
from keylease.errors import (
    BindingMissing,
    SealedStoreCorrupt,
    SecretInvalid,
    SecretNotFound,
    SecretTooOld,
    StorageError,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.leases.key_source import SigningKeySource
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.registry import StoreRegistry, build_stores

SIGNING_KEY = "keylease-lease-signing-key"


class Desk:
    """A desk on a real sealed store, with the widest binding that a file can have."""

    def __init__(self, home: Path) -> None:
        self.clock = ManualClock()
        self.configuration = GatewayConfiguration(
            path=str(home / "config" / "gateway.toml"), bindings=(binding(reference="**"),)
        )
        self.stores: StoreRegistry = build_stores(
            self.configuration.stores,
            data_directory=home / "data",
            environment={},
            clock=self.clock,
            config_directory=home / "config",
        )
        (home / "data" / "audit").mkdir(parents=True)
        self.audit = AuditSpool(
            home / "data" / "audit", clock=self.clock, organization_id=ORGANIZATION
        )
        self.policy: PolicyBundle = bundle()
        self.desk = CredentialDesk(
            self.stores,
            configuration=self.configuration,
            policy=lambda: self.policy,
            audit=self.audit,
            clock=self.clock,
            on_change=lambda: None,
        )

    def name(self, reference: str) -> None:
        self.policy = bundle(credentials=(credential(reference=reference),))

    def actions(self) -> list[AuditAction]:
        return [entry.action for entry in self.audit.entries()]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    await made.desk.close()
    await made.stores.close()


async def test_a_fetch_is_written_down_before_the_secret_is_given(desk: Desk) -> None:
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    given = await desk.desk.give("cred-openai")
    assert given.fetched.secret.equals(Secret("sk-test-1"))
    assert desk.actions() == [AuditAction.CREDENTIAL_FETCHED]


async def test_what_cannot_be_a_key_is_a_failed_fetch_and_its_state_says_so(desk: Desk) -> None:
    desk.stores.sealed.put("mine", Secret(b"two\nlines of it"), provider="", hosts=())
    desk.name("sealed://mine")
    with pytest.raises(SecretInvalid, match="cannot be a provider key"):
        await desk.desk.give("cred-openai")
    assert desk.actions() == [AuditAction.CREDENTIAL_FETCH_FAILED]
    state = desk.desk.states()["cred-openai"]
    assert (state.state, state.error) == ("failed", "secret_invalid")
    checked = await desk.desk.check(desk.policy.credentials[0])
    assert checked["available"] is False


async def test_a_fetch_is_written_down_when_the_policy_lost_its_credential_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    fetch = desk.stores.fetch

    async def fetch_and_change(reference: Reference) -> FetchedSecret:
        fetched = await fetch(reference)
        desk.policy = bundle(credentials=())
        return fetched

    monkeypatch.setattr(desk.stores, "fetch", fetch_and_change)
    await desk.desk.give("cred-openai")
    [entry] = desk.audit.entries()
    assert (entry.action, entry.object) == (AuditAction.CREDENTIAL_FETCHED, "")
    assert entry.details["reference"] == "sealed://mine"


async def test_a_version_that_is_too_old_is_not_given(desk: Desk) -> None:
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    version = (await desk.desk.give("cred-openai")).fetched.version
    [known] = desk.policy.credentials
    until = desk.clock.now() + 60 * MICROSECONDS
    other = AgedVersion(version="another", refuse_from=0)
    aged = AgedVersion(version=version, refuse_from=until)
    desk.policy = bundle(credentials=(msgspec.structs.replace(known, aged=(other, aged)),))
    given = await desk.desk.give("cred-openai")
    assert given.usable_seconds == 60, "and no worker uses it any longer"
    desk.clock.advance(60)
    with pytest.raises(SecretTooOld):
        await desk.desk.give("cred-openai")


async def test_without_an_audit_entry_there_is_no_secret(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageError("The audit spool cannot be written.")

    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    monkeypatch.setattr(desk.audit, "write", full)
    with pytest.raises(StorageError):
        await desk.desk.give("cred-openai")


async def test_a_secret_sealed_for_one_provider_is_not_given_for_another(desk: Desk) -> None:
    desk.stores.sealed.put(
        "theirs", Secret("sk-ant-test"), provider="anthropic", hosts=("api.anthropic.com",)
    )
    desk.name("sealed://theirs")
    with pytest.raises(BindingMissing, match="sealed for anthropic"):
        await desk.desk.give("cred-openai")
    assert desk.actions() == []


async def test_no_policy_makes_a_credential_of_the_lease_signing_key(desk: Desk) -> None:
    await SigningKeySource(
        f"sealed://{SIGNING_KEY}",
        fetch=desk.stores.fetch,
        sealer=desk.stores.sealed,
        clock=desk.clock,
    ).open()
    desk.name(f"sealed://{SIGNING_KEY}")
    with pytest.raises(BindingMissing):
        await desk.desk.give("cred-openai")


async def test_whoever_takes_a_credential_for_another_gets_no_secret(desk: Desk) -> None:
    """A worker that decided by the policy before this one would send it where that one said."""
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    [known] = desk.policy.credentials
    earlier = msgspec.structs.replace(known, reference="sealed://earlier")
    with pytest.raises(SecretNotFound, match="policy changed"):
        await desk.desk.give("cred-openai", known_as=earlier)
    assert desk.actions() == []
    given = await desk.desk.give("cred-openai", known_as=msgspec.structs.replace(known))
    assert given.fetched.secret.equals(Secret("sk-test-1"))


async def test_what_the_policy_does_not_name_is_not_fetched(desk: Desk) -> None:
    with pytest.raises(SecretNotFound):
        await desk.desk.give("another")
    assert desk.actions() == []


async def test_a_sealed_store_that_cannot_be_opened_is_written_down_once_and_shown(
    desk: Desk, tmp_path: Path
) -> None:
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    await desk.desk.give("cred-openai")
    sealed = tmp_path / "data" / "strongroom" / "sealed.json"
    await asyncio.to_thread(sealed.write_bytes, b"{")
    desk.clock.advance(301)
    for _ in range(5):
        with pytest.raises(SealedStoreCorrupt):
            await desk.desk.give("cred-openai")
    assert desk.actions() == [AuditAction.CREDENTIAL_FETCHED, AuditAction.CREDENTIAL_FETCH_FAILED]
    state = desk.desk.states()["cred-openai"]
    assert (state.state, state.error) == ("failed", "sealed_store_corrupt")


async def test_without_grace_a_secret_at_its_end_is_good_for_one_call(desk: Desk) -> None:
    """Between the cache's look at the clock and ours its age may have gone by."""
    desk.stores.sealed.put("mine", Secret("sk-test-1"), provider="", hosts=())
    desk.name("sealed://mine")
    await desk.desk.give("cred-openai")
    desk.clock.microseconds += 300 * 1_000_000  # of the two clocks, the one on the wall is ahead
    assert (await desk.desk.give("cred-openai")).usable_seconds == 0
