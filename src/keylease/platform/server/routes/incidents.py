"""What breaks if this was breached? Previews; they change nothing."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.inventory.preview import LATEST, Preview, Subject, SubjectKind
from keylease.platform.server.guard import allowed
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, describes

router: APIRouter = resource_router(prefix="/v1/incidents", tag="inventory")
SHAPES: Final[tuple[Any, ...]] = (Preview,)
Moment = Annotated[int | None, Query(ge=0, le=LATEST, description="Microseconds UTC.")]


@router.get("/preview", response_class=Response, responses=describes("Preview"))
async def preview_incident(
    request: Request,
    caller: Annotated[Caller, allowed(Permission.INVENTORY_READ)],
    kind: SubjectKind,
    name: Annotated[str, Query(min_length=1, max_length=200)],
    since: Moment = None,
    until: Moment = None,
    owner: Annotated[str, Query(max_length=200, description="Only this owner's part.")] = "",
) -> Response:
    """Every affected secret, where else it lives, who uses it, and what is not known."""
    subject = Subject(kind=kind, name=name, since=since, until=until)
    made = await services_of(request).incident_previews.preview(caller, subject)
    return answer(made.part_of(owner) if owner else made)
