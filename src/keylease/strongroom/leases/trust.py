"""Verify a subject token: is it from a trusted issuer, in time, and does a trust rule admit it?

Protects: against tokens of issuers that gateway.toml or the policy does not name, forged ones,
    expired ones, ones from the future, ones for another audience, and tokens of another kind that
    the same issuer signed (access tokens, logout tokens, DPoP proofs).
Does not protect: replay is prevented by ``replay.ReplayCache``, which the exchange asks once it
    knows that a lease will be issued.
Limits: no leeway for expiry, because a lease never outlives its subject token; 60 seconds for the
    other times. Results are not cached.

``contracts.policy.TrustRule`` says what a rule is, ``rules`` what it matches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.contracts.policy import TrustRule
from keylease.errors import SignatureInvalid, TokenExchangeRefused
from keylease.primitives import foreign_signatures
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.signatures import UnverifiedJws, read_json_object, split_compact
from keylease.strongroom.leases import rules
from keylease.strongroom.leases.issuers import IssuerDirectory

MAXIMUM_TOKEN_BYTES: Final = 16 * 1024
CLOCK_SKEW: Final = 60
"""Seconds that an issuer's clock may be ahead of ours."""
ALGORITHMS: Final = frozenset(foreign_signatures.ALGORITHMS)
_TYPES: Final = ("", "jwt", "jose", "application/jwt")
"""``typ`` of identity tokens. Others (``at+jwt``, ``logout+jwt``, ...) mean something else, and
RFC 8725 section 3.11 has them refused."""


class AdmittedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject token that one trust rule admits."""

    rule: TrustRule
    principal: str
    issuer: str
    expires_at: int
    """Of the subject token; whole seconds since 1970, rounded down."""
    jti: str
    """Empty when the token has none."""
    project: str = ""
    """That leases of this subject are counted under."""


class SubjectVerifier:
    """Verifies subject tokens. One per coordinator."""

    def __init__(self, issuers: IssuerDirectory, *, clock: Clock) -> None:
        self._issuers = issuers
        self._clock = clock

    async def verify(self, token: bytes, trust_rules: Iterable[TrustRule]) -> list[AdmittedSubject]:
        """Who the token stands for by each rule that admits it, in the order of the rules.

        Never empty: raises ``TokenExchangeRefused`` when no rule admits it, and
        ``IssuerUnavailable`` when the issuer's keys cannot be had.
        """
        # 1. Take it apart; nothing in it is believed yet.
        try:
            jws = split_compact(token, maximum_bytes=MAXIMUM_TOKEN_BYTES)
            unverified_issuer, algorithm, kid = _unverified_look(jws)
        except SignatureInvalid as error:
            raise _refused("The subject token is not a well-formed JWT.") from error
        # 2. The issuer has to be named twice: by a rule, and by gateway.toml.
        # A rule that the policy check would refuse admits nobody, whoever wrote it.
        candidates = [
            rule
            for rule in trust_rules
            if rule.issuer == unverified_issuer and not rules.check_rule(rule)
        ]
        if not candidates:
            raise _refused("No usable trust rule names the subject token's issuer.")
        issuer = self._issuers.get(unverified_issuer)
        # 3. The signature, with a key of this issuer that fits the algorithm.
        key = await issuer.find(kid=kid, algorithm=algorithm)
        try:
            claims = read_json_object(foreign_signatures.verify(jws, key, algorithms=ALGORITHMS))
        except SignatureInvalid as error:
            raise _refused("The subject token's signature does not hold.") from error
        # 4. Time.
        expires_at = self._check_times(claims)
        # 5. The rules, with the audience each demands.
        admitted = [rule for rule in candidates if rules.matches(rule, claims)]
        if not admitted:
            raise _refused(
                "No trust rule admits this subject token.",
                advice="Compare its audience and claims with the trust rules of its issuer.",
            )
        jti = _jti(claims)
        return [_subject(rule, claims, jti=jti, expires_at=expires_at) for rule in admitted]

    def _check_times(self, claims: dict[str, object]) -> int:
        now = self._clock.now() / MICROSECONDS
        expires_at = _moment(claims, "exp")
        if expires_at is None:
            raise _refused("The subject token has no expiry.")
        if expires_at <= now:
            raise _refused("The subject token has expired.")
        for name in ("iat", "nbf"):
            moment = _moment(claims, name)
            if moment is not None and moment > now + CLOCK_SKEW:
                raise _refused(
                    f"The subject token's {name} is in the future.",
                    advice="Compare the clock of this gateway with the issuer's.",
                )
        return int(expires_at)


def _unverified_look(jws: UnverifiedJws) -> tuple[str, str, str | None]:
    """Issuer, algorithm and key id, as the token has them."""
    if jws.header_text("typ").lower() not in _TYPES:
        raise SignatureInvalid("The token is of another type.")
    algorithm = jws.header_text("alg")
    if algorithm not in ALGORITHMS:
        raise SignatureInvalid("The token is signed with an algorithm that is not accepted.")
    kid = jws.header_text("kid") if "kid" in jws.unverified_header else None
    issuer = read_json_object(jws.unverified_payload).get("iss")
    if not isinstance(issuer, str):
        raise SignatureInvalid("The token names no issuer.")
    return issuer, algorithm, kid


def _moment(claims: dict[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2): a JSON number, whole or not."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value < _FAR_FUTURE
    ):
        raise _refused(f"The subject token's {name} is not a time.")
    return value


_FAR_FUTURE: Final = 1 << 40
"""Seconds; keeps what is no sensible time out of all arithmetic."""


def _jti(claims: dict[str, object]) -> str:
    jti = claims.get("jti", "")
    if not isinstance(jti, str):
        raise _refused("The subject token's jti is not text.")
    return jti


def _subject(
    rule: TrustRule, claims: dict[str, object], *, jti: str, expires_at: int
) -> AdmittedSubject:
    if rule.subject_once and not jti:
        raise _refused(
            f"The trust rule {rule.name!r} accepts a subject token once, and this one has no jti."
        )
    return AdmittedSubject(
        rule=rule,
        principal=rules.principal_of(rule, claims),
        issuer=rule.issuer,
        expires_at=expires_at,
        jti=jti,
    )


def _refused(message: str, *, advice: str = "") -> TokenExchangeRefused:
    # RFC 8693 section 2.2.2: a subject token that is invalid or unacceptable is invalid_request.
    return TokenExchangeRefused(message, oauth_error="invalid_request", advice=advice)
