"""Leases, revocations and secrets as the coordinator gives them out."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.lease_kit import ORGANIZATION, grant
from tests.support.manual_clock import ManualClock

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Credential, PolicyBundle, Revocation, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import (
    BindingMissing,
    KeyleaseError,
    LeaseRevoked,
    PurposeNotAllowed,
    RequestMalformed,
    SecretNotFound,
    StorageFull,
    StoreUnavailable,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.configuration import (
    Binding,
    GatewayConfiguration,
    Origin,
    StoreSettings,
)
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.coordinator.lease_desk import LeaseDesk, login_principal
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.leases.issue import LeaseIssuer, LeaseRequest
from keylease.strongroom.leases.key_source import SigningKeySource
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.revocation_store import RevocationStore
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.cache import Signature
from keylease.strongroom.stores.interfaces import FetchedSecret

REFERENCE = "file:///keys/openai"
ORIGIN = Origin("https", "api.openai.com", 443)


def policy(reference: str = REFERENCE) -> PolicyBundle:
    return PolicyBundle(
        organization_id=ORGANIZATION,
        version=3,
        issued_at=0,
        grants=(grant(),),
        credentials=(
            Credential(
                id="credential-1",
                name="openai",
                provider="openai",
                reference=reference,
                purposes=(Purpose.DEVELOPMENT,),
                environment="local",
            ),
        ),
    )


class Source:
    """A store in memory."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.fetches = 0
        self.error: KeyleaseError | None = None

    async def fetch(self, _reference: Reference) -> FetchedSecret:
        self.fetches += 1
        if self.error is not None:
            raise self.error
        value = Secret(f"sk-test-{secrets.token_hex(8)}")
        version = f"v{self.fetches}"
        return FetchedSecret(secret=value, version=version, fetched_at=self.clock.now())

    async def signature(self, _reference: Reference) -> Signature:
        return None

    async def require_recorded_binding(
        self, reference: Reference, *, provider: str, host: str
    ) -> None:
        assert (str(reference), provider, host) == (REFERENCE, "openai", ORIGIN.host)

    def put(self, *_: object, **__: object) -> object:
        return None


class Desks:
    def __init__(self, home: Path) -> None:
        self.clock = ManualClock()
        self.bundle = policy()
        self.changes = 0
        self.in_force = 0
        self.audit = AuditSpool(home / "audit", clock=self.clock, organization_id=ORGANIZATION)
        self.source = Source(self.clock)
        configuration = GatewayConfiguration(
            path="/gateway.toml",
            stores=StoreSettings(maximum_age_seconds=300.0),
            bindings=(
                Binding(
                    id="binding:1",
                    reference="file:///keys/*",
                    provider="openai",
                    origins=(ORIGIN,),
                    listed=False,
                    purposes=(Purpose.DEVELOPMENT,),
                    environments=("*",),
                ),
            ),
        )
        self.credentials = CredentialDesk(
            self.source,
            configuration=configuration,
            policy=lambda: self.bundle,
            audit=self.audit,
            clock=self.clock,
            on_change=self.changed,
        )
        keys = SigningKeys.generate(self.clock.now())
        self.issuer = LeaseIssuer(keys, configuration, self.clock)
        self.leases = LeaseDesk(
            keys=keys,
            source=SigningKeySource(
                "sealed://keys", fetch=self.source.fetch, sealer=self.source, clock=self.clock
            ),
            issuer=self.issuer,
            store=RevocationStore(home, clock=self.clock),
            policy=lambda: self.bundle,
            audit=self.audit,
            clock=self.clock,
            put_in_force=self.put_in_force,
        )

    def changed(self) -> None:
        self.changes += 1

    async def put_in_force(self) -> int:
        self.in_force += 1
        return 2

    def fill_the_audit(self) -> None:
        self.audit._log._maximum = self.audit._log.total_bytes

    @property
    def actions(self) -> list[str]:
        return [entry.action.value for entry in self.audit.entries()]


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Desks]:
    desks = Desks(tmp_path)
    yield desks
    await desks.credentials.close()
    await desks.audit.close()
    desks.leases._store.close()


WISH: dict[str, object] = {"purpose": "development", "environment": "local", "models": ["gpt-4o"]}


async def test_a_lease_is_written_down_before_it_leaves(desks: Desks) -> None:
    lease = await desks.leases.create(os.getuid(), {**WISH, "principal": "user:ada"})
    (entry,) = desks.audit.entries()
    assert entry.object == lease["lease_id"]
    assert entry.principal == "user:ada"
    assert entry.details["by"] == login_principal(os.getuid())
    assert lease["token"] not in str(entry)


async def test_without_an_audit_entry_there_is_no_lease(desks: Desks) -> None:
    desks.fill_the_audit()
    with pytest.raises(StorageFull):
        await desks.leases.create(os.getuid(), {**WISH, "principal": "user:ada"})


async def test_a_refusal_is_written_down_too(desks: Desks) -> None:
    with pytest.raises(PurposeNotAllowed):
        await desks.leases.create(os.getuid(), {**WISH, "purpose": "production"})
    (entry,) = desks.audit.entries()
    assert (entry.action.value, entry.reason) == ("lease.refused", "purpose_not_allowed")


