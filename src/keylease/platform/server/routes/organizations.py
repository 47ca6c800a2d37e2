"""Organizations: each caller sees its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.identity.directory.schemas import OrganizationIn, OrganizationOut
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier, PageOf, expected_version, set_version
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of

router: APIRouter = resource_router(prefix="/v1/organizations", tag="organizations")
Reader = Annotated[Caller, allowed(Permission.ORGANIZATION_READ)]
Manager = Annotated[Caller, allowed(Permission.ORGANIZATION_MANAGE)]


@router.get("")
async def list_organizations(request: Request, caller: Reader) -> PageOf[OrganizationOut]:
    """The caller's organization: a principal belongs to exactly one."""
    organizations = services_of(request).directory.organizations
    own = await organizations.get(caller, caller.organization_id)
    return PageOf(items=[OrganizationOut.of(own)])


@router.get("/{organization_id}")
async def read_organization(
    request: Request, response: Response, caller: Reader, organization_id: Identifier
) -> OrganizationOut:
    """The organization, and what it has decided."""
    found = await services_of(request).directory.organizations.get(caller, organization_id)
    set_version(response, found.version)
    return OrganizationOut.of(found)


@router.put("/{organization_id}", responses=problem_responses(412, 428))
async def change_organization(
    request: Request,
    response: Response,
    caller: Manager,
    organization_id: Identifier,
    body: OrganizationIn,
    expected: Annotated[int, expected_version()],
) -> OrganizationOut:
    """Rename it, or say whether policies that widen access need a second person."""
    changed = await services_of(request).directory.organizations.change(
        caller,
        organization_id,
        name=body.name,
        second_approver=body.second_approver,
        expected=expected,
    )
    set_version(response, changed.version)
    return OrganizationOut.of(changed)
