"""Identity tokens: how the platform tells a gateway who somebody is (a JWT, signed with EdDSA).

A gateway exchanges one for a lease (RFC 8693) when a trust rule names the platform as its issuer.
Append-only: claims are added, never renamed or given another meaning.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.leases import GATEWAY_AUDIENCE

LIFETIME: Final = 300
"""Seconds; the longest, and a session or key that ends earlier ends the token too."""


class IdentityClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says. Times are whole seconds since 1970, as RFC 7519 has them."""

    iss: str
    """The platform's public URL."""
    sub: str
    """The principal, ``kind:id``: ``user:`` or ``service_account:``."""
    aud: str
    """``audience_of`` the gateway group it is for."""
    iat: int
    exp: int
    jti: str
    """UUIDv7."""
    organization: str
    project: str = ""
    """Set when an API key is bound to one."""
    user: str = ""
    """The identifier alone, when it is a user: for the principal of a trust rule."""
    service_account: str = ""
    """The identifier alone, when it is a service account."""
    via: str = ""
    """Identifier of the API key that asked; empty for a session."""


def audience_of(group: str) -> str:
    """The audience of tokens for one gateway group, so that no other group takes them."""
    return f"{GATEWAY_AUDIENCE}/{group}"
