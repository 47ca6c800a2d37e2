"""DPoP: what proves possession of a lease's key, and what does not."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.support.lease_kit import LeaseKit

from keylease.contracts.leases import Confirmation, LeaseClaims
from keylease.errors import SenderNotProven
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import encode_base64url, thumbprint
from keylease.strongroom.leases.sender_proof import SenderProof, access_token_hash

KIT = LeaseKit()
URL: Final = "https://gateway.test/v1/chat/completions"
TOKEN: Final = b"kll_something"


class EdSender:
    """Makes proofs with Ed25519."""

    alg = "EdDSA"

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        x = encode_base64url(self.key.public_key().public_bytes_raw()).decode()
        self.jwk: dict[str, object] = {"kty": "OKP", "crv": "Ed25519", "x": x}

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data)


class EcSender:
    """Makes proofs with P-256."""

    alg = "ES256"

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        self.jwk: dict[str, object] = {
            "kty": "EC",
            "crv": "P-256",
            "x": encode_base64url(numbers.x.to_bytes(32)).decode(),
            "y": encode_base64url(numbers.y.to_bytes(32)).decode(),
        }

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


Sender = EdSender | EcSender


def proof(
    sender: Sender,
    *,
    header: dict[str, object] | None = None,
    without: tuple[str, ...] = (),
    signature: bytes | None = None,
    **claims: object,
) -> str:
    head = {"typ": "dpop+jwt", "alg": sender.alg, "jwk": sender.jwk, **(header or {})}
    body = {
        "jti": "proof-1",
        "htm": "POST",
        "htu": URL,
        "iat": KIT.clock.now() // MICROSECONDS,
        "ath": access_token_hash(TOKEN),
        **claims,
    }
    for name in without:
        body.pop(name, None)
        head.pop(name, None)
    signing_input = b".".join(encode_base64url(json.dumps(part).encode()) for part in (head, body))
    signed = sender.sign(signing_input) if signature is None else signature
    return (signing_input + b"." + encode_base64url(signed)).decode()


def bound(sender: Sender) -> LeaseClaims:
    return KIT.claims(cnf=Confirmation(jkt=thumbprint(sender.jwk)))


def check(
    claims: LeaseClaims,
    header: str | None,
    *,
    checker: SenderProof | None = None,
    url: str = URL,
    method: str = "POST",
) -> None:
    (checker or SenderProof(KIT.clock)).check(
        claims, method=method, url=url, token=TOKEN, dpop_header=header
    )


@pytest.mark.parametrize("kind", [EdSender, EcSender])
def test_the_holder_of_the_key_is_let_through(kind: type[Sender]) -> None:
    sender = kind()
    check(bound(sender), proof(sender))


def test_a_lease_that_is_not_bound_needs_no_proof() -> None:
    check(KIT.claims(), None)


def test_a_bound_lease_without_a_proof_is_refused() -> None:
    for header in (None, "", "x", "a.b.c"):
        with pytest.raises(SenderNotProven):
            check(bound(EdSender()), header)


def test_another_key_proves_nothing() -> None:
    with pytest.raises(SenderNotProven):
        check(bound(EdSender()), proof(EdSender()))


@pytest.mark.parametrize(
    "changes",
    [
        {"htm": "GET"},
        {"htm": "post"},
        {"htu": "https://evil.test/v1/chat/completions"},
        {"htu": "http://gateway.test/v1/chat/completions"},
        {"htu": "https://gateway.test/v1/models"},
        {"htu": "https://gateway.test:444/v1/chat/completions"},
        {"htu": "https://x@gateway.test/v1/chat/completions"},
        {"htu": "nonsense"},
        {"htu": "https://gateway.test:99999/"},
        {"ath": access_token_hash(b"kll_other")},
        {"ath": ""},
        {"without": ("ath",)},
        {"without": ("jti",)},
        {"without": ("iat",)},
        {"without": ("typ",)},
        {"without": ("jwk",)},
        {"without": ("alg",)},
        {"jti": ""},
        {"jti": "x" * 300},
        {"jti": 5},
        {"iat": KIT.clock.now() // MICROSECONDS - 61},
        {"iat": KIT.clock.now() // MICROSECONDS + 61},
        {"iat": "now"},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "none"}, "signature": b""},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "ES384"}},
        {"header": {"crit": ["x"]}},
        {"header": {"jwk": {"kty": "oct", "k": "AAAA"}}},
        {"signature": b""},
        {"signature": b"\0" * 64},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [EdSender, EcSender])
def test_everything_in_a_proof_counts(kind: type[Sender], changes: dict[str, object]) -> None:
    sender = kind()
    with pytest.raises(SenderNotProven):
        check(bound(sender), proof(sender, **changes))  # type: ignore[arg-type]  # wrong on purpose


def test_a_key_with_its_private_part_is_refused() -> None:
    sender = EdSender()
    with pytest.raises(SenderNotProven):
        check(bound(sender), proof(sender, header={"jwk": {**sender.jwk, "d": "AA"}}))


def test_a_public_key_is_not_an_hmac_key() -> None:
    sender = EdSender()
    unsigned = proof(sender, header={"alg": "HS256"}, signature=b"").rstrip(".")
    mac = hmac.digest(sender.key.public_key().public_bytes_raw(), unsigned.encode(), hashlib.sha256)
    with pytest.raises(SenderNotProven):
        check(bound(sender), f"{unsigned}.{encode_base64url(mac).decode()}")


def test_query_fragment_case_and_default_port_do_not_count() -> None:
    sender = EdSender()
    claims = bound(sender)
    check(claims, proof(sender), url=URL + "?stream=1")
    check(claims, proof(sender, htu="HTTPS://Gateway.Test:443/v1/chat/completions#x"))
    check(claims, proof(sender, htu="http://[::1]:4141/v1"), url="http://[::1]:4141/v1")


def test_a_proof_is_good_once() -> None:
    sender = EdSender()
    checker = SenderProof(KIT.clock)
    check(bound(sender), proof(sender), checker=checker)
    with pytest.raises(SenderNotProven, match="used before"):
        check(bound(sender), proof(sender), checker=checker)
    check(bound(sender), proof(sender, jti="proof-2"), checker=checker)


def test_one_sender_cannot_use_up_anothers_identifiers() -> None:
    checker = SenderProof(KIT.clock)
    for sender in (EdSender(), EcSender()):
        check(bound(sender), proof(sender), checker=checker)


def test_a_proof_is_remembered_for_as_long_as_it_could_be_sent_again() -> None:
    kit = LeaseKit()
    sender = EdSender()
    checker = SenderProof(kit.clock)
    ahead = kit.clock.now() // MICROSECONDS + 60
    made = proof(sender, iat=ahead)
    check(bound(sender), made, checker=checker)
    for _ in range(13):
        kit.clock.advance(10)
        with pytest.raises(SenderNotProven):
            check(bound(sender), made, checker=checker)
    assert len(checker._seen) == 1
    check(bound(sender), proof(sender, iat=kit.clock.now() // MICROSECONDS), checker=checker)
    assert len(checker._seen) == 1


def test_a_full_memory_refuses_and_does_not_forget() -> None:
    sender = EdSender()
    checker = SenderProof(KIT.clock, maximum_proofs=2)
    for name in ("1", "2"):
        check(bound(sender), proof(sender, jti=name), checker=checker)
    with pytest.raises(SenderNotProven, match="Too many"):
        check(bound(sender), proof(sender, jti="3"), checker=checker)
    with pytest.raises(SenderNotProven, match="used before"):
        check(bound(sender), proof(sender, jti="1"), checker=checker)


def test_whoever_has_the_lease_and_not_its_key_fills_no_memory() -> None:
    sender, thief = EdSender(), EdSender()
    checker = SenderProof(KIT.clock, maximum_proofs=2)
    for name in ("1", "2", "3"):
        with pytest.raises(SenderNotProven, match="another key"):
            check(bound(sender), proof(thief, jti=name), checker=checker)
    check(bound(sender), proof(sender), checker=checker)


def test_a_proof_made_for_another_server_is_not_good_here() -> None:
    """The caller chooses the Host header, so the gateway's own names decide."""
    sender = EdSender()
    checker = SenderProof(KIT.clock, origins=["https://gateway.test"])
    check(bound(sender), proof(sender), checker=checker)
    for evil in ("https://evil.test/v1", "https://gateway.test.evil.test/v1"):
        with pytest.raises(SenderNotProven):
            check(bound(sender), proof(sender, htu=evil), checker=checker, url=evil)


def test_a_new_lease_is_bound_to_the_key_that_was_proven() -> None:
    sender = EcSender()
    made = proof(sender, without=("ath",))
    checker = SenderProof(KIT.clock)
    assert checker.thumbprint(made, method="POST", url=URL) == thumbprint(sender.jwk)
    with pytest.raises(SenderNotProven):
        checker.thumbprint(made, method="POST", url=URL)
