"""Verify leases, once, and remember the result.

Protects: against leases that were tampered with, expired, issued by another gateway group or for
    another audience, or written so that two readers could differ.
Does not protect: revocation (``revocation.RevocationList``) and the sender's proof
    (``sender_proof.SenderProof``) are separate checks that the caller makes on every request.
Limits: an expired lease is remembered as expired, so that setting the clock back does not revive
    it; that memory holds ``cache_size`` leases and ends with the process.

A hit in the cache costs one look-up, and one SHA-256 per ``PresentedToken``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keylease.contracts.leases import (
    GATEWAY_AUDIENCE,
    LEASE_PREFIX,
    LEASE_TYPE,
    LONGEST_LIFETIME,
    LeaseClaims,
)
from keylease.errors import (
    LeaseExpired,
    LeaseForeign,
    LeaseMalformed,
    LeaseNotYetValid,
    SignatureInvalid,
)
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.signatures import (
    UnverifiedJws,
    read_ed25519_jwk,
    read_json_object,
    split_compact,
    verify_ed25519,
)

MAXIMUM_TOKEN_BYTES: Final = 8 * 1024
CLOCK_SKEW: Final = 60
"""Seconds that an issuer's clock may be ahead of ours."""
_PREFIX: Final = LEASE_PREFIX.encode()
_HEADER_MEMBERS: Final = {"alg", "kid", "typ"}
_GET_NEW: Final = "Get a new lease; `keylease run` and the SDK's lease source renew by themselves."


def read_public_keys(jwks: bytes) -> dict[str, Ed25519PublicKey]:
    """Read the JWK set of our own signing keys; raises ``SignatureInvalid``."""
    keys = read_json_object(jwks).get("keys")
    if not isinstance(keys, list):
        raise SignatureInvalid("The key set has no list of keys.")
    found: dict[str, Ed25519PublicKey] = {}
    for jwk in keys:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if not isinstance(kid, str) or not kid or kid in found:
            raise SignatureInvalid("The key set holds a key without a name of its own.")
        found[kid] = read_ed25519_jwk(jwk)
    return found


class PresentedToken:
    """What a caller sent, with its digest: a head that comes again is hashed once."""

    __slots__ = ("digest", "secret_bytes")

    def __init__(self, token: bytes) -> None:
        self.secret_bytes: Final = token
        self.digest: Final = hashlib.sha256(token).digest()


class _Entry:
    __slots__ = ("claims", "deadline", "kid")

    def __init__(self, claims: LeaseClaims, kid: str, deadline: float) -> None:
        self.claims = claims
        self.kid = kid
        self.deadline = deadline


class LeaseVerifier:
    """Turns tokens into claims, or raises. Holds public keys only."""

    def __init__(
        self,
        keys: bytes | Mapping[str, Ed25519PublicKey],
        *,
        issuer: str,
        clock: Clock,
        cache_size: int = 10_000,
        maximum_lifetime: int = LONGEST_LIFETIME,
    ) -> None:
        """``keys`` is our JWK set or what ``read_public_keys`` made of it.

        ``issuer`` is the gateway group; ``maximum_lifetime`` is in seconds.
        """
        self._keys = read_public_keys(keys) if isinstance(keys, bytes) else dict(keys)
        self._issuer = issuer
        self._clock = clock
        self._monotonic = clock.monotonic
        self._cache_size = cache_size
        self._maximum_lifetime = maximum_lifetime
        self._cache: OrderedDict[bytes, _Entry] = OrderedDict()

    def verify(self, token: bytes) -> LeaseClaims:
        """As ``verify_presented``, for who has the token only."""
        return self.verify_presented(PresentedToken(token))

    def verify_presented(self, token: PresentedToken) -> LeaseClaims:
        """The claims of a good lease.

        Raises ``LeaseMalformed``, ``LeaseExpired``, ``LeaseNotYetValid`` or ``LeaseForeign``.
        Failures are not remembered, so they neither fill the cache nor outlive a key change.
        """
        digest = token.digest
        entry = self._cache.get(digest)
        if entry is not None:
            if entry.deadline > self._monotonic():
                self._cache.move_to_end(digest)
                return entry.claims
            raise LeaseExpired("The lease has expired.", advice=_GET_NEW)
        claims, kid = self._verify_afresh(token.secret_bytes)
        remaining = claims.exp - self._clock.now() / MICROSECONDS
        self._cache[digest] = _Entry(claims, kid, self._monotonic() + remaining)
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return claims

    def replace_keys(self, keys: bytes | Mapping[str, Ed25519PublicKey]) -> None:
        """Verify with these keys from now on; leases of keys that are gone are forgotten."""
        self._keys = read_public_keys(keys) if isinstance(keys, bytes) else dict(keys)
        gone = [digest for digest, entry in self._cache.items() if entry.kid not in self._keys]
        for digest in gone:
            del self._cache[digest]

    def _verify_afresh(self, token: bytes) -> tuple[LeaseClaims, str]:
        # 1. The form, and a header that says exactly what ours say.
        if not token.startswith(_PREFIX):
            raise LeaseMalformed(
                "This is not a lease.",
                advice=f"Send a lease ({LEASE_PREFIX}...) in the place of the API key.",
            )
        try:
            jws = split_compact(token[len(_PREFIX) :], maximum_bytes=MAXIMUM_TOKEN_BYTES)
            kid = self._checked_kid(jws)
            # 2. The signature, with a key that we chose by its name alone.
            payload = verify_ed25519(self._keys[kid], jws)
            # 3. The claims, with exact types.
            claims = msgspec.convert(read_json_object(payload), LeaseClaims)
        except (SignatureInvalid, msgspec.ValidationError) as error:
            raise LeaseMalformed(
                "The lease is malformed or was changed.", advice="Send it whole. " + _GET_NEW
            ) from error
        self._check_claims(claims)
        return claims, kid

    def _checked_kid(self, jws: UnverifiedJws) -> str:
        header = jws.unverified_header
        if header.keys() != _HEADER_MEMBERS or header["typ"] != LEASE_TYPE:
            raise SignatureInvalid("The header is not that of a lease.")
        kid = jws.header_text("kid")
        if kid not in self._keys:
            raise LeaseForeign(
                "The lease was signed by a key that this gateway does not know.",
                advice="Leases are good at the gateway group that issued them. " + _GET_NEW,
            )
        return kid

    def _check_claims(self, claims: LeaseClaims) -> None:
        if claims.iss != self._issuer or claims.aud != GATEWAY_AUDIENCE:
            raise LeaseForeign("The lease was issued by or for somebody else.", advice=_GET_NEW)
        if claims.exp - claims.iat > self._maximum_lifetime:
            raise LeaseForeign(
                "The lease was issued for longer than this gateway allows.", advice=_GET_NEW
            )
        now = self._clock.now()
        if claims.iat * MICROSECONDS > now + CLOCK_SKEW * MICROSECONDS:
            raise LeaseNotYetValid(
                "The lease was issued in the future.",
                advice="Compare the clocks of the machine that issued it and of this gateway.",
            )
        if claims.exp * MICROSECONDS <= now:
            raise LeaseExpired("The lease has expired.", advice=_GET_NEW)
