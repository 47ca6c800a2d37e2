"""The lease verifier: tampering, confusion, clocks, keys and its cache."""

from __future__ import annotations

import hashlib
import hmac
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.support.lease_kit import LeaseKit

from keylease.contracts.leases import LEASE_PREFIX, LEASE_TYPE, LONGEST_LIFETIME
from keylease.errors import (
    LeaseExpired,
    LeaseForeign,
    LeaseMalformed,
    LeaseNotYetValid,
    LeaseRefused,
    SignatureInvalid,
)
from keylease.primitives.signatures import encode_base64url, sign_ed25519
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.verify import MAXIMUM_TOKEN_BYTES, LeaseVerifier, read_public_keys

KIT = LeaseKit()
TOKEN = KIT.token()


def raw(header: dict[str, object], payload: bytes, signature: bytes = b"") -> bytes:
    head = encode_base64url(json.dumps(header).encode())
    parts = (head, encode_base64url(payload), encode_base64url(signature))
    return LEASE_PREFIX.encode() + b".".join(parts)


def test_a_good_lease_gives_its_claims() -> None:
    lease = KIT.lease()
    verifier = KIT.verifier()
    assert verifier.verify(lease.token.encode()) == lease.claims
    assert verifier.verify(lease.token.encode()) is verifier.verify(lease.token.encode())


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(position: int, flip: int) -> None:
    tampered = bytearray(TOKEN)
    tampered[position] ^= flip
    with pytest.raises(LeaseRefused):
        KIT.verifier().verify(bytes(tampered))


def test_every_single_byte_counts() -> None:
    verifier = KIT.verifier()
    verifier.verify(TOKEN)
    for position in range(len(TOKEN)):
        for flip in (1, 0x20, 0x80):
            tampered = bytearray(TOKEN)
            tampered[position] ^= flip
            with pytest.raises(LeaseRefused):
                verifier.verify(bytes(tampered))


@pytest.mark.parametrize("cut", [1, 2, 10, 86, 300])
def test_a_shorter_or_longer_token_is_refused(cut: int) -> None:
    verifier = KIT.verifier()
    for token in (
        TOKEN[:-cut],
        TOKEN + b"A" * cut,
        TOKEN + b"=" * cut,
        b" " + TOKEN,
        TOKEN + b"\n",
    ):
        with pytest.raises(LeaseMalformed):
            verifier.verify(token)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"kll_",
        b"kll_.",
        b"kll_..",
        b"sk-test-0000",
        b"kll_" + b"A" * 10_000,
        b"KLL_" + TOKEN[4:],
    ],
)
def test_what_is_no_lease_is_refused(token: bytes) -> None:
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(token)


def test_a_lease_without_its_prefix_is_refused() -> None:
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(TOKEN.removeprefix(b"kll_"))


def test_an_oversized_lease_is_refused_although_its_signature_is_good() -> None:
    claims = KIT.claims(models=("m" * MAXIMUM_TOKEN_BYTES,))
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(KIT.signed(claims))


@pytest.mark.parametrize(
    "alg", ["none", "NONE", "HS256", "RS256", "ES256", "EdDSA ", ["EdDSA"], None]
)
def test_algorithm_confusion_is_refused(alg: object) -> None:
    payload = msgspec.json.encode(KIT.claims())
    header = {"alg": alg, "kid": KIT.keys.kid, "typ": LEASE_TYPE}
    public = KIT.keys.public_keys()[KIT.keys.kid].public_bytes_raw()
    unsigned = raw(header, payload)
    signing_input = unsigned.removeprefix(b"kll_").rsplit(b".", 1)[0]
    for signature in (
        b"",
        hmac.digest(public, signing_input, hashlib.sha256),
        hmac.digest(KIT.keys.public_jwks(), signing_input, hashlib.sha256),
    ):
        with pytest.raises(LeaseMalformed):
            KIT.verifier().verify(raw(header, payload, signature))


@pytest.mark.parametrize(
    "kid",
    ["", "../../etc/passwd", "/dev/null", "%00", "' OR 1=1 --", "http://evil.test/jwks", 7, None],
)
def test_a_key_id_is_only_ever_looked_up(kid: object) -> None:
    payload = msgspec.json.encode(KIT.claims())
    with pytest.raises((LeaseForeign, LeaseMalformed)):
        KIT.verifier().verify(
            raw({"alg": "EdDSA", "kid": kid, "typ": LEASE_TYPE}, payload, b"x" * 64)
        )


def test_a_key_inside_the_header_is_not_used() -> None:
    attacker = Ed25519PrivateKey.generate()
    payload = msgspec.json.encode(KIT.claims())
    for extra in ({"jwk": "x"}, {"jku": "https://evil.test"}, {"x5u": "y"}, {"crit": "z"}):
        token = sign_ed25519(
            attacker, header={"kid": KIT.keys.kid, "typ": LEASE_TYPE, **extra}, payload=payload
        )
        with pytest.raises(LeaseMalformed):
            KIT.verifier().verify(b"kll_" + token)


def test_another_token_type_of_the_same_key_is_no_lease() -> None:
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(KIT.signed(KIT.claims(), typ="JWT"))


def changed(**changes: object) -> bytes:
    claims = {**msgspec.to_builtins(KIT.claims()), **changes}
    return KIT.signed({name: value for name, value in claims.items() if value is not ...})


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": "1780000900"},
        {"exp": 1780000900.5},
        {"exp": True},
        {"exp": None},
        {"exp": ...},
        {"iat": ...},
        {"jti": ...},
        {"sub": 5},
        {"models": "gpt-*"},
        {"models": [1]},
        {"purpose": "anything"},
        {"aud": ["keylease-gateway"]},
        {"cnf": "x"},
    ],
    ids=str,
)
def test_claims_have_exact_types(changes: dict[str, object]) -> None:
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(changed(**changes))


