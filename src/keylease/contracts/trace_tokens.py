"""Trace tokens: what a gateway gives for a lease, so that a workload without a key can send spans.

    klt_<JWT>     EdDSA, signed with the link key of the gateway that gave it

A lease opens models and never travels to the platform. A trace token opens no model: gateways do
not read it, and the one thing that it is good for is to send spans to the platform that the gateway
is enrolled at, into the project to which the lease's call records go.

Append-only. Claims are added, never renamed or given another meaning; a verifier ignores those that
it does not know. The header has exactly ``alg``, ``kid`` and ``typ``.
"""

from __future__ import annotations

from typing import Final

import msgspec

TRACE_TOKEN_PREFIX: Final = "klt_"  # noqa: S105 - how each begins
TRACE_TOKEN_TYPE: Final = "klt+jwt"  # noqa: S105 - the ``typ`` of its header
"""What the link key signs else begins with ``platform_link.SIGNATURE_CONTEXT``, which is no JWT."""
INGEST_AUDIENCE: Final = "keylease-ingest"
"""Of the token, and what a client asks for at ``/oauth/token``."""
LEASE_TOKEN_TYPE: Final = "urn:keylease:params:oauth:token-type:lease"  # noqa: S105 - a name
"""The type of a lease as a subject token. Clients that have the types of RFC 8693 only call it an
access token, as which they were given it."""
LONGEST_TRACE_TOKEN: Final = 15 * 60
"""Seconds. It never outlives its lease either."""
MAXIMUM_TRACE_TOKEN_BYTES: Final = 4 * 1024


class TraceTokenClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a trace token says. Times are whole seconds since 1970, as RFC 7519 has them."""

    iss: str
    """The gateway that gave it: its identifier at the platform, also the header's ``kid``."""
    sub: str
    """The principal of the lease."""
    aud: str
    iat: int
    exp: int
    jti: str
    """UUIDv7."""
    organization: str
    project: str = ""
    """As the lease has it; no client chooses it."""
    lease: str
    """The lease's identifier."""
    lease_issued_at: int
    """The earliest moment, in microseconds, at which the lease can have been issued: what revokes
    leases by time is compared with it."""
    via: str = ""
    """The trust rule or API key that the lease was given for."""


class TraceTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/oauth/token``, in JSON. What a client does not find is left out or empty."""

    access_token: str
    issued_token_type: str
    token_type: str = "Bearer"  # noqa: S105 - a name of RFC 6750
    expires_in: int
    """Seconds."""
    ingest_url: str = ""
    """The platform's address as the gateway knows it; empty when it means nothing to the client."""

    def __repr__(self) -> str:
        return f"TraceTokenAnswer(access_token=********, expires_in={self.expires_in!r})"
