"""Who may call: the lease of a request, and whether it is still in force.

Protects: every request, from its head alone, before any of its body is read.
Does not protect: what the lease may be used for is decided in routing.
Limits: the name in the ``Host`` header is the caller's word; it is used for one thing only, to
    compare a sender's proof with the URL that the sender meant.
"""

from __future__ import annotations

import hmac
from typing import Protocol

from keylease.contracts.leases import Confirmation, LeaseClaims
from keylease.errors import SenderNotProven
from keylease.primitives.http1.interfaces import RequestHead
from keylease.strongroom.gateway.call.caller_fields import CallerFields
from keylease.strongroom.leases.verify import PresentedToken


class LeaseChecks(Protocol):
    """What ``leases.LeaseVerifier`` does."""

    def verify_presented(self, token: PresentedToken) -> LeaseClaims:
        """The claims of a good lease, the same object while it is remembered."""
        ...


class RevocationChecks(Protocol):
    """What ``leases.RevocationList`` does."""

    def check(self, claims: LeaseClaims) -> None:
        """Raise ``LeaseRevoked`` unless the lease is in force."""
        ...

    def check_credential(self, credential_id: str) -> None:
        """Raise ``LeaseRevoked`` when the credential is revoked."""
        ...


class SenderChecks(Protocol):
    """What ``leases.SenderProof`` does."""

    def check(
        self, claims: LeaseClaims, *, method: str, url: str, token: bytes, dpop_header: str | None
    ) -> None:
        """Raise ``SenderNotProven`` unless the request proves the lease's key."""
        ...


class Admission:
    """Turns the head of a request into the claims of its lease."""

    def __init__(
        self,
        *,
        leases: LeaseChecks,
        revocations: RevocationChecks,
        senders: SenderChecks,
        secure: bool,
    ) -> None:
        """``secure``: this gateway is reached by https."""
        self._leases = leases
        self._revocations = revocations
        self._senders = senders
        self._scheme = "https" if secure else "http"

    def admit(
        self,
        head: RequestHead,
        fields: CallerFields,
        lease: PresentedToken | None = None,
        certificate: str = "",
    ) -> LeaseClaims:
        """The claims; raises ``LeaseRefused``.

        ``lease`` stands for what the request carries instead of one (``static_keys``);
        ``certificate`` is that of the connection, as ``Responder`` has it.
        """
        # 1. The lease is ours, whole, and in its time.
        token = fields.required_token() if lease is None else lease
        claims = self._leases.verify_presented(token)
        # 2. Nobody took it back.
        self._revocations.check(claims)
        # 3. Whoever sends it has the key it is bound to.
        if claims.cnf is not None:
            if claims.cnf.x5t:
                _check_certificate(claims.cnf, certificate)
            if claims.cnf.jkt or not claims.cnf.x5t:
                self._prove(head, fields, token.secret_bytes, claims)
        return claims

    def _prove(
        self, head: RequestHead, fields: CallerFields, token: bytes, claims: LeaseClaims
    ) -> None:
        try:
            host = fields.host.decode("ascii")
            proof = fields.dpop.decode("ascii") if fields.dpop is not None else None
        except UnicodeDecodeError as error:
            raise SenderNotProven("The DPoP proof is malformed.") from error
        self._senders.check(
            claims,
            method=head.method,
            url=f"{self._scheme}://{host}{head.path}",
            token=token,
            dpop_header=proof,
        )


def _check_certificate(cnf: Confirmation, certificate: str) -> None:
    """RFC 8705 section 3: the connection's certificate is the one that the lease is bound to."""
    if not certificate or not hmac.compare_digest(cnf.x5t, certificate):
        raise SenderNotProven(
            "The lease is bound to a TLS client certificate that this connection does not show.",
            advice="Connect with the certificate that the lease was asked for with.",
        )
