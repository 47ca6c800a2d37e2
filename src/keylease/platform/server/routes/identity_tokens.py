"""Identity tokens for gateways, and what gateways check them with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.identity.identity_tokens.schemas import (
    IdentityTokenIn,
    IdentityTokenOut,
    Jwks,
    RotatedKeyOut,
)
from keylease.platform.identity.identity_tokens.service import JWKS_PATH
from keylease.platform.server.guard import allowed, open_to_all
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import identity_of

router: APIRouter = resource_router(prefix="", tag="identity-tokens")


@router.post("/v1/identity-token")
async def issue(
    request: Request,
    body: IdentityTokenIn,
    caller: Annotated[Caller, allowed(Permission.LEASE_EXCHANGE)],
) -> IdentityTokenOut:
    """A token of at most five minutes that a gateway of the group exchanges for a lease."""
    issued = await identity_of(request).tokens.issue(caller, gateway_group=body.gateway_group)
    return IdentityTokenOut.of(issued)


@router.post("/v1/identity-token/keys/rotate")
async def rotate(
    request: Request, caller: Annotated[Caller, allowed(Permission.SIGN_IN_MANAGE)]
) -> RotatedKeyOut:
    """Sign with a new key from now on; tokens in use stay good."""
    return RotatedKeyOut(kid=await identity_of(request).tokens.rotate(caller))


@router.get("/.well-known/openid-configuration")
async def metadata(request: Request, _: Annotated[None, open_to_all()]) -> dict[str, Any]:
    """The discovery document, by which gateways know the platform as an issuer."""
    return identity_of(request).tokens.metadata()


@router.get(JWKS_PATH)
async def jwks(request: Request, _: Annotated[None, open_to_all()]) -> Jwks:
    """The public keys that identity tokens are signed with."""
    return Jwks(**identity_of(request).tokens.jwks())
