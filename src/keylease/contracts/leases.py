"""Lease claims: what the token after ``kll_`` says (a JWT, RFC 7519, signed with EdDSA).

Append-only: claims are added, never renamed or given another meaning. A verifier ignores claims
that it does not know unless they are named in ``crit``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.purposes import Purpose

LEASE_PREFIX: Final = "kll_"
GATEWAY_AUDIENCE: Final = "keylease-gateway"
LEASE_TYPE: Final = "kll+jwt"
"""The ``typ`` of a lease's header, so that no other token signed by the same key is one."""
DEFAULT_LIFETIME: Final = 15 * 60
"""Seconds."""
LONGEST_LIFETIME: Final = 24 * 60 * 60
"""Seconds; no configuration allows more, so whatever a revocation names is dead after this."""


class Confirmation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sender key a lease is bound to (RFC 7800)."""

    jkt: str = ""
    """JWK thumbprint of a DPoP key (RFC 9449), base64url."""
    x5t: str = msgspec.field(default="", name="x5t#S256")
    """SHA-256 of a TLS client certificate (RFC 8705 section 3.1), base64url."""


class LeaseClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of a gateway lease. Times are whole seconds since 1970, as RFC 7519 has them."""

    iss: str
    """The gateway group that issued it."""
    sub: str
    """The principal, ``kind:name``: ``user:``, ``service_account:`` or ``workload:``."""
    aud: str = GATEWAY_AUDIENCE
    iat: int
    exp: int
    jti: str
    """UUIDv7."""
    organization: str
    project: str = ""
    purpose: Purpose
    environment: str
    models: tuple[str, ...]
    """Patterns with ``*``; the lease is good for a model that matches one of them."""
    budget: str = ""
    """Identifier of the limit this lease draws from in addition to its grant's, or empty."""
    via: str = ""
    """Identifier of the trust rule or API key that admitted the subject; empty for a lease made
    locally."""
    cnf: Confirmation | None = None
