"""Bundles: what is taken, what is refused, what is left out, and what survives a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.support.linked_gateway import credential, grant, new_id, route
from tests.support.manual_clock import ManualClock

from keylease.contracts.bundles import (
    MAXIMUM_BUNDLE_BYTES,
    SIGNATURE_CONTEXT,
    UNDERSTOOD,
    SignedBundle,
    fingerprint,
    sign_bundle,
)
from keylease.contracts.policy import (
    ApiKeyUse,
    Budget,
    Limits,
    PolicyBundle,
    Revocation,
    RevocationKind,
    TrustRule,
)
from keylease.contracts.policy_keys import endorse
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    BundleExpired,
    BundleForeign,
    BundleNotSigned,
    BundleNotUnderstood,
    BundleOutdated,
    BundleRefused,
    BundleTooLarge,
    EnrolmentRefused,
    StorageCorrupt,
    StorageFull,
)
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.configuration import (
    Binding,
    GatewayConfiguration,
    Origin,
    PlatformSettings,
)
from keylease.strongroom.link.enrolment import Enrolment, EnrolmentFiles
from keylease.strongroom.link.policy_store import PlatformPolicy
from keylease.strongroom.link.servable import servable

ORGANIZATION = "01a00000-0000-7000-8000-000000000001"
URL = "https://keylease.example.com"
BOUND = Binding(
    id="binding:1",
    reference="file:///keys/*",
    provider="openai-compatible",
    origins=(Origin("https", "llm.example.com", 443),),
    listed=True,
    purposes=(Purpose.DEVELOPMENT,),
    environments=("*",),
)
GOOD = credential(reference="file:///keys/good", upstream="https://llm.example.com/v1")


class Place:
    """A gateway's link directory, and the platform it trusts."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.key = Ed25519PrivateKey.generate()
        self.settings = PlatformSettings(url=URL)
        self.configuration = GatewayConfiguration(
            path="gateway.toml", bindings=(BOUND,), platform=self.settings
        )
        self.files = EnrolmentFiles(directory)
        self.enrolment = Enrolment(
            url=URL,
            gateway_id=new_id(),
            organization_id=ORGANIZATION,
            group="local",
            policy_key=self.key.public_key().public_bytes_raw(),
        )
        self.files.write(self.enrolment, Ed25519PrivateKey.generate())

    def policy(self) -> PlatformPolicy:
        """As a start of the gateway opens it."""
        policy = PlatformPolicy(
            enrolments=self.files,
            settings=self.settings,
            configuration=self.configuration,
            clock=self.clock,
        )
        policy.load()
        return policy

    def bundle(self, version: int = 1, **parts: Any) -> PolicyBundle:  # noqa: ANN401 - parts of a bundle
        now = self.clock.now()
        base: dict[str, Any] = {
            "organization_id": ORGANIZATION,
            "group": "local",
            "version": version,
            "issued_at": now,
            "expires_at": now + 3600 * MICROSECONDS,
            "credentials": (GOOD,),
        }
        return PolicyBundle(**{**base, **parts})

    def signed(self, version: int = 1, **parts: Any) -> SignedBundle:  # noqa: ANN401 - parts of a bundle
        return sign_bundle(self.bundle(version, **parts), self.key)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "platform")


# --- taken and kept ------------------------------------------------------------------------


def test_a_bundle_is_in_force_and_survives_a_restart(place: Place) -> None:
    policy = place.policy()
    assert not policy.in_force
    assert policy.bundle.version == 0
    assert policy.take(place.signed(3))
    again = place.policy()
    for one in (policy, again):
        assert (one.in_force, one.bundle.version, one.highest_version) == (True, 3, 3)
        assert one.bundle.credentials == (GOOD,)
    assert again.state == policy.state


def test_the_same_version_may_be_issued_again_and_only_later(place: Place) -> None:
    policy = place.policy()
    first = place.signed()
    policy.take(first)
    place.clock.advance(1800)
    assert not policy.take(place.signed()), "nothing has changed but the times"
    until = policy.state.expires_at
    assert until == place.clock.now() + 3600 * MICROSECONDS
    assert not policy.take(first)
    assert policy.state.expires_at == until


@pytest.mark.parametrize("how", ["wall clock", "monotonic clock"])
def test_it_serves_until_its_expiry_by_whichever_clock_comes_first(place: Place, how: str) -> None:
    policy = place.policy()
    policy.take(place.signed())
    place.clock.advance(3599)
    assert not policy.expire()
    if how == "wall clock":
        place.clock.microseconds += 2 * MICROSECONDS
    else:
        place.clock.seconds += 2
        place.clock.set_back(3000)
    assert policy.expire()
    assert not policy.in_force
    assert policy.status.error.startswith("bundle_expired")
    place.clock.set_back(3600)
    assert not policy.expire()
    assert not policy.in_force, "setting the clock back revives nothing"


