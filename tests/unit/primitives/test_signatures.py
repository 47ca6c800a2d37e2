from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import SignatureInvalid
from keylease.primitives.signatures import (
    decode_base64url,
    ed25519_jwk,
    encode_base64url,
    read_ed25519_jwk,
    read_json_object,
    sign_ed25519,
    split_compact,
    thumbprint,
    verify_ed25519,
)


@given(st.binary(max_size=100))
def test_base64url_goes_both_ways(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.binary(max_size=12))
def test_every_text_that_decodes_is_the_only_one_for_its_bytes(text: bytes) -> None:
    try:
        data = decode_base64url(text)
    except SignatureInvalid:
        return
    assert encode_base64url(data) == text


@pytest.mark.parametrize(
    "text", [b"QQ==", b"QR", b"Q", b"QUI+", b"QUI/", b"QU I", b"QQ\n", b"\xff"], ids=repr
)
def test_base64url_is_strict(text: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        decode_base64url(text)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"[]",
        b"1",
        b"",
        b"{} {}",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"1" * 10_000 + b"}",
    ],
)
def test_ambiguous_or_foreign_json_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        read_json_object(data)


def test_a_signature_verifies_with_its_key_only() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    token = sign_ed25519(key, header={"kid": "k"}, payload=b'{"a":1}')
    jws = split_compact(token, maximum_bytes=1000)
    assert verify_ed25519(key.public_key(), jws) == b'{"a":1}'
    with pytest.raises(SignatureInvalid):
        verify_ed25519(other.public_key(), jws)


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "RS256", "ES256", "eddsa", "", 1, None], ids=repr
)
def test_no_other_algorithm_than_eddsa(alg: object) -> None:
    key = Ed25519PrivateKey.generate()
    head = encode_base64url(json.dumps({"alg": alg}).encode())
    signing_input = head + b"." + encode_base64url(b"{}")
    for signature in (key.sign(signing_input), b""):
        jws = split_compact(signing_input + b"." + encode_base64url(signature), maximum_bytes=1000)
        with pytest.raises(SignatureInvalid):
            verify_ed25519(key.public_key(), jws)


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}])
def test_extensions_are_refused(header: dict[str, object]) -> None:
    head = encode_base64url(json.dumps({"alg": "EdDSA", **header}).encode())
    with pytest.raises(SignatureInvalid):
        split_compact(head + b".e30.", maximum_bytes=1000)


@pytest.mark.parametrize("token", [b"", b"a", b"a.b", b"e30.e30.e30.e30", b"..", b"e30..\n"])
def test_what_has_not_three_parts_is_refused(token: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        split_compact(token, maximum_bytes=1000)


def test_size_is_bounded_before_anything_is_read() -> None:
    with pytest.raises(SignatureInvalid, match="too long"):
        split_compact(b"e30." * 1000, maximum_bytes=100)


def test_thumbprint_of_rfc_8037_appendix_a() -> None:
    jwk: dict[str, object] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_thumbprint_of_rfc_7638_ignores_other_members() -> None:
    jwk: dict[str, object] = {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}
    assert thumbprint(jwk) == thumbprint({**jwk, "kid": "1", "alg": "ES256"})


@pytest.mark.parametrize("jwk", [{}, {"kty": "oct", "k": "a"}, {"kty": "OKP", "crv": "Ed25519"}])
def test_a_key_without_its_members_has_no_thumbprint(jwk: dict[str, object]) -> None:
    with pytest.raises(SignatureInvalid):
        thumbprint(jwk)


def test_a_public_key_set_with_a_private_key_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    jwk = ed25519_jwk(key.public_key())
    assert read_ed25519_jwk(jwk).public_bytes_raw() == key.public_key().public_bytes_raw()
    for bad in ({**jwk, "d": "AA"}, {**jwk, "x": "AA"}, {**jwk, "crv": "Ed448"}, {**jwk, "x": 1}):
        with pytest.raises(SignatureInvalid):
            read_ed25519_jwk(bad)
