"""The trust report, and the status page that does not hide a security problem behind uptime."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed, open_to_all
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, describes
from keylease.platform.trust.report import Status, TrustReport

router = APIRouter(tags=["trust"])
SHAPES: Final[tuple[Any, ...]] = (TrustReport, Status)


@router.get(
    "/v1/trust",
    response_class=Response,
    responses={**describes("TrustReport"), **problem_responses(401, 403, 503)},
)
async def read_trust_report(
    request: Request, caller: Annotated[Caller, allowed(Permission.TRUST_READ)]
) -> Response:
    """Who stores what secret, where, isolated how, for how long, with what audit trail."""
    return answer(await services_of(request).trust.report(caller))


@router.get("/status", response_class=Response, responses=describes("Status"))
async def read_status(request: Request, _: Annotated[None, open_to_all()]) -> Response:
    """Credential trust beside uptime, in numbers that name nobody."""
    return answer(await services_of(request).trust.status())
