"""The trace store itself: how it is, what was set aside, and a project's spans as a file."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from keylease.errors import ResourceNotFound
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import Identifier
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, describes
from keylease.platform.traces.exporting import LATEST, exported
from keylease.platform.traces.ingest.set_aside import SetAside

router: APIRouter = resource_router(prefix="/v1", tag="traces")
_PARQUET: Final = "application/vnd.apache.parquet"
Manager = Annotated[Caller, allowed(Permission.TRACE_MANAGE)]
Exporter = Annotated[Caller, allowed(Permission.TRACE_EXPORT)]
Moment = Annotated[int, Query(ge=0, le=LATEST, description="Microseconds since 1970, UTC.")]


class TraceStoreState(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is."""

    state: str
    """``closed`` (nobody has needed it yet), ``open`` or ``unavailable``."""
    place: str = ""
    """Which store it is, in words."""
    applied: str = "0"
    """The last transaction that reads see."""
    waiting_bytes: int = 0
    """What is acknowledged and waits to become readable."""
    trouble: str = ""
    """Code of why it is unavailable."""
    message: str = ""
    findings_left_out: int = 0
    """Masked secrets that the inventory was not told of, because there were too many at once."""


class SetAsideList(msgspec.Struct, frozen=True, kw_only=True):
    """Batches that the store could not take, the newest first."""

    items: list[SetAside]


SHAPES: Final[tuple[Any, ...]] = (TraceStoreState, SetAsideList)


@router.get("/trace-store", response_class=Response, responses=describes("TraceStoreState"))
async def read_trace_store(request: Request, caller: Manager) -> Response:
    """Read how the trace store is."""
    del caller
    traces = services_of(request).traces
    needed, place = traces.keeping, traces.place
    keeping = needed.now
    trouble = needed.trouble if keeping is None else keeping.trouble
    if keeping is None:
        return answer(
            TraceStoreState(
                place=place,
                state="unavailable" if trouble else "closed",
                trouble=trouble.code if trouble else "",
                message=trouble.message if trouble else "",
            )
        )
    return answer(
        TraceStoreState(
            place=place,
            state="unavailable" if trouble else "open",
            applied=str(keeping.intake.applied),
            waiting_bytes=keeping.intake.log.backlog(),
            trouble=trouble.code if trouble else "",
            message=trouble.message if trouble else "",
            findings_left_out=keeping.intake.findings_left_out,
        )
    )


@router.get("/trace-store/set-aside", response_class=Response, responses=describes("SetAsideList"))
async def list_set_aside(request: Request, caller: Manager) -> Response:
    """List batches of spans that were acknowledged and that the store could not take, and why."""
    keeping = await services_of(request).traces.keeping()
    found = await keeping.read(lambda: keeping.intake.set_aside.listed(caller.organization_id))
    return answer(SetAsideList(items=found))


@router.delete("/trace-store/set-aside/{set_aside_id}", status_code=204)
async def discard_set_aside(
    request: Request,
    caller: Manager,
    set_aside_id: Annotated[str, Path(pattern=r"^[0-9]{19}-[0-9]{1,6}$")],
) -> None:
    """Discard a batch that was set aside."""
    keeping = await services_of(request).traces.keeping()
    aside, organization_id = keeping.intake.set_aside, caller.organization_id
    if not await keeping.read(lambda: aside.discard(organization_id, set_aside_id)):
        raise ResourceNotFound("There is no such batch.")


@router.get(
    "/projects/{project_id}/trace-export",
    response_class=StreamingResponse,
    responses={200: {"content": {_PARQUET: {}}}},
)
async def export_project(
    request: Request,
    caller: Exporter,
    project_id: Identifier,
    since: Moment = 0,
    until: Moment = LATEST,
) -> StreamingResponse:
    """Export a project's spans as a Parquet file, large texts included. The export is logged."""
    services = services_of(request)
    chunks = await exported(
        services.database,
        services.traces.keeping,
        caller,
        project_id,
        since=since,
        until=until,
    )
    headers = {"Content-Disposition": 'attachment; filename="spans.parquet"'}
    return StreamingResponse(chunks, media_type=_PARQUET, headers=headers)
