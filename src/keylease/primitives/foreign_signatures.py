"""Signatures of foreign tokens: the caller's allow-list of algorithms, and keys that fit them.

Protects: against ``none``, HMAC with a public key as its secret, and a key used with an algorithm
    it was not made for. Every algorithm names the one key type and curve it takes.
Does not protect: claims, and whose key it is, are the caller's.
Limits: RSA keys from 2048 to 8192 bits; ES256K, ES512 and Ed448 are not accepted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from keylease.errors import SignatureInvalid
from keylease.primitives.signatures import UnverifiedJws, decode_base64url

_SMALLEST_RSA: Final = 2048
_LARGEST_RSA: Final = 8192


class _Algorithm(msgspec.Struct, frozen=True):
    kty: str
    crv: str
    name: str
    """In joserfc's registry; EdDSA is registered there under its newer, exact name (RFC 9864)."""


_KNOWN: Final = {
    **{name: _Algorithm("RSA", "", name) for name in ("RS256", "RS384", "RS512")},
    **{name: _Algorithm("RSA", "", name) for name in ("PS256", "PS384", "PS512")},
    "ES256": _Algorithm("EC", "P-256", "ES256"),
    "ES384": _Algorithm("EC", "P-384", "ES384"),
    "EdDSA": _Algorithm("OKP", "Ed25519", "Ed25519"),
    "Ed25519": _Algorithm("OKP", "Ed25519", "Ed25519"),
}
ALGORITHMS: Final = tuple(_KNOWN)
"""Everything that may be allowed; asymmetric only."""


def fits(jwk: dict[str, object], algorithm: str) -> bool:
    """Whether a public key may verify signatures of this algorithm (RFC 7517 sections 4.1-4.4)."""
    known = _KNOWN.get(algorithm)
    if known is None or jwk.get("kty") != known.kty or jwk.get("crv", "") != known.crv:
        return False
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and jwk.get("alg", algorithm) in (algorithm, known.name)
    )


def verify(jws: UnverifiedJws, jwk: dict[str, object], *, algorithms: Collection[str]) -> bytes:
    """Check the signature with this key and return the payload; raises ``SignatureInvalid``."""
    algorithm = jws.header_text("alg")
    if algorithm not in algorithms or algorithm not in _KNOWN:
        raise SignatureInvalid("The token is signed with an algorithm that is not accepted.")
    if not fits(jwk, algorithm):
        raise SignatureInvalid("The key is not one for the token's algorithm.")
    key = _read(jwk)
    model = JWSRegistry.algorithms[_KNOWN[algorithm].name]
    try:
        model.check_key(key)
        good = model.verify(jws.signing_input, jws.signature, key)
    except (JoseError, ValueError) as error:
        raise SignatureInvalid("The token's signature cannot be checked.") from error
    if not good:
        raise SignatureInvalid("The token's signature does not hold.")
    return jws.unverified_payload


def _read(jwk: dict[str, object]) -> RSAKey | ECKey | OKPKey:
    members = {name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    if not all(isinstance(value, str) for value in members.values()):
        raise SignatureInvalid("The key has a member that is not a string.")
    texts: dict[str, str | list[str]] = {name: str(value) for name, value in members.items()}
    if "n" in members:
        size = int.from_bytes(decode_base64url(str(members["n"]).encode())).bit_length()
        if not _SMALLEST_RSA <= size <= _LARGEST_RSA:
            raise SignatureInvalid("The RSA key is too small or too large.")
    try:
        return _import(texts)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise SignatureInvalid("The key cannot be read.") from error


def _import(texts: dict[str, str | list[str]]) -> RSAKey | ECKey | OKPKey:
    match texts["kty"]:
        case "RSA":
            return RSAKey.import_key(texts)
        case "EC":
            return ECKey.import_key(texts)
        case _:
            return OKPKey.import_key(texts)
