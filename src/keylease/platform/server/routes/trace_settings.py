"""What a project wants of its traces: retention, personal data, prices."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier, expected_version
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, body_of, describes, takes
from keylease.platform.traces.project_settings import TraceSettings, Wishes

router: APIRouter = resource_router(prefix="/v1/projects/{project_id}/trace-settings", tag="traces")
SHAPES: Final[tuple[Any, ...]] = (TraceSettings, Wishes)
Reader = Annotated[Caller, allowed(Permission.TRACE_READ)]
Manager = Annotated[Caller, allowed(Permission.TRACE_MANAGE)]


@router.get("", response_class=Response, responses=describes("TraceSettings"))
async def read_trace_settings(request: Request, caller: Reader, project_id: Identifier) -> Response:
    """How long spans are kept, what is taken out of them, and what models cost."""
    found = await services_of(request).traces.settings.get(caller, project_id)
    return answer(found, version=found.version)


@router.put(
    "",
    response_class=Response,
    responses={**describes("TraceSettings"), **problem_responses(412, 428)},
    openapi_extra=takes("Wishes"),
)
async def change_trace_settings(
    request: Request,
    caller: Manager,
    project_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> Response:
    """Say them anew, for spans that come from then on; a shorter retention removes spans."""
    wishes = await body_of(request, Wishes)
    changed = await services_of(request).traces.settings.change(
        caller, project_id, wishes, expected=expected
    )
    return answer(changed, version=changed.version)
