"""Wire types of identity tokens."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from keylease.platform.identity.wire import In, Out


class IdentityTokenIn(In):
    """For which gateways the token is."""

    gateway_group: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._-]{1,64}$")]


class IdentityTokenOut(Out):
    """A token, to be exchanged for a lease at a gateway at once."""

    token: str
    expires_in: int = Field(description="Seconds.")
    id: str


class RotatedKeyOut(Out):
    """The key that signs from now on."""

    kid: str


class Jwks(Out):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, Any]]
