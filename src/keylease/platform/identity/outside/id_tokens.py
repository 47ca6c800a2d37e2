"""Checks ID tokens (OpenID Connect Core 1.0 section 3.1.3.7).

Protects: against tokens of another issuer, for another client, for another sign-in (nonce), forged,
    expired, or of another kind that the same issuer signed.
Does not protect: against an issuer that says what is not true.
Limits: a clock may be a minute off. Encrypted tokens are not read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.errors import SignatureInvalid, SignInRefused, TokenExchangeRefused
from keylease.platform.identity.one_time import same
from keylease.primitives import foreign_signatures
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.openid_issuer import IssuerKeys
from keylease.primitives.signatures import read_json_object, split_compact

MAXIMUM_BYTES: Final = 32 * 1024
SKEW: Final = 60
"""Seconds."""
OLDEST: Final = 600
"""Seconds since the token was made: it was fetched a moment ago."""
_TYPES: Final = ("", "jwt", "application/jwt")
_ALGORITHMS: Final = frozenset(foreign_signatures.ALGORITHMS)
_LONGEST_SUBJECT: Final = 255


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the token has to be for."""

    issuer: str
    client_id: str
    nonce: str


class IdToken(msgspec.Struct, frozen=True):
    """A token that was checked."""

    subject: str
    claims: dict[str, object]


async def check(token: str, keys: IssuerKeys, expected: Expected, *, clock: Clock) -> IdToken:
    """Check all of it; raises ``SignInRefused``, or ``IssuerUnavailable``."""
    try:
        # 1. Take it apart; nothing in it is believed yet.
        jws = split_compact(token.encode(), maximum_bytes=MAXIMUM_BYTES)
        if jws.header_text("typ").lower() not in _TYPES:
            raise _refused("is of another kind")
        algorithm = jws.header_text("alg")
        kid = jws.header_text("kid") if "kid" in jws.unverified_header else None
        if algorithm not in _ALGORITHMS:
            raise _refused("is signed with an algorithm that is not accepted")
        # 2. The signature, with a key of this issuer that fits the algorithm.
        key = await keys.find(kid=kid, algorithm=algorithm)
        claims = read_json_object(foreign_signatures.verify(jws, key, algorithms=_ALGORITHMS))
    except SignatureInvalid as error:
        raise _refused("is not signed as it must be") from error
    except TokenExchangeRefused as error:
        if error.http_status == _UNAVAILABLE:
            raise
        raise _refused("names a key that the issuer does not publish") from error
    # 3. For whom it is.
    if claims.get("iss") != expected.issuer:
        raise _refused("is of another issuer")
    _check_audience(claims, expected.client_id)
    # 4. For this sign-in, and now.
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not same(nonce, expected.nonce):
        raise _refused("belongs to another sign-in")
    _check_times(claims, clock.now() / MICROSECONDS)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise _refused("names nobody")
    return IdToken(subject, claims)


_UNAVAILABLE: Final = 503


def _check_audience(claims: dict[str, object], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    authorized = claims.get("azp")
    if client_id not in audiences:
        raise _refused("is for another client")
    if authorized is not None and authorized != client_id:
        raise _refused("was made for another client")
    if len(audiences) > 1 and authorized is None:
        raise _refused("is for several clients and does not say which one asked")


def _check_times(claims: dict[str, object], now: float) -> None:
    expires_at, issued_at = (_moment(claims, name) for name in ("exp", "iat"))
    not_before = _moment(claims, "nbf") if "nbf" in claims else now
    if expires_at <= now - SKEW:
        raise _refused("has expired")
    if max(issued_at, not_before) > now + SKEW:
        raise _refused("is from the future: compare the clocks")
    if issued_at < now - OLDEST:
        raise _refused("was made too long ago")


def _moment(claims: dict[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise _refused(f"has no {name}")
    return value


def _refused(what: str) -> SignInRefused:
    return SignInRefused(
        f"The issuer's token {what}.", advice="Begin the sign-in again; tell an owner if it stays."
    )
