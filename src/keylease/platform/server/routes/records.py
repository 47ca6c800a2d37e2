"""Recent calls through the gateways, and their totals."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.records.calls import CallFilter, TotalsBy
from keylease.platform.records.schemas import CallOut, TotalOut, Totals
from keylease.platform.records.service import RecordService
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import PageOf, page_request
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import link_of

_LATEST: Final = 2**53
router: APIRouter = resource_router(prefix="/v1/calls", tag="calls")
Reader = Annotated[Caller, allowed(Permission.CALL_READ)]
Moment = Annotated[int, Query(ge=0, le=_LATEST, description="Microseconds since 1970, UTC.")]
Term = Annotated[str, Query(max_length=220)]


def _wanted(
    since: Moment = 0,
    until: Moment = 0,
    principal: Term = "",
    credential_id: Annotated[str, Query(max_length=36)] = "",
    model: Term = "",
) -> CallFilter:
    return CallFilter(
        since=since, until=until, principal=principal, credential_id=credential_id, model=model
    )


Wanted = Annotated[CallFilter, Depends(_wanted)]


@router.get("")
async def list_calls(
    request: Request,
    caller: Reader,
    wanted: Wanted,
    page: Annotated[PageRequest, page_request()],
    failed: Annotated[bool | None, Query()] = None,
) -> PageOf[CallOut]:
    """List recent calls, the newest first."""
    narrowed = CallFilter(
        since=wanted.since,
        until=wanted.until,
        principal=wanted.principal,
        credential_id=wanted.credential_id,
        model=wanted.model,
        failed=failed,
    )
    found = await _records(request).calls(caller, narrowed, page)
    return PageOf(items=[CallOut.of(call) for call in found.items], next_cursor=found.next_cursor)


@router.get("/totals")
async def read_call_totals(
    request: Request,
    caller: Reader,
    wanted: Wanted,
    by: Annotated[TotalsBy, Query(description="What the sums are broken down by.")] = TotalsBy.DAY,
) -> Totals:
    """Sum calls by principal, credential, model or day. `since` and `until` mean whole UTC days."""
    found = await _records(request).totals(caller, by, wanted)
    return Totals(by=by, items=[TotalOut.of(total) for total in found])


@router.get("/{call_id}")
async def read_call(
    request: Request, caller: Reader, call_id: Annotated[str, Path(max_length=36)]
) -> CallOut:
    """Read one call."""
    return CallOut.of(await _records(request).call(caller, call_id))


def _records(request: Request) -> RecordService:
    return link_of(request).records
