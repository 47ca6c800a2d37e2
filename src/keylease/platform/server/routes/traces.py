"""Traces of a project: lists, trees, single spans, sessions, sums; what people say about spans."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from keylease.errors import InputInvalid
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier, page_request, version_of
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, body_of, describes, takes
from keylease.platform.server.traces_assembly import Traces
from keylease.platform.traces.query.aggregates import MAXIMUM_GROUPS, Bucket
from keylease.platform.traces.query.lists import SortBy, SpanOrder
from keylease.platform.traces.query.scope import TimeRange
from keylease.platform.traces.searching import Asked
from keylease.platform.traces.wire import (
    Annotation,
    History,
    SessionLine,
    SpanLine,
    SpanOut,
    SumLines,
    TraceLine,
    Tree,
    shown,
)

router: APIRouter = resource_router(prefix="/v1/projects/{project_id}", tag="traces")
SHAPES: Final[tuple[Any, ...]] = (
    Annotation,
    History,
    SpanOut,
    SumLines,
    Tree,
    Page[SessionLine],
    Page[SpanLine],
    Page[TraceLine],
)
_LATEST: Final = 2**53
_TREE_ROWS: Final = 5_000
_MOST_TREE_ROWS: Final = 50_000
BUCKETS: Final = {
    "minute": Bucket.MINUTE,
    "5_minutes": Bucket.FIVE_MINUTES,
    "15_minutes": Bucket.QUARTER,
    "hour": Bucket.HOUR,
    "6_hours": Bucket.SIX_HOURS,
    "day": Bucket.DAY,
}
Reader = Annotated[Caller, allowed(Permission.TRACE_READ)]
Writer = Annotated[Caller, allowed(Permission.TRACE_WRITE)]
Manager = Annotated[Caller, allowed(Permission.TRACE_MANAGE)]
TraceId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="32 hex digits.")]
SpanId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="16 hex digits.")]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="As the span names it.")]
Moment = Annotated[int | None, Query(ge=0, le=_LATEST, description="Microseconds since 1970, UTC.")]
At = Annotated[
    int | None,
    Query(ge=0, lt=2**63, description="A transaction: read what was there after it, repeatably."),
]
PageAsked = Annotated[PageRequest, page_request()]


def _asked(
    project_id: Identifier,
    filter: Annotated[  # noqa: A002 - the parameter's name
        str, Query(max_length=10_000, description="See docs/reference/query.md.")
    ] = "",
    since: Moment = None,
    until: Moment = None,
    at: At = None,
) -> Asked:
    return Asked(project_id=project_id, filter=filter, time=TimeRange(since, until), at=at)


Wanted = Annotated[Asked, Depends(_asked)]


def _order(
    sort: SortBy = SortBy.TIME,
    ascending: Annotated[bool, Query(description="The least first.")] = False,  # noqa: FBT002 - FastAPI calls by name
) -> SpanOrder:
    return SpanOrder(by=sort, ascending=ascending)


Order = Annotated[SpanOrder, Depends(_order)]


@router.get("/traces", response_class=Response, responses=describes("Page_TraceLine_"))
async def list_traces(
    request: Request, caller: Reader, wanted: Wanted, order: Order, page: PageAsked
) -> Response:
    """List traces in which the filter selects a span: the root of each, and sums over its spans."""
    return answer(await _traces(request).search.traces(caller, wanted, page, order=order))


@router.get("/spans", response_class=Response, responses=describes("Page_SpanLine_"))
async def list_spans(
    request: Request, caller: Reader, wanted: Wanted, order: Order, page: PageAsked
) -> Response:
    """List spans that the filter selects."""
    return answer(await _traces(request).search.spans(caller, wanted, page, order=order))


@router.get("/sessions", response_class=Response, responses=describes("Page_SessionLine_"))
async def list_sessions(
    request: Request, caller: Reader, wanted: Wanted, page: PageAsked
) -> Response:
    """List sessions of spans that the filter selects; those that were active last first."""
    return answer(await _traces(request).search.sessions(caller, wanted, page))


@router.get("/trace-sums", response_class=Response, responses=describes("SumLines"))
async def sum_spans(
    request: Request,
    caller: Reader,
    wanted: Wanted,
    bucket: Annotated[
        str, Query(pattern=f"^({'|'.join(BUCKETS)})?$", description="The step of a time series.")
    ] = "",
    group_by: Annotated[
        str, Query(max_length=300, description="A field, or a path such as `attributes.customer`.")
    ] = "",
    top: Annotated[int, Query(ge=1, le=MAXIMUM_GROUPS, description="Groups of their own.")] = 10,
    count_twins: Annotated[  # noqa: FBT002 - FastAPI calls by name
        bool, Query(description="Count a call twice that its program and the gateway report.")
    ] = False,
) -> Response:
    """Sum up spans: counts, errors, latencies, tokens, costs; in groups, steps of time, or both."""
    lines = await _traces(request).search.sums(
        caller,
        wanted,
        bucket=BUCKETS[bucket] if bucket else None,
        group_by=group_by,
        top=top,
        count_twins=count_twins,
    )
    return answer(SumLines(items=lines))


@router.get("/traces/{trace_id}", response_class=Response, responses=describes("Tree"))
async def read_trace(
    request: Request,
    caller: Reader,
    project_id: Identifier,
    trace_id: TraceId,
    at: At = None,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_TREE_ROWS)] = _TREE_ROWS,
) -> Response:
    """Read a trace: a light row for each span, in the order in which they began."""
    tree = await _traces(request).service.tree(
        caller, project_id, trace_id, at=at, offset=offset, limit=limit
    )
    return answer(tree)


@router.delete("/traces/{trace_id}", status_code=204)
async def remove_trace(
    request: Request, caller: Manager, project_id: Identifier, trace_id: TraceId
) -> None:
    """Remove a trace for good."""
    await _traces(request).service.remove(caller, project_id, trace_id=trace_id)


@router.delete("/traces", status_code=204)
async def remove_traces(
    request: Request,
    caller: Manager,
    project_id: Identifier,
    user_id: Annotated[str, Query(max_length=500, description="As spans name the user.")] = "",
    everything: Annotated[bool, Query(description="Every trace of the project.")] = False,  # noqa: FBT002 - FastAPI calls by name
) -> None:
    """Remove every trace of a user, or every trace of the project, for good."""
    if bool(user_id) == everything:
        raise InputInvalid("Say whose traces go: `user_id`, or `everything=true` of the project.")
    await _traces(request).service.remove(
        caller, project_id, user_id=user_id, everything=everything
    )


@router.get(
    "/traces/{trace_id}/spans/{span_id}", response_class=Response, responses=describes("SpanOut")
)
async def read_span(
    request: Request,
    caller: Reader,
    project_id: Identifier,
    trace_id: TraceId,
    span_id: SpanId,
    at: At = None,
) -> Response:
    """Read a span, whole but for large texts, which it names by their digest."""
    span = await _traces(request).service.span(caller, project_id, trace_id, span_id, at=at)
    return answer(shown(span), version=span.xact_id)


@router.patch(
    "/traces/{trace_id}/spans/{span_id}",
    response_class=Response,
    responses={**describes("SpanOut"), **problem_responses(412)},
    openapi_extra=takes("Annotation"),
)
async def annotate_span(
    request: Request,
    caller: Writer,
    project_id: Identifier,
    trace_id: TraceId,
    span_id: SpanId,
    if_match: Annotated[str | None, Header(max_length=40)] = None,
) -> Response:
    """Say something about a span: scores, tags, metadata, what was expected, a comment.

    It is merged into what is there; with `If-Match` only into the version that was read.
    """
    said = await body_of(request, Annotation)
    expected = None if if_match is None else version_of(if_match)
    span = await _traces(request).service.annotate(
        caller, project_id, trace_id, span_id, said, expected=expected
    )
    return answer(shown(span), version=span.xact_id)


@router.delete("/traces/{trace_id}/spans/{span_id}", status_code=204)
async def remove_span(
    request: Request, caller: Manager, project_id: Identifier, trace_id: TraceId, span_id: SpanId
) -> None:
    """Remove a span for good."""
    await _traces(request).service.remove(caller, project_id, trace_id=trace_id, span_id=span_id)


@router.get(
    "/traces/{trace_id}/spans/{span_id}/history",
    response_class=Response,
    responses=describes("History"),
)
async def read_span_history(
    request: Request, caller: Reader, project_id: Identifier, trace_id: TraceId, span_id: SpanId
) -> Response:
    """Read every state of a span: what was changed, when, and by whom."""
    states = await _traces(request).service.history(caller, project_id, trace_id, span_id)
    return answer(History(items=states))


@router.get(
    "/traces/{trace_id}/texts/{digest}",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
async def read_text(
    request: Request, caller: Reader, project_id: Identifier, trace_id: TraceId, digest: Digest
) -> Response:
    """Read a large input or output, whole."""
    text = await _traces(request).service.payload(caller, project_id, trace_id, digest)
    return Response(text, media_type="application/json")


def _traces(request: Request) -> Traces:
    return services_of(request).traces
