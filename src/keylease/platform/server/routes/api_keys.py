"""API keys. Their text is shown when they are made or rotated, and never again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.identity.api_keys.interfaces import ApiKey, ShownApiKey
from keylease.platform.identity.api_keys.schemas import (
    ApiKeyOut,
    NewApiKeyIn,
    PrincipalText,
    RotationIn,
    ShownApiKeyOut,
)
from keylease.platform.server.guard import allowed, signed_in
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import identity_of

router: APIRouter = resource_router(prefix="/v1/api-keys", tag="api-keys")
Anyone = Annotated[Caller, signed_in()]
PageAsked = Annotated[PageRequest, page_request()]
Usable = Annotated[bool, Query(description="Without those that have ended.")]


@router.get("")
async def list_keys(
    request: Request,
    caller: Annotated[Caller, allowed(Permission.API_KEY_READ)],
    page: PageAsked,
    principal: Annotated[PrincipalText, Query()] = "",
    usable: Usable = False,  # noqa: FBT002 - a parameter of the query
) -> PageOf[ApiKeyOut]:
    """Everybody's API keys, the oldest first."""
    found = await identity_of(request).api_keys.listed(
        caller, page, principal=principal, usable_only=usable
    )
    return _page(found)


@router.get("/own")
async def list_own_keys(
    request: Request,
    caller: Anyone,
    page: PageAsked,
    usable: Usable = False,  # noqa: FBT002 - as above
) -> PageOf[ApiKeyOut]:
    """The caller's API keys, the oldest first."""
    found = await identity_of(request).api_keys.listed(
        caller, page, principal=caller.name, usable_only=usable
    )
    return _page(found)


@router.post("", status_code=201)
async def create_key(
    request: Request, response: Response, caller: Anyone, body: NewApiKeyIn
) -> ShownApiKeyOut:
    """Make an API key for oneself, or with `api_key:manage` for a service account."""
    shown = await identity_of(request).api_keys.create(caller, body.content())
    return _shown(response, shown)


@router.get("/{key_id}")
async def read_key(
    request: Request, response: Response, caller: Anyone, key_id: Identifier
) -> ApiKeyOut:
    """One's own API key, or with `api_key:read` any."""
    key = await identity_of(request).api_keys.read(caller, key_id)
    set_version(response, key.version)
    return ApiKeyOut.of(key)


@router.delete("/{key_id}", status_code=204, responses=problem_responses(412, 428))
async def revoke_key(
    request: Request,
    caller: Anyone,
    key_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Revoke an API key; it stays listed as revoked."""
    await identity_of(request).api_keys.revoke(caller, key_id, expected=expected)


@router.post("/{key_id}/rotate", responses=problem_responses(412, 428))
async def rotate_key(
    request: Request,
    response: Response,
    caller: Anyone,
    key_id: Identifier,
    body: RotationIn,
    expected: Annotated[int, expected_version()],
) -> ShownApiKeyOut:
    """Give a key a new text; the previous one goes on for the grace.

    Within an earlier grace it is refused with 409 `previous_secret_active`.
    """
    shown = await identity_of(request).api_keys.rotate(
        caller, key_id, grace_seconds=body.grace_period_seconds, expected=expected
    )
    return _shown(response, shown)


@router.post("/{key_id}/revoke-previous")
async def revoke_previous(
    request: Request, response: Response, caller: Anyone, key_id: Identifier
) -> ApiKeyOut:
    """End the previous text of a rotated key at once. Done again, it changes nothing."""
    key = await identity_of(request).api_keys.revoke_previous(caller, key_id)
    set_version(response, key.version)
    return ApiKeyOut.of(key)


def _page(found: Page[ApiKey]) -> PageOf[ApiKeyOut]:
    items = [ApiKeyOut.of(key) for key in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


def _shown(response: Response, shown: ShownApiKey) -> ShownApiKeyOut:
    set_version(response, shown.key.version)
    return ShownApiKeyOut(key=ApiKeyOut.of(shown.key), text=shown.text)