def test_a_claim_named_twice_is_refused() -> None:
    payload = msgspec.json.encode(KIT.claims())
    with pytest.raises(LeaseMalformed):
        KIT.verifier().verify(KIT.signed(payload[:-1] + b',"sub":"user:root"}'))


def test_claims_of_a_later_version_are_ignored() -> None:
    KIT.verifier().verify(changed(later="claim"))


@pytest.mark.parametrize("changes", [{"iss": "other-group"}, {"aud": "keylease-ingest"}])
def test_a_foreign_lease_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LeaseForeign):
        KIT.verifier().verify(KIT.signed(KIT.claims(**changes)))


def test_a_lease_of_another_groups_key_is_foreign() -> None:
    with pytest.raises(LeaseForeign):
        LeaseKit().verifier().verify(TOKEN)


def test_a_lease_issued_for_longer_than_is_allowed_here_is_refused() -> None:
    now = KIT.clock.now() // 1_000_000
    with pytest.raises(LeaseForeign):
        KIT.verifier(maximum_lifetime=600).verify(TOKEN)
    with pytest.raises(LeaseForeign):
        KIT.verifier().verify(KIT.signed(KIT.claims(exp=now + LONGEST_LIFETIME + 1)))


def test_expiry_is_exact() -> None:
    kit = LeaseKit()
    token = kit.token()
    kit.clock.advance(899.9)
    kit.verifier().verify(token)
    kit.clock.advance(0.1)
    with pytest.raises(LeaseExpired):
        kit.verifier().verify(token)


def test_a_clock_may_be_a_minute_ahead_and_no_more() -> None:
    now = KIT.clock.now() // 1_000_000
    KIT.verifier().verify(KIT.signed(KIT.claims(iat=now + 60)))
    with pytest.raises(LeaseNotYetValid):
        KIT.verifier().verify(KIT.signed(KIT.claims(iat=now + 61)))


def test_setting_the_clock_back_does_not_revive_a_lease() -> None:
    kit = LeaseKit()
    token, verifier = kit.token(), kit.verifier()
    verifier.verify(token)
    kit.clock.advance(901)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)
    kit.clock.set_back(900)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)


def test_setting_the_clock_back_does_not_lengthen_a_cached_lease() -> None:
    kit = LeaseKit()
    token, verifier = kit.token(), kit.verifier()
    verifier.verify(token)
    kit.clock.set_back(800)
    kit.clock.advance(901)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)


def test_a_cached_lease_is_not_verified_again() -> None:
    verifier = KIT.verifier()
    verifier.verify(TOKEN)
    verifier._keys.clear()
    assert verifier.verify(TOKEN).sub == "user:alice"


def test_tokens_with_a_common_beginning_are_told_apart() -> None:
    verifier = KIT.verifier()
    verifier.verify(TOKEN)
    forged = TOKEN[:-20] + bytes(reversed(TOKEN[-20:]))
    with pytest.raises(LeaseMalformed):
        verifier.verify(forged)


def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    verifier = KIT.verifier(cache_size=3)
    tokens = [KIT.token() for _ in range(3)]
    for token in tokens:
        verifier.verify(token)
    verifier.verify(tokens[0])
    verifier.verify(KIT.token())
    kept = {entry.claims.jti for entry in verifier._cache.values()}
    assert len(kept) == 3
    assert verifier.verify(tokens[0]).jti in kept
    assert KIT.verifier().verify(tokens[1]).jti not in kept


def test_failures_are_not_remembered() -> None:
    other = LeaseKit()
    verifier = KIT.verifier()
    token = other.token()
    for _ in range(100):
        with pytest.raises(LeaseForeign):
            verifier.verify(token)
    assert not verifier._cache
    verifier.replace_keys(other.keys.public_jwks())
    verifier.verify(token)


def test_replacing_keys_drops_the_leases_of_those_that_are_gone() -> None:
    kit = LeaseKit()
    verifier = kit.verifier()
    old = kit.token()
    verifier.verify(old)
    rotated = kit.keys.rotate(kit.clock.now())
    verifier.replace_keys(rotated.public_jwks())
    verifier.verify(old)
    verifier.replace_keys(rotated.discard_earlier().public_jwks())
    with pytest.raises(LeaseForeign):
        verifier.verify(old)


@pytest.mark.parametrize(
    "jwks", [b"", b"[]", b"{}", b'{"keys":1}', b'{"keys":[1]}', b'{"keys":[{"kty":"OKP"}]}']
)
def test_a_malformed_key_set_is_refused(jwks: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        LeaseVerifier(jwks, issuer="local", clock=KIT.clock)


def test_two_keys_of_one_name_are_refused() -> None:
    keys = SigningKeys.generate(0).public_jwks()
    doubled = keys.replace(b"]", b"," + keys.split(b"[")[1].split(b"]")[0] + b"]")
    with pytest.raises(SignatureInvalid):
        read_public_keys(doubled)


def test_a_lease_that_is_first_seen_late_is_cached_for_what_is_left_of_it() -> None:
    kit = LeaseKit()
    token, verifier = kit.token(), kit.verifier()
    kit.clock.advance(800)
    verifier.verify(token)
    kit.clock.set_back(500)
    kit.clock.advance(99)
    verifier.verify(token)
    kit.clock.advance(1)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)