async def test_a_principal_that_is_none_is_not_written_down(desks: Desks) -> None:
    with pytest.raises(RequestMalformed):
        await desks.leases.create(os.getuid(), {**WISH, "principal": "x" * 9999})
    assert [entry.principal for entry in desks.audit.entries()] == [""]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"purpose": "eval"}, {**WISH, "lifetime": "x"}, {**WISH, "unknown": 1}],
)
async def test_wrong_arguments_are_said(desks: Desks, arguments: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        await desks.leases.create(os.getuid(), arguments)


async def test_a_full_disk_under_the_audit_does_not_stop_a_revocation(desks: Desks) -> None:
    desks.fill_the_audit()
    with pytest.raises(StorageFull):
        await desks.leases.revoke(os.getuid(), {"kind": "all"})
    assert [item.kind.value for item in desks.leases.revocations()] == ["all"]
    assert desks.in_force == 1


def dead(desks: Desks, *leases: LeaseClaims) -> list[bool]:
    """Whether each lease is refused under what is in force."""
    revoked = RevocationList(desks.leases.revocations())
    found = []
    for claims in leases:
        try:
            revoked.check(claims)
        except LeaseRevoked:
            found.append(True)
        else:
            found.append(False)
    return found


def issued(desks: Desks) -> LeaseClaims:
    wish = LeaseRequest(
        principal="user:ada",
        purpose=Purpose.DEVELOPMENT,
        environment="local",
        models=("gpt-4o",),
    )
    return desks.issuer.issue(wish, desks.bundle).claims


@pytest.mark.parametrize(
    ("kind", "value"), [(RevocationKind.PRINCIPAL, "user:ada"), (RevocationKind.ALL, "")]
)
@pytest.mark.parametrize("behind", [0, 5, 59])
async def test_a_platform_whose_clock_is_behind_revokes_what_was_issued_here_before(
    desks: Desks, kind: RevocationKind, value: str, behind: int
) -> None:
    before = issued(desks)
    desks.clock.advance(0.5)
    at = desks.clock.now() - behind * MICROSECONDS
    revocation = Revocation(kind=kind, value=value, at=at)
    desks.bundle = msgspec.structs.replace(desks.bundle, revocations=(revocation,))
    assert dead(desks, before) == [True]
    desks.clock.advance(0.5)
    after = issued(desks)
    desks.clock.advance(600)
    assert dead(desks, before, after) == [True, False], "its moment stays what it was"


async def test_an_old_revocation_that_arrives_late_kills_little_more_than_it_says(
    desks: Desks,
) -> None:
    at = desks.clock.now()
    desks.clock.advance(90)
    lease = issued(desks)
    revocation = Revocation(kind=RevocationKind.ALL, at=at)
    desks.bundle = msgspec.structs.replace(desks.bundle, revocations=(revocation,))
    assert dead(desks, lease) == [False]


@pytest.mark.parametrize("back", [0.0, 1.0, 59.0])
async def test_a_clock_that_was_set_back_saves_no_lease_from_its_revocation(
    desks: Desks, back: float
) -> None:
    lease = issued(desks)
    desks.clock.set_back(back)
    await desks.leases.revoke(os.getuid(), {"kind": "principal", "value": "user:ada"})
    assert dead(desks, lease) == [True]
    desks.clock.advance(60)
    assert dead(desks, lease, issued(desks)) == [True, False]


async def test_lifting_is_written_down_first(desks: Desks) -> None:
    await desks.leases.revoke(os.getuid(), {"kind": "credential", "value": "openai"})
    assert desks.leases.revocations()[0].value == "credential-1"
    desks.fill_the_audit()
    with pytest.raises(StorageFull):
        await desks.leases.lift(os.getuid(), {"credential": "openai"})
    assert len(desks.leases.revocations()) == 1


def test_a_user_without_a_name_is_a_number() -> None:
    assert login_principal(3_999_999) == "user:uid-3999999"


async def test_every_real_fetch_is_written_down_once(desks: Desks) -> None:
    given = await asyncio.gather(*(desks.credentials.give("credential-1") for _ in range(10)))
    assert desks.source.fetches == 1
    assert desks.actions == ["credential.fetched"]
    assert given[0].usable_seconds == 300.0
    desks.clock.advance(299)
    assert 0 < (await desks.credentials.give("credential-1")).usable_seconds <= 1
    desks.clock.advance(2)
    await desks.credentials.give("credential-1")
    assert desks.actions == ["credential.fetched"] * 2
    assert [entry.details["version"] for entry in desks.audit.entries()] == ["v1", "v2"]
    assert {entry.object for entry in desks.audit.entries()} == {"credential-1"}


async def test_without_an_audit_entry_there_is_no_secret(desks: Desks) -> None:
    desks.fill_the_audit()
    with pytest.raises(StorageFull):
        await desks.credentials.give("credential-1")


async def test_a_failed_fetch_is_written_down_and_shown(desks: Desks) -> None:
    desks.source.error = StoreUnavailable("down", advice="wait")
    with pytest.raises(StoreUnavailable):
        await desks.credentials.give("credential-1")
    (entry,) = desks.audit.entries()
    assert (entry.action.value, entry.reason) == ("credential.fetch_failed", "store_unavailable")
    state = desks.credentials.states()["credential-1"]
    assert (state.state, state.error) == ("failed", "store_unavailable")
    checked = await desks.credentials.check(desks.bundle.credentials[0])
    assert checked["available"] is False
    assert desks.changes == 1


async def test_a_check_never_shows_the_bytes(desks: Desks) -> None:
    checked = await desks.credentials.check(desks.bundle.credentials[0])
    assert checked["available"] is True
    assert checked["version"] == "v1"
    assert "sk-test" not in str(checked)


async def test_a_reference_without_a_binding_is_not_fetched(desks: Desks) -> None:
    desks.bundle = policy("file:///etc/shadow")
    with pytest.raises(BindingMissing):
        await desks.credentials.give("credential-1")
    assert desks.source.fetches == 0
    with pytest.raises(SecretNotFound):
        await desks.credentials.give("credential-2")
