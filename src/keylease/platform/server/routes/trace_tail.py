"""Follow the spans of a project as they become readable: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed
from keylease.platform.server.lasting import still_allowed
from keylease.platform.server.requests import Identifier
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.traces.tail import Tailed
from keylease.primitives.clock import Clock

router: APIRouter = resource_router(prefix="/v1/projects/{project_id}", tag="traces")
_STREAM: Final = "text/event-stream"
_ASK_AGAIN_SECONDS: Final = 5.0
"""For so long a tail goes on after its reader may not read any more, or until spans come."""
Reader = Annotated[Caller, allowed(Permission.TRACE_READ)]


@router.get(
    "/trace-tail", response_class=StreamingResponse, responses={200: {"content": {_STREAM: {}}}}
)
async def follow_spans(
    request: Request,
    caller: Reader,
    project_id: Identifier,
    filter: Annotated[  # noqa: A002 - the parameter's name
        str, Query(max_length=10_000, description="See docs/reference/query.md.")
    ] = "",
) -> StreamingResponse:
    """Follow spans that the filter selects. `data` of an event `span` is a line of the list.

    An event `lost` says how many spans a reader that was too slow did not get. A tail ends soon
    after its reader may not read the project any more.
    """
    services = services_of(request)
    traces = services.traces
    wanted = await traces.search.selector(filter)
    await traces.keeping()
    spans = traces.tail.listen(caller.organization_id, project_id, wanted)

    async def may_go_on() -> bool:
        return await still_allowed(services, caller, Permission.TRACE_READ, project_id=project_id)

    return StreamingResponse(_events(spans, may_go_on, services.clock), media_type=_STREAM)


async def _events(
    tailed: AsyncIterator[Tailed], may_go_on: Callable[[], Awaitable[bool]], clock: Clock
) -> AsyncIterator[bytes]:
    yield b": spans\n\n"
    asked_at = clock.monotonic()
    async for some in tailed:
        if clock.monotonic() - asked_at >= _ASK_AGAIN_SECONDS:
            if not await may_go_on():
                return
            asked_at = clock.monotonic()
        if some.lost:
            yield b"event: lost\ndata: %d\n\n" % some.lost
        for span in some.spans:
            yield b"id: %d\nevent: span\ndata: %b\n\n" % (span.xact_id, span.content)
        if not some.spans and not some.lost:
            yield b": nothing new\n\n"
