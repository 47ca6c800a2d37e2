"""The keys that sign leases.

Protects: the private keys live in a ``Secret`` until the moment of use and leave it only to be
    sealed; the public set holds no private member.
Does not protect: against a reader of the coordinator's memory; whoever has the key issues leases.
Limits: the key objects of the cryptography library hold their own copy, which cannot be wiped.

These keys sign leases and nothing else; no encryption key is derived from or shared with them.
Stored form: a JWK set (RFC 7517) with two members of our own, ``created_at`` and ``retired_at``,
both in microseconds. The first key is the one that signs; the others only verify, until the longest
lease they may have signed has expired.
"""

from __future__ import annotations

from typing import Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.errors import SecretInvalid, SignatureInvalid
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import (
    decode_base64url,
    ed25519_jwk,
    encode_base64url,
    read_json_object,
    sign_ed25519,
)
from keylease.strongroom.secrets import Secret

MAXIMUM_KEYS: Final = 8
_MAXIMUM_BYTES: Final = 16 * 1024
_VERIFIES_FOR: Final = (LONGEST_LIFETIME + 60) * MICROSECONDS
"""How long a retired key still verifies: the longest lease and the allowed skew of clocks."""
_SEED_BYTES: Final = 32


class _StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    kty: str
    crv: str
    kid: str
    x: str
    d: str
    created_at: int
    retired_at: int = 0


class _Key:
    __slots__ = ("created_at", "private", "public_jwk", "retired_at")

    def __init__(self, private: Ed25519PrivateKey, *, created_at: int, retired_at: int) -> None:
        self.private = private
        self.public_jwk = ed25519_jwk(private.public_key())
        self.created_at = created_at
        self.retired_at = retired_at
        """0 for the key that signs."""

    @property
    def kid(self) -> str:
        return str(self.public_jwk["kid"])

    def __repr__(self) -> str:
        return f"_Key(kid={self.kid!r})"


class SigningKeys:
    """One key that signs and the earlier ones that still verify. Immutable."""

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        """Use ``generate`` or ``from_secret``."""
        self._keys = keys

    @classmethod
    def generate(cls, now: int) -> Self:
        """Make a first key; ``now`` is in microseconds."""
        return cls((_Key(Ed25519PrivateKey.generate(), created_at=now, retired_at=0),))

    @classmethod
    def from_secret(cls, secret: Secret) -> Self:
        """Read the stored form; raises ``SecretInvalid``."""
        try:
            keys = _read_set(secret.reveal(why="read the lease signing keys"))
        except (SignatureInvalid, msgspec.ValidationError) as error:
            raise SecretInvalid(
                "The lease signing keys are not in the form that Keylease writes.",
                advice="Let the gateway make them: use a sealed:// reference as signing_key, or"
                " copy the value from there unchanged.",
            ) from error
        return cls(keys)

    def to_secret(self) -> Secret:
        """The stored form, private parts included."""
        keys = [
            _StoredKey(
                kty="OKP",
                crv="Ed25519",
                kid=key.kid,
                x=str(key.public_jwk["x"]),
                d=encode_base64url(key.private.private_bytes_raw()).decode(),
                created_at=key.created_at,
                retired_at=key.retired_at,
            )
            for key in self._keys
        ]
        return Secret(msgspec.json.encode({"keys": keys}))

    def rotate(self, now: int) -> Self:
        """A new key signs from now on; earlier ones verify until their leases have expired."""
        current, *earlier = self._unexpired(now)
        if len(earlier) + 2 > MAXIMUM_KEYS:
            raise SecretInvalid(
                f"The lease signing keys were rotated {MAXIMUM_KEYS} times within a day.",
                advice="Wait until the leases of the oldest key have expired.",
            )
        retired = _Key(current.private, created_at=current.created_at, retired_at=now)
        fresh = _Key(Ed25519PrivateKey.generate(), created_at=now, retired_at=0)
        return type(self)((fresh, retired, *earlier))

    def without_expired(self, now: int) -> Self:
        """Earlier keys whose leases have all expired verify no more: nobody needs them to."""
        return type(self)(self._unexpired(now))

    def _unexpired(self, now: int) -> tuple[_Key, ...]:
        current, *earlier = self._keys
        return (current, *(key for key in earlier if now - key.retired_at < _VERIFIES_FOR))

    def discard_earlier(self) -> Self:
        """Only the key that signs remains: every lease of an earlier key is dead at once."""
        return type(self)(self._keys[:1])

    def public_jwks(self) -> bytes:
        """The public keys as a JWK set, the one that signs first."""
        return msgspec.json.encode({"keys": [key.public_jwk for key in self._keys]})

    def public_keys(self) -> dict[str, Ed25519PublicKey]:
        """The public keys by key id."""
        return {key.kid: key.private.public_key() for key in self._keys}

    @property
    def kid(self) -> str:
        """The key id of the key that signs: its RFC 7638 thumbprint."""
        return self._keys[0].kid

    @property
    def created_at(self) -> int:
        """When the key that signs was made, in microseconds."""
        return self._keys[0].created_at

    def sign(self, payload: bytes, *, typ: str) -> bytes:
        """A compact JWS over ``payload``, made with the current key."""
        current = self._keys[0]
        return sign_ed25519(
            current.private, header={"kid": current.kid, "typ": typ}, payload=payload
        )

    def __repr__(self) -> str:
        return f"SigningKeys(kid={self.kid!r}, keys={len(self._keys)})"


def _read(stored: _StoredKey) -> _Key:
    seed = decode_base64url(stored.d.encode())
    if stored.kty != "OKP" or stored.crv != "Ed25519" or len(seed) != _SEED_BYTES:
        raise SignatureInvalid("The key is not an Ed25519 key.")
    key = _Key(
        Ed25519PrivateKey.from_private_bytes(seed),
        created_at=stored.created_at,
        retired_at=stored.retired_at,
    )
    if key.kid != stored.kid or key.public_jwk["x"] != stored.x:
        raise SignatureInvalid("The key's public and private part do not belong together.")
    return key


def _read_set(data: bytes) -> tuple[_Key, ...]:
    if len(data) > _MAXIMUM_BYTES:
        raise SignatureInvalid("The key set is too long.")
    stored = msgspec.convert(read_json_object(data).get("keys"), list[_StoredKey])
    keys = tuple(_read(key) for key in stored)
    if not 0 < len(keys) <= MAXIMUM_KEYS:
        raise SignatureInvalid("The key set is empty or too large.")
    if len({key.kid for key in keys}) != len(keys):
        raise SignatureInvalid("The key set holds a key twice.")
    if keys[0].retired_at != 0 or any(key.retired_at == 0 for key in keys[1:]):
        raise SignatureInvalid("The first key of the set signs, and only the first.")
    return keys
