"""Trace tokens: a lease is exchanged for what sends spans to the platform, and opens nothing else.

Protects: a lease never has to travel to the platform. The token that does travel is signed by this
    gateway's link key, of a type and an audience that no gateway reads; it says whose lease it was
    given for and into which project spans go, and the client chooses neither. A lease that is
    malformed, expired, revoked, bound to another sender, or that no grant stands behind any more
    gets none.
Does not protect: a token is a bearer token, also that of a lease which is bound to a sender's key.
    Whoever steals one can add spans in that principal's name, to that one project, until it ends.
Limits: at most 15 minutes, and never longer than the lease. A revocation that was made at this
    gateway ends no token that it has given; one that was made at the platform does, there.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import PolicyBundle, Revocation
from keylease.contracts.trace_tokens import (
    INGEST_AUDIENCE,
    LONGEST_TRACE_TOKEN,
    TRACE_TOKEN_PREFIX,
    TRACE_TOKEN_TYPE,
    TraceTokenClaims,
)
from keylease.errors import GatewayNotLinked, LeaseExpired, LeaseForeign, SenderNotProven
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.identifiers import uuid7
from keylease.primitives.signatures import sign_ed25519
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.leases.issue import require_grant, require_policy
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.revocation import RevocationList, issued_at
from keylease.strongroom.leases.verify import LeaseVerifier

_LOCAL: Final = "localhost"


class LinkIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this gateway is to its platform."""

    gateway_id: str
    organization_id: str
    key: Ed25519PrivateKey
    url: str
    """The platform's address, as this gateway reaches it."""

    def __repr__(self) -> str:
        return f"LinkIdentity(gateway_id={self.gateway_id!r}, key=********)"


class IssuedTraceToken(msgspec.Struct, frozen=True, kw_only=True):
    """A trace token, as it goes to whoever asked. ``token`` is stored nowhere."""

    token: str
    claims: TraceTokenClaims
    ingest_url: str

    def __repr__(self) -> str:
        return f"IssuedTraceToken(jti={self.claims.jti!r}, token=********)"


class TraceTokenIssuer:
    """Gives trace tokens for leases of this gateway's group. One per coordinator."""

    def __init__(
        self,
        *,
        keys: Callable[[], SigningKeys],
        revocations: Callable[[], Iterable[Revocation]],
        policy: Callable[[], PolicyBundle],
        identity: Callable[[], Awaitable[LinkIdentity | None]],
        configuration: GatewayConfiguration,
        clock: Clock,
    ) -> None:
        """``identity`` gives ``None`` while this gateway is enrolled at no platform."""
        self._keys = keys
        self._revocations = revocations
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._known = keys()
        self._verifier = LeaseVerifier(
            self._known.public_keys(),
            issuer=configuration.group,
            clock=clock,
            maximum_lifetime=configuration.maximum_lease_seconds,
        )

    async def issue(
        self, lease: bytes, *, lifetime: int | None, proven: str, certificate: str, peer: str
    ) -> IssuedTraceToken:
        """A trace token for a lease.

        ``proven`` is the thumbprint of the key that the request proves, ``certificate`` that of the
        TLS certificate it came with, each or empty. Raises ``LeaseRefused``, ``AccessDenied``,
        ``CallsNotAccepted`` or ``GatewayNotLinked``. Nothing is stored: whoever calls this writes
        the audit entry before the token leaves the process.
        """
        # 1. The lease is ours, whole, and in its time.
        claims = self._verified(lease)
        # 2. Nobody took it back.
        RevocationList(self._revocations()).check(claims)
        # 3. Whoever sends it has the key it is bound to.
        _check_sender(claims, proven=proven, certificate=certificate)
        # 4. There is a platform, and it is that of the lease's organization.
        identity = await self._identity()
        if identity is None:
            raise GatewayNotLinked
        if claims.organization != identity.organization_id:
            raise LeaseForeign("The lease was issued for another organization.")
        # 5. A policy is in force, and the lease still opens something by it.
        bundle = self._policy()
        require_policy(bundle)
        require_grant(bundle, claims)
        # 6. For as long as the lease lives, and not longer than any such token.
        return self._signed(claims, identity, lifetime, peer)

    def _verified(self, lease: bytes) -> LeaseClaims:
        if (keys := self._keys()) is not self._known:
            self._known = keys
            self._verifier.replace_keys(keys.public_keys())
        return self._verifier.verify(lease)

    def _signed(
        self, lease: LeaseClaims, identity: LinkIdentity, lifetime: int | None, peer: str
    ) -> IssuedTraceToken:
        now = self._clock.now() // MICROSECONDS
        asked = LONGEST_TRACE_TOKEN if lifetime is None else lifetime
        seconds = min(asked, LONGEST_TRACE_TOKEN, lease.exp - now)
        if seconds < 1:  # the cache of the verifier counts in parts of seconds
            raise LeaseExpired("The lease has expired.")
        claims = TraceTokenClaims(
            iss=identity.gateway_id,
            sub=lease.sub,
            aud=INGEST_AUDIENCE,
            iat=now,
            exp=now + seconds,
            jti=uuid7(self._clock),
            organization=identity.organization_id,
            project=lease.project,
            lease=lease.jti,
            lease_issued_at=issued_at(lease),
            via=lease.via,
        )
        signed = sign_ed25519(
            identity.key,
            header={"kid": identity.gateway_id, "typ": TRACE_TOKEN_TYPE},
            payload=msgspec.json.encode(claims),
        )
        return IssuedTraceToken(
            token=TRACE_TOKEN_PREFIX + signed.decode(),
            claims=claims,
            ingest_url=_told(identity.url, peer),
        )


def _check_sender(claims: LeaseClaims, *, proven: str, certificate: str) -> None:
    cnf = claims.cnf
    if cnf is None:
        return
    if cnf.x5t and not (certificate and hmac.compare_digest(cnf.x5t, certificate)):
        raise SenderNotProven("The lease is bound to a TLS client certificate that was not shown.")
    if (cnf.jkt or not cnf.x5t) and not (proven and hmac.compare_digest(cnf.jkt, proven)):
        raise SenderNotProven(
            "The lease is bound to a sender key.",
            advice="Send a DPoP proof (RFC 9449) for this endpoint, made with that key.",
        )


def _told(url: str, peer: str) -> str:
    """The platform's address for a client at ``peer``: what is local here means nothing there."""
    return "" if _is_local(urlsplit(url).hostname or "") and not _is_local(peer) else url


def _is_local(host: str) -> bool:
    if host == _LOCAL:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