def test_gateway_toml_bounds_how_long_a_bundle_serves(place: Place) -> None:
    year = 365 * 86_400 * MICROSECONDS
    policy = place.policy()
    policy.take(place.signed(expires_at=place.clock.now() + year))
    assert policy.state.expires_at == place.clock.now() + 86_400 * MICROSECONDS


def test_withdrawn_it_does_not_come_back_with_a_restart(place: Place) -> None:
    policy = place.policy()
    policy.take(place.signed())
    assert policy.withdraw(BundleRefused("The gateway was revoked."))
    assert not policy.in_force
    assert not place.policy().in_force


# --- refused -------------------------------------------------------------------------------

Make = Callable[[Place], SignedBundle]


def resigned(place: Place, payload: bytes) -> SignedBundle:
    """Any bytes, with a signature that holds."""
    return SignedBundle(
        key_id=fingerprint(place.key.public_key().public_bytes_raw()),
        payload=payload,
        signature=place.key.sign(SIGNATURE_CONTEXT + payload),
    )


def changed(place: Place, **members: object) -> SignedBundle:
    """As a platform of another version would write it."""
    plain = msgspec.json.decode(msgspec.json.encode(place.bundle()))
    return resigned(place, msgspec.json.encode({**plain, **members}))


OTHER = Ed25519PrivateKey.generate()
REFUSED: dict[str, tuple[type[BundleRefused], Make]] = {
    "another key": (BundleNotSigned, lambda p: sign_bundle(p.bundle(), OTHER)),
    "another key under the pinned name": (
        BundleNotSigned,
        lambda p: msgspec.structs.replace(
            sign_bundle(p.bundle(), OTHER), key_id=p.enrolment.policy_key_fingerprint
        ),
    ),
    "a changed byte": (
        BundleNotSigned,
        lambda p: msgspec.structs.replace(
            p.signed(), payload=p.signed().payload.replace(b'"version":1', b'"version":2')
        ),
    ),
    "a signature of something else": (
        BundleNotSigned,
        lambda p: msgspec.structs.replace(p.signed(), signature=p.key.sign(p.signed().payload)),
    ),
    "no signature": (
        BundleNotSigned,
        lambda p: msgspec.structs.replace(p.signed(), signature=b""),
    ),
    "another form": (
        BundleNotUnderstood,
        lambda p: msgspec.structs.replace(p.signed(), format=2),
    ),
    "another organization": (BundleForeign, lambda p: p.signed(organization_id=new_id())),
    "another group": (BundleForeign, lambda p: p.signed(group="other")),
    "a local policy": (BundleForeign, lambda p: p.signed(group="")),
    "expired": (BundleExpired, lambda p: p.signed(expires_at=p.clock.now())),
    "without expiry": (BundleExpired, lambda p: p.signed(expires_at=0)),
    "issued long ago": (
        BundleExpired,
        lambda p: p.signed(issued_at=p.clock.now() - 90_000 * MICROSECONDS),
    ),
    "from the future": (
        BundleExpired,
        lambda p: p.signed(issued_at=p.clock.now() + 301 * MICROSECONDS),
    ),
    "version zero": (BundleNotUnderstood, lambda p: p.signed(0)),
    "a negative version": (BundleNotUnderstood, lambda p: p.signed(-1)),
    "an endless version": (BundleNotUnderstood, lambda p: p.signed(2**60)),
    "a later format": (BundleNotUnderstood, lambda p: p.signed(format=2)),
    "an unknown critical field": (
        BundleNotUnderstood,
        lambda p: p.signed(critical=("grant.only_on_mondays",)),
    ),
    "an unknown kind of revocation": (
        BundleNotUnderstood,
        lambda p: changed(p, revocations=[{"kind": "tenant", "value": "x", "at": 1}]),
    ),
    "no JSON": (BundleNotUnderstood, lambda p: resigned(p, b"version = 1")),
    "deep JSON": (BundleNotUnderstood, lambda p: resigned(p, b"[" * 200_000)),
    "a list": (BundleNotUnderstood, lambda p: resigned(p, b"[]")),
    "a member of another type": (BundleNotUnderstood, lambda p: changed(p, grants="all")),
    "no organization": (BundleNotUnderstood, lambda p: changed(p, organization_id=None)),
    "endless": (BundleTooLarge, lambda p: resigned(p, b" " * (MAXIMUM_BUNDLE_BYTES + 1))),
    "an identifier twice": (BundleNotUnderstood, lambda p: p.signed(2, credentials=(GOOD, GOOD))),
    "an identifier of a binding's counter": (
        BundleNotUnderstood,
        lambda p: p.signed(2, grants=(grant(id="binding:1"),)),
    ),
    "an unprintable name": (
        BundleNotUnderstood,
        lambda p: p.signed(2, grants=(grant(name="a\nb"),)),
    ),
    "what looks like a key": (
        BundleNotUnderstood,
        lambda p: p.signed(
            2, credentials=(credential(reference="sk-" + "proj-" + "aB3dE5fG7h" * 5),)
        ),
    ),
    "a revocation of nothing": (
        BundleNotUnderstood,
        lambda p: p.signed(2, revocations=(Revocation(kind=RevocationKind.LEASE, at=1),)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_a_whole(place: Place, name: str) -> None:
    policy = place.policy()
    policy.take(place.signed())
    before = (policy.bundle, policy.state)
    error, make = REFUSED[name]
    following = make(place)
    with pytest.raises(error) as refused:
        policy.take(following)
    assert (policy.bundle, policy.state) == before
    assert policy.status.error.startswith(refused.value.code)
    assert place.policy().bundle == before[0], "and so after a restart"


def test_an_older_version_and_a_second_truth_are_refused(place: Place) -> None:
    policy = place.policy()
    policy.take(place.signed(5))
    with pytest.raises(BundleOutdated):
        policy.take(place.signed(4))
    with pytest.raises(BundleOutdated):
        policy.take(place.signed(5, serve_when_spool_full=True))
    # Also when the files of an earlier time are put back.
    bundle = place.files.directory / "bundle"
    old = msgspec.json.encode(place.signed(4))
    bundle.write_bytes(old)
    restarted = place.policy()
    assert not restarted.in_force
    assert restarted.status.error.startswith("bundle_outdated")


def test_an_update_of_the_gateway_changes_no_content(place: Place) -> None:
    """A member that this version does not know belongs to the content all the same."""
    policy = place.policy()
    policy.take(changed(place, later_member=[1, 2]))
    assert policy.in_force
    with pytest.raises(BundleOutdated):
        policy.take(changed(place, later_member=[1, 3]))
    place.clock.advance(60)
    assert not policy.take(changed(place, later_member=[1, 2]))


@pytest.mark.parametrize("spoil", [b"", b"{}", b"\0" * 100])
def test_a_damaged_bundle_on_the_disk_serves_nothing(place: Place, spoil: bytes) -> None:
    place.policy().take(place.signed())
    (place.files.directory / "bundle").write_bytes(spoil)
    policy = place.policy()
    assert not policy.in_force
    assert policy.take(place.signed())


@pytest.mark.parametrize("name", ["key", "enrolment", "high-water"])
def test_other_damage_stops_the_start(place: Place, name: str) -> None:
    place.policy().take(place.signed())
    (place.files.directory / name).write_bytes(b"?")
    read = place.files.key if name == "key" else place.policy
    with pytest.raises(StorageCorrupt):
        read()


@given(data=st.data())
def test_no_change_of_a_signed_bundle_is_taken(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = Place(tmp_path_factory.mktemp("changed") / "platform")
    raw = bytearray(msgspec.json.encode(place.signed()))
    index = data.draw(st.integers(0, len(raw) - 1))
    raw[index] ^= data.draw(st.integers(1, 255))
    policy = place.policy()
    try:
        signed = msgspec.json.decode(bytes(raw), type=SignedBundle)
        policy.take(signed)
    except (msgspec.DecodeError, UnicodeDecodeError, BundleRefused):
        assert not policy.in_force
    else:  # a change that base64 and JSON do not see
        assert signed.payload == place.signed().payload


# --- the policy key ------------------------------------------------------------------------


def test_a_new_policy_key_is_followed_and_the_old_one_is_not_trusted_again(place: Place) -> None:
    policy = place.policy()
    policy.take(place.signed())
    new = Ed25519PrivateKey.generate()
    link = endorse(new.public_key(), by=place.key, organization_id=ORGANIZATION)
    with pytest.raises(BundleNotSigned):
        policy.take(sign_bundle(place.bundle(2), new))
    assert policy.take(sign_bundle(place.bundle(2), new, endorsements=(link,)))
    for one in (policy, place.policy()):
        with pytest.raises(BundleNotSigned):
            one.take(place.signed(3))
    assert place.policy().bundle.version == 2
    # What is pinned in gateway.toml is still the key that was enrolled with.
    place.settings = msgspec.structs.replace(
        place.settings, policy_key=place.enrolment.policy_key_fingerprint
    )
    assert place.policy().in_force
    place.settings = msgspec.structs.replace(place.settings, policy_key="sha256:" + "0" * 64)
    with pytest.raises(EnrolmentRefused):
        place.policy()


# --- a full disk ---------------------------------------------------------------------------


def test_on_a_full_disk_revocations_count_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = place.policy()
    policy.take(place.signed(1))

    def full(path: Path, content: bytes) -> None:
        del path, content
        raise StorageFull("There is no space.")

    revocation = Revocation(kind=RevocationKind.PRINCIPAL, value="user:eve", at=5)
    wider = place.signed(2, revocations=(revocation,), grants=(grant(),))
    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        with pytest.raises(StorageFull):
            policy.take(wider)
    assert policy.add_revocations_of_unstored()
    assert policy.bundle.revocations == (revocation,)
    assert policy.bundle.version == 1
    assert policy.bundle.grants == (), "and nothing else of it"
    assert not policy.add_revocations_of_unstored()
    assert policy.take(wider)


# --- left out ------------------------------------------------------------------------------


def test_what_this_version_does_not_know_is_left_out_and_said(place: Place) -> None:
    odd = {
        "provider_unknown": credential(provider="later-ai", reference="file:///keys/a"),
        "reference_unknown": credential(reference="hsm://slot/1"),
        "reference_not_plain": credential(reference="file:///keys/%61"),
        "eval_and_production": credential(
            reference="file:///keys/b", purposes=(Purpose.EVAL, Purpose.PRODUCTION)
        ),
        "purpose_missing": credential(reference="file:///keys/c", purposes=()),
        "environment_malformed": credential(reference="file:///keys/d", environment="*"),
    }
    routes = {one.id: route(one.id) for one in (GOOD, *odd.values())}
    limit = grant(limits=Limits(requests_per_minute=-1))
    rule = TrustRule(
        id=new_id(),
        name="all",
        issuer="https://issuer.example.com",
        audience="keylease",
        claims={},
        principal="user:root",
        purposes=(Purpose.DEVELOPMENT,),
        environments=("*",),
        models=("*",),
        subject_once=False,
    )
    key = ApiKeyUse(id=new_id(), digest="short", principal="user:a", purposes=(Purpose.EVAL,))
    budget = Budget(id=new_id(), name="b", micro_usd=-1)
    found = servable(
        place.bundle(
            credentials=(GOOD, *odd.values()),
            routes=tuple(routes.values()),
            grants=(grant(), limit),
            trust_rules=(rule,),
            api_keys=(key,),
            budgets=(budget,),
        ),
        place.configuration,
    )
    assert found.bundle.credentials == (GOOD,)
    assert found.bundle.routes == (routes[GOOD.id],)
    assert len(found.bundle.grants) == 1
    assert (found.bundle.trust_rules, found.bundle.api_keys, found.bundle.budgets) == ((), (), ())
    said = {item.object_id: item.code for item in found.objections}
    assert said == {
        **{one.id: code for code, one in odd.items()},
        **{routes[one.id].id: "no_target_left" for one in odd.values()},
        limit.id: "limit_malformed",
        rule.id: "trust_rule_unsafe",
        key.id: "digest_malformed",
        budget.id: "limit_malformed",
    }


def test_what_gateway_toml_does_not_allow_is_said(place: Place) -> None:
    elsewhere = credential(reference="file:///keys/x", upstream="https://evil.example.com/v1")
    rule = TrustRule(
        id=new_id(),
        name="mine",
        issuer="https://issuer.example.com",
        audience="keylease",
        claims={"sub": "job"},
        principal="user:root",
        purposes=(Purpose.DEVELOPMENT,),
        environments=("*",),
        models=("*",),
        subject_once=False,
    )
    bundle = place.bundle(credentials=(GOOD, elsewhere), trust_rules=(rule,))
    found = servable(bundle, place.configuration)
    assert {item.object_id: item.code for item in found.objections} == {
        elsewhere.id: "binding_missing",
        rule.id: "issuer_not_trusted",
    }


def test_every_field_of_the_policy_can_be_named_as_critical(place: Place) -> None:
    assert {"grant.limits", "credential.aged", "policy.revocations"} <= UNDERSTOOD
    assert place.policy().take(place.signed(critical=tuple(sorted(UNDERSTOOD))))
