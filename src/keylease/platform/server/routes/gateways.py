"""Gateways and their enrolment codes, for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.gateways.schemas import (
    EnrolmentCodeOut,
    GatewayChange,
    GatewayGroupOut,
    GatewayGroups,
    GatewayOut,
    MintedEnrolmentCode,
    NewEnrolmentCode,
)
from keylease.platform.gateways.service import GatewayService
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import (
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import link_of, services_of

router: APIRouter = resource_router(prefix="/v1/gateways", tag="gateways")
Reader = Annotated[Caller, allowed(Permission.GATEWAY_READ)]
Manager = Annotated[Caller, allowed(Permission.GATEWAY_MANAGE)]
Expected = Annotated[int, expected_version()]
CHANGED = problem_responses(412, 428)
Identifier = Annotated[str, Path(max_length=36)]


@router.post("/enrolment-codes", status_code=201)
async def create_enrolment_code(
    request: Request, caller: Manager, wanted: NewEnrolmentCode
) -> MintedEnrolmentCode:
    """Make a one-time code by which one gateway joins a group. It is shown this once."""
    minted = await _gateways(request).create_code(
        caller, group=wanted.group, lifetime=wanted.lifetime_seconds
    )
    return MintedEnrolmentCode.minted(minted)


@router.get("/enrolment-codes")
async def list_enrolment_codes(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[EnrolmentCodeOut]:
    """List enrolment codes without their text, the newest first."""
    found = await _gateways(request).codes(caller, page)
    now = services_of(request).clock.now()
    return PageOf(
        items=[EnrolmentCodeOut.of(code, now=now) for code in found.items],
        next_cursor=found.next_cursor,
    )


@router.delete("/enrolment-codes/{code_id}", status_code=204)
async def withdraw_enrolment_code(request: Request, caller: Manager, code_id: Identifier) -> None:
    """Take a code back before it is used."""
    await _gateways(request).withdraw_code(caller, code_id)


@router.get("/groups")
async def list_gateway_groups(request: Request, caller: Reader) -> GatewayGroups:
    """Say how each gateway group is doing with its policy."""
    states = await _gateways(request).groups(caller)
    return GatewayGroups(groups=[GatewayGroupOut.of(state) for state in states])


@router.get("")
async def list_gateways(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    group: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[GatewayOut]:
    """List gateways, by group; revoked ones too."""
    found = await _gateways(request).page(caller, page, group=group)
    return PageOf(
        items=[GatewayOut.of(gateway) for gateway in found.items], next_cursor=found.next_cursor
    )


@router.get("/{gateway_id}")
async def read_gateway(
    request: Request, response: Response, caller: Reader, gateway_id: Identifier
) -> GatewayOut:
    """Read one gateway, with what it said last."""
    found = await _gateways(request).get(caller, gateway_id)
    set_version(response, found.version)
    return GatewayOut.of(found)


@router.patch("/{gateway_id}", responses=CHANGED)
async def rename_gateway(
    request: Request,
    response: Response,
    caller: Manager,
    gateway_id: Identifier,
    change: GatewayChange,
    expected: Expected,
) -> GatewayOut:
    """Change what people call a gateway."""
    changed = await _gateways(request).rename(caller, gateway_id, change.name, expected=expected)
    set_version(response, changed.version)
    return GatewayOut.of(changed)


@router.post("/{gateway_id}/revoke", responses=CHANGED)
async def revoke_gateway(
    request: Request,
    response: Response,
    caller: Manager,
    gateway_id: Identifier,
    expected: Expected,
) -> GatewayOut:
    """Put a gateway out of use: it stops serving within a second and is heard no more."""
    changed = await _gateways(request).revoke(caller, gateway_id, expected=expected)
    set_version(response, changed.version)
    return GatewayOut.of(changed)


def _gateways(request: Request) -> GatewayService:
    return link_of(request).gateways
