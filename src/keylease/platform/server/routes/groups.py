"""Groups, and who is in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import (
    MEMBER,
    GroupOut,
    MemberOut,
    NamedIn,
)
from keylease.platform.server.guard import allowed
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

router: APIRouter = resource_router(prefix="/v1/groups", tag="groups")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PRINCIPAL_READ)]
Manager = Annotated[Caller, allowed(Permission.PRINCIPAL_MANAGE)]
Expected = Annotated[int, expected_version()]
Member = Annotated[str, Path(pattern=MEMBER, max_length=60, description="`KIND:ID`")]


@router.get("")
async def list_groups(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[GroupOut]:
    """Groups, archived ones included, the oldest first."""
    found = await services_of(request).directory.groups.page(caller, page)
    return PageOf(items=[GroupOut.of(each) for each in found.items], next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def create_group(
    request: Request, response: Response, caller: Manager, body: NamedIn
) -> GroupOut:
    """Make a group, which is empty and holds nothing yet."""
    made = await services_of(request).directory.groups.create(caller, body.content())
    set_version(response, made.version)
    return GroupOut.of(made)


@router.get("/{group_id}")
async def read_group(
    request: Request, response: Response, caller: Reader, group_id: Identifier
) -> GroupOut:
    """One group."""
    found = await services_of(request).directory.groups.get(caller, group_id)
    set_version(response, found.version)
    return GroupOut.of(found)


@router.put("/{group_id}", responses=_CHANGES)
async def change_group(
    request: Request,
    response: Response,
    caller: Manager,
    group_id: Identifier,
    body: NamedIn,
    expected: Expected,
) -> GroupOut:
    """Rename a group, or describe it in other words."""
    groups = services_of(request).directory.groups
    changed = await groups.change(caller, group_id, body.content(), expected=expected)
    set_version(response, changed.version)
    return GroupOut.of(changed)


@router.delete("/{group_id}", responses=_CHANGES)
async def archive_group(
    request: Request, response: Response, caller: Manager, group_id: Identifier, expected: Expected
) -> GroupOut:
    """Take a group out of use: what it gave to its members ends."""
    groups = services_of(request).directory.groups
    archived = await groups.archive(caller, group_id, expected=expected)
    set_version(response, archived.version)
    return GroupOut.of(archived)


@router.get("/{group_id}/members")
async def list_members(
    request: Request,
    caller: Reader,
    group_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOf[MemberOut]:
    """Who is directly in a group."""
    found = await services_of(request).directory.groups.members(caller, group_id, page)
    items = [MemberOut.of(member) for member in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


@router.put("/{group_id}/members/{member}")
async def add_member(
    request: Request, caller: Manager, group_id: Identifier, member: Member
) -> MemberOut:
    """Put a user, a service account or a group into a group.

    The caller must hold all that members of the group get.
    """
    groups = services_of(request).directory.groups
    return MemberOut.of(await groups.add_member(caller, group_id, member))


@router.delete("/{group_id}/members/{member}", status_code=204)
async def remove_member(
    request: Request, caller: Manager, group_id: Identifier, member: Member
) -> None:
    """Take a member out of a group."""
    await services_of(request).directory.groups.remove_member(caller, group_id, member)
