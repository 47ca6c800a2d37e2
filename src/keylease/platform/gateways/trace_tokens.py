"""Whether a trace token was given by a gateway that is enrolled here, and is good now.

Protects: the token is checked with the public key that its gateway registered, which is looked up
    by identifier and by nothing else that the token says; a gateway speaks for its own
    organization only. A gateway that was revoked gives no tokens that count, from that moment on,
    also not those that it gave before.
Does not protect: against whoever has the gateway's key, or the token itself: it is a bearer token
    of at most 15 minutes. Whether the lease behind it was revoked is the caller's question.
Limits: a gateway's clock may differ by as much as the link allows; a token that it gave counts by
    ours.
"""

from __future__ import annotations

from typing import Final, NoReturn
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keylease.contracts.platform_link import CLOCK_WINDOW
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.contracts.trace_tokens import (
    INGEST_AUDIENCE,
    LONGEST_TRACE_TOKEN,
    MAXIMUM_TRACE_TOKEN_BYTES,
    TRACE_TOKEN_PREFIX,
    TRACE_TOKEN_TYPE,
    TraceTokenClaims,
)
from keylease.errors import PrincipalInvalid, SignatureInvalid, TraceTokenRefused
from keylease.platform.db.database import Database
from keylease.platform.gateways import repository
from keylease.platform.gateways.gateway import Gateway, GatewayState
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.signatures import (
    UnverifiedJws,
    read_json_object,
    split_compact,
    verify_ed25519,
)

_HEADER_MEMBERS: Final = {"alg", "kid", "typ"}
_GET_NEW: Final = (
    "Exchange the lease for a new one at its gateway; keylease.tracing does so by itself."
)


class ProvenTraceToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a good trace token says."""

    gateway_id: str
    organization_id: str
    principal: Principal
    claims: TraceTokenClaims


class TraceTokenProof:
    """Checks trace tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def verify(self, text: str) -> ProvenTraceToken:
        """What the token says. Raises ``TraceTokenRefused``."""
        # 1. The form, and a header that says exactly what ours say.
        jws, gateway_id = _taken_apart(text)
        # 2. There is such a gateway. Who is none learns nothing more than that.
        async with self._database.reading() as tx:
            gateway = await repository.by_id(tx, gateway_id)
        if gateway is None:
            _refuse_signature()
        # 3. It signed exactly this.
        claims = _signed(jws, gateway)
        # 4. It may.
        if gateway.state is GatewayState.REVOKED:
            raise TraceTokenRefused("The gateway that gave this trace token was revoked.")
        # 5. It speaks for itself and for its own organization, and for spans.
        if (claims.iss, claims.organization, claims.aud) != (
            gateway.id,
            gateway.organization_id,
            INGEST_AUDIENCE,
        ):
            raise TraceTokenRefused(
                "The trace token was given by or for somebody else.", advice=_GET_NEW
            )
        # 6. Now.
        self._check_times(claims)
        return ProvenTraceToken(
            gateway_id=gateway.id,
            organization_id=gateway.organization_id,
            principal=_principal(claims.sub),
            claims=claims,
        )

    def _check_times(self, claims: TraceTokenClaims) -> None:
        now = self._clock.now()
        if claims.exp - claims.iat > LONGEST_TRACE_TOKEN:
            raise TraceTokenRefused("The trace token was given for longer than any is good.")
        if claims.iat * MICROSECONDS > now + CLOCK_WINDOW * MICROSECONDS:
            raise TraceTokenRefused(
                "The trace token was given in the future.",
                advice="Compare the clocks of the gateway's machine and of the platform.",
            )
        if claims.exp * MICROSECONDS <= now:
            raise TraceTokenRefused("The trace token has expired.", advice=_GET_NEW)


def _taken_apart(text: str) -> tuple[UnverifiedJws, str]:
    """The token, and the gateway that its header names; nothing of it is verified."""
    try:
        token = text.removeprefix(TRACE_TOKEN_PREFIX).encode("ascii")
        jws = split_compact(token, maximum_bytes=MAXIMUM_TRACE_TOKEN_BYTES)
        return jws, _named_gateway(jws)
    except (SignatureInvalid, ValueError) as error:  # no ASCII and no UUID are ValueErrors
        raise TraceTokenRefused(
            "The trace token is malformed or was changed.", advice=_GET_NEW
        ) from error


def _named_gateway(jws: UnverifiedJws) -> str:
    header = jws.unverified_header
    if header.keys() != _HEADER_MEMBERS or header["typ"] != TRACE_TOKEN_TYPE:
        raise SignatureInvalid("The header is not that of a trace token.")
    gateway_id = jws.header_text("kid")
    if str(UUID(gateway_id)) != gateway_id:
        raise SignatureInvalid("The key is not named by an identifier.")
    return gateway_id


def _signed(jws: UnverifiedJws, gateway: Gateway) -> TraceTokenClaims:
    try:
        payload = verify_ed25519(Ed25519PublicKey.from_public_bytes(gateway.public_key), jws)
    except SignatureInvalid:
        _refuse_signature()
    try:
        return msgspec.convert(read_json_object(payload), TraceTokenClaims)
    except (SignatureInvalid, msgspec.ValidationError) as error:
        raise TraceTokenRefused("The trace token says nothing that is understood here.") from error


def _principal(text: str) -> Principal:
    try:
        principal = Principal.parse(text)
    except PrincipalInvalid as error:
        raise TraceTokenRefused("The trace token names no principal.") from error
    if principal.kind is PrincipalKind.GATEWAY:
        raise TraceTokenRefused("The trace token names no principal that can hold a lease.")
    return principal


def _refuse_signature() -> NoReturn:
    raise TraceTokenRefused(
        "The trace token is not signed by a gateway that is known here.",
        advice="It is good at the platform that its gateway is enrolled at.",
    )
