"""Projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import NamedIn, ProjectOut
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

router: APIRouter = resource_router(prefix="/v1/projects", tag="projects")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PROJECT_READ)]
Manager = Annotated[Caller, allowed(Permission.PROJECT_MANAGE)]
Expected = Annotated[int, expected_version()]


@router.get("")
async def list_projects(
    request: Request,
    caller: Annotated[Caller, signed_in()],
    page: Annotated[PageRequest, page_request()],
) -> PageOf[ProjectOut]:
    """The projects that the caller may read, archived ones included, the oldest first."""
    services = services_of(request)
    reach = await services.rules.decisions.reach(caller, Permission.PROJECT_READ)
    if not reach.everywhere and not reach.project_ids:
        await services.access.require(caller, Permission.PROJECT_READ)  # says why not
    only = None if reach.everywhere else reach.project_ids
    found = await services.directory.projects.page_of(caller, page, only=only)
    items = [ProjectOut.of(each) for each in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def create_project(
    request: Request, response: Response, caller: Manager, body: NamedIn
) -> ProjectOut:
    """Make a project."""
    made = await services_of(request).directory.projects.create(caller, body.content())
    set_version(response, made.version)
    return ProjectOut.of(made)


@router.get("/{project_id}")
async def read_project(
    request: Request, response: Response, caller: Reader, project_id: Identifier
) -> ProjectOut:
    """One project."""
    found = await services_of(request).directory.projects.get(caller, project_id)
    set_version(response, found.version)
    return ProjectOut.of(found)


@router.put("/{project_id}", responses=_CHANGES)
async def change_project(
    request: Request,
    response: Response,
    caller: Manager,
    project_id: Identifier,
    body: NamedIn,
    expected: Expected,
) -> ProjectOut:
    """Rename a project, or describe it in other words."""
    projects = services_of(request).directory.projects
    changed = await projects.change(caller, project_id, body.content(), expected=expected)
    set_version(response, changed.version)
    return ProjectOut.of(changed)


@router.delete("/{project_id}", responses=_CHANGES)
async def archive_project(
    request: Request,
    response: Response,
    caller: Manager,
    project_id: Identifier,
    expected: Expected,
) -> ProjectOut:
    """Take a project out of use."""
    projects = services_of(request).directory.projects
    archived = await projects.archive(caller, project_id, expected=expected)
    set_version(response, archived.version)
    return ProjectOut.of(archived)


@router.post("/{project_id}/restore", responses=_CHANGES)
async def restore_project(
    request: Request,
    response: Response,
    caller: Manager,
    project_id: Identifier,
    expected: Expected,
) -> ProjectOut:
    """Put a project that was archived into use again."""
    projects = services_of(request).directory.projects
    restored = await projects.restore(caller, project_id, expected=expected)
    set_version(response, restored.version)
    return ProjectOut.of(restored)
