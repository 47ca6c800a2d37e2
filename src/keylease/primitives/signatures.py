"""Compact JSON Web Signatures (RFC 7515) with Ed25519 (RFC 8037), read strictly.

Protects: against tokens that can be read in two ways (base64url with stray bits, duplicate JSON
    members, other encodings), against unbounded input, and against a header that chooses how it is
    verified: the caller names the key, and Ed25519 is the only algorithm of ``verify_ed25519``.
Does not protect: it says nothing about claims. Expiry, issuer and audience are the caller's.
Limits: ``split_compact`` verifies nothing; what it returns is unverified until a signature check
    of the same object has passed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Final, NoReturn

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keylease.errors import SignatureInvalid

_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")
_COMPACT_PARTS: Final = 3
_ED25519_BYTES: Final = 32
_THUMBPRINT_MEMBERS: Final = {
    "OKP": ("crv", "kty", "x"),
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
}
"""The required members of each key type, in the order RFC 7638 hashes them."""


class UnverifiedJws(msgspec.Struct, frozen=True):
    """A token that was taken apart; nothing in it has been verified."""

    unverified_header: dict[str, object]
    unverified_payload: bytes
    signing_input: bytes
    signature: bytes

    def header_text(self, name: str) -> str:
        """A header parameter that must be a string; empty when absent."""
        value = self.unverified_header.get(name, "")
        if not isinstance(value, str):
            raise SignatureInvalid(f"The token's {name} header is not a string.")
        return value


def encode_base64url(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def decode_base64url(text: bytes) -> bytes:
    """Read base64url; refuses padding, foreign characters and non-zero stray bits."""
    if not _BASE64URL.fullmatch(text):
        raise SignatureInvalid("The token is not base64url.")
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise SignatureInvalid("The token is not base64url.") from error
    if encode_base64url(data) != text:
        raise SignatureInvalid("The token is not in canonical base64url.")
    return data


def read_json_object(data: bytes) -> dict[str, object]:
    """Read one JSON object in UTF-8; refuses duplicate members at any depth, NaN and the like."""
    try:
        value: object = json.loads(
            data.decode(), object_pairs_hook=_unique_members, parse_constant=_no_constant
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SignatureInvalid("The token holds something that is not JSON.") from error
    if not isinstance(value, dict):
        raise SignatureInvalid("The token holds JSON that is not an object.")
    return value


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise SignatureInvalid("The token holds a JSON object with a member named twice.")
    return members


def _no_constant(name: str) -> NoReturn:
    raise SignatureInvalid(f"The token holds {name}, which is not JSON.")


def split_compact(token: bytes, *, maximum_bytes: int) -> UnverifiedJws:
    """Take a compact JWS apart. ``crit`` and ``b64`` are refused: we understand no extension."""
    if len(token) > maximum_bytes:
        raise SignatureInvalid("The token is too long.")
    parts = token.split(b".")
    if len(parts) != _COMPACT_PARTS:
        raise SignatureInvalid("The token does not have three parts.")
    header = read_json_object(decode_base64url(parts[0]))
    if "crit" in header or "b64" in header:
        raise SignatureInvalid("The token's header demands an extension that is not supported.")
    return UnverifiedJws(
        unverified_header=header,
        unverified_payload=decode_base64url(parts[1]),
        signing_input=parts[0] + b"." + parts[1],
        signature=decode_base64url(parts[2]),
    )


def sign_ed25519(key: Ed25519PrivateKey, *, header: dict[str, str], payload: bytes) -> bytes:
    """Make a compact JWS; ``alg`` is set here."""
    head = json.dumps({"alg": "EdDSA", **header}, separators=(",", ":"), sort_keys=True).encode()
    signing_input = encode_base64url(head) + b"." + encode_base64url(payload)
    return signing_input + b"." + encode_base64url(key.sign(signing_input))


def verify_ed25519(key: Ed25519PublicKey, token: UnverifiedJws) -> bytes:
    """Check the signature and return the payload; the header must say ``alg: EdDSA``."""
    if token.unverified_header.get("alg") != "EdDSA":
        raise SignatureInvalid("The token's algorithm is not EdDSA.")
    try:
        key.verify(token.signature, token.signing_input)
    except InvalidSignature as error:
        raise SignatureInvalid("The token's signature does not hold.") from error
    return token.unverified_payload


def thumbprint(jwk: dict[str, object]) -> str:
    """The JWK thumbprint with SHA-256 (RFC 7638), base64url."""
    members = _THUMBPRINT_MEMBERS.get(str(jwk.get("kty")))
    if members is None or not all(isinstance(jwk.get(name), str) for name in members):
        raise SignatureInvalid("The key is of no type that can be named by a thumbprint.")
    canonical = json.dumps(
        {name: jwk[name] for name in members},
        separators=(",", ":"),
        sort_keys=True,
        ensure_ascii=False,
    )
    return encode_base64url(hashlib.sha256(canonical.encode()).digest()).decode()


def ed25519_jwk(key: Ed25519PublicKey) -> dict[str, object]:
    """The public key as a JWK with ``kid``, ``alg`` and ``use`` (RFC 8037)."""
    jwk: dict[str, object] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": encode_base64url(key.public_bytes_raw()).decode(),
    }
    return {**jwk, "kid": thumbprint(jwk), "alg": "EdDSA", "use": "sig"}


def read_ed25519_jwk(jwk: dict[str, object]) -> Ed25519PublicKey:
    """Read a public Ed25519 JWK; a key that also holds its private part is refused."""
    x = jwk.get("x")
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(x, str):
        raise SignatureInvalid("The key is not an Ed25519 key.")
    if "d" in jwk:
        raise SignatureInvalid("The key set holds a private key.")
    raw = decode_base64url(x.encode())
    if len(raw) != _ED25519_BYTES:
        raise SignatureInvalid("The Ed25519 key is not 32 bytes long.")
    return Ed25519PublicKey.from_public_bytes(raw)
