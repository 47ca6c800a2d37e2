"""Routes: which credentials serve which models. Not the server's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    PageOfRevisions,
    Route,
    RouteBody,
    answer_of,
    content_of,
    history_answer,
)
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import Services, policy_of, services_of

router: APIRouter = resource_router(prefix="/v1/routes", tag="routes")
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]


@router.get("")
async def list_routes(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    name: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[Route]:
    """List routes by name."""
    resources = policy_of(request).resources
    found = await resources.page(caller, ResourceKind.ROUTE, page, name=name)
    return PageOf[Route](
        items=[answer_of(item, Route) for item in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def add_route(
    request: Request, response: Response, caller: Manager, body: RouteBody
) -> Route:
    """Add a route to the draft."""
    await _require_use(request, caller, body)
    made = await policy_of(request).resources.create(caller, content_of(body))
    set_version(response, made.version)
    response.headers["Location"] = f"/v1/routes/{made.id}"
    return answer_of(made, Route)


@router.get("/{route_id}")
async def read_route(
    request: Request, response: Response, caller: Reader, route_id: Identifier
) -> Route:
    """Read one route."""
    resources = policy_of(request).resources
    found = await resources.get(caller, ResourceKind.ROUTE, route_id)
    set_version(response, found.version)
    return answer_of(found, Route)


@router.put("/{route_id}")
async def change_route(
    request: Request,
    response: Response,
    caller: Manager,
    route_id: Identifier,
    body: RouteBody,
    expected: Annotated[int, expected_version()],
) -> Route:
    """Put another route in its place, in the draft."""
    await _require_use(request, caller, body)
    changed = await policy_of(request).resources.update(
        caller, route_id, content_of(body), expected=expected
    )
    set_version(response, changed.version)
    return answer_of(changed, Route)


@router.delete("/{route_id}", status_code=204)
async def remove_route(
    request: Request,
    caller: Manager,
    route_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Take a route out of the draft."""
    await policy_of(request).resources.remove(
        caller, ResourceKind.ROUTE, route_id, expected=expected
    )


@router.get("/{route_id}/history")
async def read_route_history(
    request: Request,
    caller: Reader,
    route_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOfRevisions:
    """List who changed a route, when and how; the newest first."""
    resources = policy_of(request).resources
    return history_answer(await resources.history(caller, ResourceKind.ROUTE, route_id, page))


async def _require_use(request: Request, caller: Caller, body: RouteBody) -> None:
    """Whoever leads calls to a credential holds ``credential:use`` for it, and not only manages it.

    In the order of the body, so that the answer says which credential it is about.
    """
    services: Services = services_of(request)
    for credential_id in dict.fromkeys(target.credential_id for target in body.targets):
        await services.access.require(caller, Permission.CREDENTIAL_USE, object_id=credential_id)
