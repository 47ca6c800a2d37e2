"""Permissions, roles, grants, and why somebody may or may not."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from keylease.errors import InputInvalid
from keylease.platform.access.grants import NewGrant
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.repository import GrantFilter
from keylease.platform.access.schemas import (
    HOLDER,
    OBJECT,
    PRINCIPAL,
    ROLE_ID,
    ExplanationOut,
    GrantIn,
    GrantOut,
    PermissionOut,
    RoleIn,
    RoleOut,
    RolesOut,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
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
from keylease.platform.server.services import services_of

router: APIRouter = resource_router(prefix="/v1/access", tag="access")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.ACCESS_READ)]
Manager = Annotated[Caller, allowed(Permission.ACCESS_MANAGE)]
SignedIn = Annotated[Caller, signed_in()]
Expected = Annotated[int, expected_version()]
RoleId = Annotated[str, Path(pattern=ROLE_ID, max_length=36)]


@router.get("/permissions")
async def list_permissions(_: SignedIn) -> list[PermissionOut]:
    """Everything that can be allowed."""
    return [PermissionOut.of(permission) for permission in Permission]


@router.get("/explain")
async def explain(
    request: Request,
    caller: SignedIn,
    permission: Permission,
    principal: Annotated[
        str, Query(pattern=PRINCIPAL, max_length=60, description="Empty is the caller.")
    ] = "",
    project_id: Annotated[Identifier | None, Query()] = None,
    object: Annotated[  # noqa: A002 - the grant's member of that name
        str | None, Query(pattern=OBJECT, max_length=80, description="`KIND/ID`")
    ] = None,
) -> ExplanationOut:
    """Say whether a principal may do something there, and why.

    Everybody may ask about themselves; about others with `access:read`. An API key is asked for
    what its principal holds; what the key takes away, its denials say.
    """
    decisions = services_of(request).rules.decisions
    principal = principal or caller.name
    _check_kind(permission, object)
    if not _is_self(caller, principal):
        await decisions.require(caller, Permission.ACCESS_READ, project_id=project_id or "")
    place = Place(project_id=project_id or "", object=object or "")
    decision, snapshot = await decisions.explain(
        caller.organization_id, principal, permission, place=place
    )
    return ExplanationOut.of(decision, snapshot)


@router.get("/roles")
async def list_roles(request: Request, caller: Reader) -> RolesOut:
    """Every role, the built-in ones first."""
    roles = await services_of(request).rules.roles.all(caller)
    return RolesOut(items=[RoleOut.of(role) for role in roles])


@router.post("/roles", status_code=201)
async def create_role(
    request: Request, response: Response, caller: Manager, body: RoleIn
) -> RoleOut:
    """Make a role of permissions that the caller holds itself."""
    role = await services_of(request).rules.roles.create(caller, body.content())
    set_version(response, role.version)
    return RoleOut.of(role)


@router.get("/roles/{role_id}")
async def read_role(
    request: Request, response: Response, caller: Reader, role_id: RoleId
) -> RoleOut:
    """One role."""
    role = await services_of(request).rules.roles.get(caller, role_id)
    set_version(response, role.version)
    return RoleOut.of(role)


@router.put("/roles/{role_id}", responses=_CHANGES)
async def change_role(
    request: Request,
    response: Response,
    caller: Manager,
    role_id: RoleId,
    body: RoleIn,
    expected: Expected,
) -> RoleOut:
    """Change a role, for everybody who holds it."""
    roles = services_of(request).rules.roles
    role = await roles.change(caller, role_id, body.content(), expected=expected)
    set_version(response, role.version)
    return RoleOut.of(role)


@router.delete("/roles/{role_id}", status_code=204, responses=_CHANGES)
async def remove_role(
    request: Request, caller: Manager, role_id: RoleId, expected: Expected
) -> None:
    """Take a role out of use that nobody holds."""
    await services_of(request).rules.roles.remove(caller, role_id, expected=expected)


def _wanted(
    request: Request,
    holder: Annotated[str | None, Query(pattern=HOLDER, max_length=60)] = None,
    role_id: Annotated[str | None, Query(pattern=ROLE_ID, max_length=36)] = None,
    project_id: Annotated[Identifier | None, Query()] = None,
    object: Annotated[str | None, Query(pattern=OBJECT, max_length=80)] = None,  # noqa: A002 - as above
    state: Annotated[
        Literal["live", "all"], Query(description="`live`: neither revoked nor over.")
    ] = "live",
) -> GrantFilter:
    return GrantFilter(
        holder=holder or "",
        role_id=role_id or "",
        project_id=project_id or "",
        object=object or "",
        live_at=services_of(request).clock.now() if state == "live" else None,
    )


@router.get("/grants")
async def list_grants(
    request: Request,
    caller: SignedIn,
    wanted: Annotated[GrantFilter, Depends(_wanted)],
    page: Annotated[PageRequest, page_request()],
) -> PageOf[GrantOut]:
    """Grants, the oldest first.

    Needs `access:read`, in the project that is asked for. One's own are always shown.
    """
    rules = services_of(request).rules
    if not _is_self(caller, wanted.holder):
        await rules.decisions.require(caller, Permission.ACCESS_READ, project_id=wanted.project_id)
    found = await rules.grants.page(caller, wanted, page)
    return PageOf(items=[GrantOut.of(g) for g in found.items], next_cursor=found.next_cursor)


@router.post("/grants", status_code=201)
async def give_grant(
    request: Request, response: Response, caller: SignedIn, body: GrantIn
) -> GrantOut:
    """Give a grant: needs `access:manage` there, and all that the grant gives."""
    new: NewGrant = body.content()
    grant = await services_of(request).rules.grants.give(caller, new)
    set_version(response, grant.version)
    return GrantOut.of(grant)


@router.get("/grants/{grant_id}")
async def read_grant(
    request: Request, response: Response, caller: SignedIn, grant_id: Identifier
) -> GrantOut:
    """One grant, revoked or not."""
    rules = services_of(request).rules
    grant = await rules.grants.get(caller, grant_id)
    if not _is_self(caller, grant.holder):
        await rules.decisions.require(
            caller, Permission.ACCESS_READ, project_id=grant.place.project_id
        )
    set_version(response, grant.version)
    return GrantOut.of(grant)


@router.delete("/grants/{grant_id}", responses=_CHANGES)
async def revoke_grant(
    request: Request, response: Response, caller: SignedIn, grant_id: Identifier, expected: Expected
) -> GrantOut:
    """Revoke a grant: needs `access:manage` where it holds."""
    grant = await services_of(request).rules.grants.revoke(caller, grant_id, expected=expected)
    set_version(response, grant.version)
    return GrantOut.of(grant)


def _is_self(caller: Caller, holder: str | None) -> bool:
    """Whether somebody asks about themselves. A narrowed API key may less than its owner."""
    return holder == caller.name and caller.permissions is None


def _check_kind(permission: Permission, named: str | None) -> None:
    """Refuse an object on which the permission is never asked for."""
    kind = (named or "").partition("/")[0]
    if named and kind != permission.resource and permission is not Permission.ACCESS_MANAGE:
        raise InputInvalid(
            f"{permission.value} is about a {permission.resource}, not about a {kind[:40]}."
        )
