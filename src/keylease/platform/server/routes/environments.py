"""Environments: where credentials are used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import EnvironmentIn, EnvironmentOut
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

router: APIRouter = resource_router(prefix="/v1/environments", tag="environments")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PROJECT_READ)]
Manager = Annotated[Caller, allowed(Permission.PROJECT_MANAGE)]
Expected = Annotated[int, expected_version()]


@router.get("")
async def list_environments(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[EnvironmentOut]:
    """Environments, archived ones included, the oldest first."""
    found = await services_of(request).directory.environments.page(caller, page)
    return PageOf(
        items=[EnvironmentOut.of(each) for each in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def create_environment(
    request: Request, response: Response, caller: Manager, body: EnvironmentIn
) -> EnvironmentOut:
    """Make an environment."""
    made = await services_of(request).directory.environments.create(caller, body.content())
    set_version(response, made.version)
    return EnvironmentOut.of(made)


@router.get("/{environment_id}")
async def read_environment(
    request: Request, response: Response, caller: Reader, environment_id: Identifier
) -> EnvironmentOut:
    """One environment."""
    found = await services_of(request).directory.environments.get(caller, environment_id)
    set_version(response, found.version)
    return EnvironmentOut.of(found)


@router.put("/{environment_id}", responses=_CHANGES)
async def change_environment(
    request: Request,
    response: Response,
    caller: Manager,
    environment_id: Identifier,
    body: EnvironmentIn,
    expected: Expected,
) -> EnvironmentOut:
    """Change an environment."""
    environments = services_of(request).directory.environments
    changed = await environments.change(caller, environment_id, body.content(), expected=expected)
    set_version(response, changed.version)
    return EnvironmentOut.of(changed)


@router.delete("/{environment_id}", responses=_CHANGES)
async def archive_environment(
    request: Request,
    response: Response,
    caller: Manager,
    environment_id: Identifier,
    expected: Expected,
) -> EnvironmentOut:
    """Take an environment out of use."""
    environments = services_of(request).directory.environments
    archived = await environments.archive(caller, environment_id, expected=expected)
    set_version(response, archived.version)
    return EnvironmentOut.of(archived)


@router.post("/{environment_id}/restore", responses=_CHANGES)
async def restore_environment(
    request: Request,
    response: Response,
    caller: Manager,
    environment_id: Identifier,
    expected: Expected,
) -> EnvironmentOut:
    """Put an environment that was archived into use again."""
    environments = services_of(request).directory.environments
    restored = await environments.restore(caller, environment_id, expected=expected)
    set_version(response, restored.version)
    return EnvironmentOut.of(restored)
