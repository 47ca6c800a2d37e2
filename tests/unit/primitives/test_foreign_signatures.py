"""Which key may verify what."""

from __future__ import annotations

import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey

from keylease.errors import SignatureInvalid
from keylease.primitives import foreign_signatures
from keylease.primitives.signatures import encode_base64url, split_compact

P256, P384 = ECKey.generate_key("P-256"), ECKey.generate_key("P-384")
ED25519 = OKPKey.generate_key("Ed25519")
ED448 = OKPKey.generate_key("Ed448")


def public(key: Key) -> dict[str, object]:
    return dict(key.as_dict(private=False))


def token(key: Key, algorithm: str, model: str) -> bytes:
    signed = encode_base64url(json.dumps({"alg": algorithm}).encode()) + b".e30"
    signature = jws.JWSRegistry.algorithms[model].sign(signed, key)
    return signed + b"." + encode_base64url(signature)


@pytest.mark.parametrize(
    ("key", "algorithm", "model"),
    [
        (P256, "ES256", "ES256"),
        (P384, "ES384", "ES384"),
        (ED25519, "EdDSA", "Ed25519"),
        (ED25519, "Ed25519", "Ed25519"),
    ],
    ids=["ES256", "ES384", "EdDSA", "Ed25519"],
)
def test_a_key_verifies_its_own_algorithm_and_no_other(
    key: Key, algorithm: str, model: str
) -> None:
    made = split_compact(token(key, algorithm, model), maximum_bytes=1000)
    assert (
        foreign_signatures.verify(made, public(key), algorithms=foreign_signatures.ALGORITHMS)
        == b"{}"
    )
    with pytest.raises(SignatureInvalid, match="not accepted"):
        foreign_signatures.verify(made, public(key), algorithms=())
    for changes in (
        {"use": "enc"},
        {"use": ["sig"]},
        {"alg": "RS256"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"crv": "P-521"},
        {"kty": "RSA"},
        {"kty": "oct"},
    ):
        with pytest.raises(SignatureInvalid, match="not one for"):
            foreign_signatures.verify(
                made, {**public(key), **changes}, algorithms=foreign_signatures.ALGORITHMS
            )


def test_ed448_is_not_eddsa_here() -> None:
    made = split_compact(token(ED448, "EdDSA", "Ed448"), maximum_bytes=1000)
    with pytest.raises(SignatureInvalid):
        foreign_signatures.verify(made, public(ED448), algorithms=foreign_signatures.ALGORITHMS)


def test_no_symmetric_algorithm_can_be_allowed() -> None:
    made = split_compact(token(P256, "HS256", "ES256"), maximum_bytes=1000)
    for algorithm in ("HS256", "none"):
        with pytest.raises(SignatureInvalid):
            foreign_signatures.verify(made, public(P256), algorithms=(algorithm,))
    assert not any(
        name.startswith("HS") or name == "none" for name in foreign_signatures.ALGORITHMS
    )


@pytest.mark.parametrize(
    "changes", [{"x": 5}, {"x": "A"}, {"x": "AAAA"}, {"y": None}, {"x": "+" * 43}], ids=str
)
def test_a_key_that_cannot_be_read_is_refused(changes: dict[str, object]) -> None:
    made = split_compact(token(P256, "ES256", "ES256"), maximum_bytes=1000)
    with pytest.raises(SignatureInvalid):
        foreign_signatures.verify(
            made, {**public(P256), **changes}, algorithms=foreign_signatures.ALGORITHMS
        )
