"""The audit log: search, proofs, checkpoints, the raw log, export, stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from keylease.errors import AuditLogUnavailable
from keylease.platform.access.permissions import Permission
from keylease.platform.audit.interfaces import Audit
from keylease.platform.audit.repository import Filter
from keylease.platform.audit.schemas import (
    AuditEntryOut,
    CheckpointOut,
    ConsistencyOut,
    InclusionOut,
    LogKeysOut,
    WitnessesOut,
    WitnessOut,
)
from keylease.platform.audit.service import LATEST_SIZE, PlacedEntry
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.server.guard import allowed
from keylease.platform.server.lasting import still_allowed
from keylease.platform.server.requests import PageOf, page_request
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.primitives.clock import Clock

router: APIRouter = resource_router(prefix="/v1/audit", tag="audit")
_NDJSON = "application/x-ndjson"
_NOTE = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_STREAM = "text/event-stream"
_LATEST_TIME = 2**62
_ASK_AGAIN_SECONDS = 5.0
"""For so long a stream goes on after its reader may not read any more, or until it next waits."""
Reader = Annotated[Caller, allowed(Permission.AUDIT_READ)]
Exporter = Annotated[Caller, allowed(Permission.AUDIT_EXPORT)]
Manager = Annotated[Caller, allowed(Permission.ORGANIZATION_MANAGE)]
Index = Annotated[int, Path(ge=0, le=LATEST_SIZE, description="Counts from 0.")]
Term = Annotated[str, Query(max_length=200)]
Moment = Annotated[int | None, Query(ge=0, le=_LATEST_TIME, description="Microseconds UTC.")]


def _wanted(
    action: Annotated[
        str, Query(max_length=130, description="An action, or a resource with `.*`.")
    ] = "",
    principal: Term = "",
    object: Term = "",  # noqa: A002 - the entry's member of that name
    reason: Term = "",
    gateway_id: Annotated[str, Query(max_length=36)] = "",
    since: Moment = None,
    until: Moment = None,
) -> Filter:
    return Filter(
        action=action,
        principal=principal,
        object=object,
        reason=reason,
        gateway_id=gateway_id,
        since=since,
        until=until,
    )


Wanted = Annotated[Filter, Depends(_wanted)]


@router.get("/entries")
async def search_entries(
    request: Request,
    caller: Reader,
    wanted: Wanted,
    page: Annotated[PageRequest, page_request()],
) -> PageOf[AuditEntryOut]:
    """Search the log; the newest entry first."""
    found = await _audit(request).log.search(caller, wanted, page)
    return PageOf(
        items=[AuditEntryOut.of(placed) for placed in found.items], next_cursor=found.next_cursor
    )


@router.get("/entries/{index}")
async def read_entry(request: Request, caller: Reader, index: Index) -> AuditEntryOut:
    """Read one entry."""
    return AuditEntryOut.of(await _audit(request).log.entry(caller, index))


@router.get(
    "/entries/{index}/raw", response_class=Response, responses={200: {"content": {_BYTES: {}}}}
)
async def read_raw_entry(request: Request, caller: Reader, index: Index) -> Response:
    """Read the bytes of an entry that were hashed: SHA-256 over 0x00 and these."""
    placed = await _audit(request).log.entry(caller, index)
    return Response(placed.entry, media_type=_BYTES)


@router.get("/entries/{index}/proof")
async def prove_inclusion(request: Request, caller: Reader, index: Index) -> InclusionOut:
    """Prove that an entry is in the newest checkpoint."""
    return InclusionOut.of(await _audit(request).log.inclusion(caller, index))


@router.get("/consistency")
async def prove_consistency(
    request: Request,
    caller: Reader,
    old_size: Annotated[int, Query(ge=1, le=LATEST_SIZE, description="Of an earlier checkpoint.")],
) -> ConsistencyOut:
    """Prove that the log of an earlier checkpoint is the beginning of the present one."""
    return ConsistencyOut.of(await _audit(request).log.consistency(caller, old_size))


@router.get("/checkpoints")
async def list_checkpoints(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    cosigned: Annotated[bool, Query(description="Only those that a witness has cosigned.")] = False,  # noqa: FBT002 - FastAPI calls by name
) -> PageOf[CheckpointOut]:
    """List checkpoints with their cosignatures; the largest first."""
    found = await _audit(request).log.checkpoints(caller, page, cosigned=cosigned)
    return PageOf(
        items=[CheckpointOut.of(stored) for stored in found.items], next_cursor=found.next_cursor
    )


@router.get("/keys")
async def read_log_keys(request: Request, caller: Reader) -> LogKeysOut:
    """Read the key that signs the log, and how it follows from earlier ones."""
    return LogKeysOut.of(await _audit(request).log.keys(caller))


@router.post("/keys/rotations", status_code=201)
async def rotate_log_key(request: Request, caller: Manager) -> LogKeysOut:
    """Put a new key in force, which the present one vouches for."""
    audit = _audit(request)
    await audit.sequencer.rotate_key(caller)
    return LogKeysOut.of(await audit.log.keys(caller))


@router.get("/witnesses")
async def list_witnesses(request: Request, caller: Reader) -> WitnessesOut:
    """List who witnesses the log, and whether they are independent of this machine."""
    found = await _audit(request).witnessing.state(caller.organization_id)
    return WitnessesOut(items=[WitnessOut.of(state) for state in found])


@router.get(
    "/log/{path:path}",
    response_class=Response,
    responses={200: {"content": {_NOTE: {}, _BYTES: {}}}},
)
async def read_log_file(
    request: Request,
    caller: Reader,
    path: Annotated[str, Path(max_length=200, description="As c2sp.org/tlog-tiles has it.")],
) -> Response:
    """Read a file of the log: `checkpoint`, `witnessed`, `rotations`, `tile/...`."""
    data = await _audit(request).log.file(caller, path)
    return Response(data, media_type=_BYTES if path.startswith("tile/") else _NOTE)


@router.get(
    "/export", response_class=StreamingResponse, responses={200: {"content": {_NDJSON: {}}}}
)
async def export_log(
    request: Request,
    caller: Exporter,
    wanted: Wanted,
    checkpoint_size: Annotated[
        list[Annotated[int, Query(ge=1, le=LATEST_SIZE)]] | None,
        Query(max_length=16, description="Of checkpoints you have, for consistency proofs."),
    ] = None,
) -> StreamingResponse:
    """Export entries with their proofs, for verification offline. The export itself is logged."""
    lines = await _audit(request).log.export(caller, wanted, sizes=checkpoint_size or ())
    return StreamingResponse(
        lines,
        media_type=_NDJSON,
        headers={"Content-Disposition": 'attachment; filename="audit.ndjson"'},
    )


@router.get(
    "/stream", response_class=StreamingResponse, responses={200: {"content": {_STREAM: {}}}}
)
async def stream_entries(
    request: Request,
    caller: Reader,
    after: Annotated[int | None, Query(ge=-1, le=LATEST_SIZE)] = None,
    last_event_id: Annotated[str, Header(max_length=20)] = "",
) -> StreamingResponse:
    """Follow the log as server-sent events: `id` is the index, `data` the entry.

    Begins behind `Last-Event-ID` or `after`; without them with the next entry that is logged. Ends
    soon after its reader may not read the log any more.
    """
    position = int(last_event_id) if last_event_id.isdecimal() else after
    entries = await _audit(request).log.follow(caller, after=position)
    services = services_of(request)

    async def may_go_on() -> bool:
        return await still_allowed(services, caller, Permission.AUDIT_READ)

    return StreamingResponse(_events(entries, may_go_on, services.clock), media_type=_STREAM)


async def _events(
    entries: AsyncIterator[PlacedEntry | None],
    may_go_on: Callable[[], Awaitable[bool]],
    clock: Clock,
) -> AsyncIterator[bytes]:
    yield b": the audit log\n\n"
    asked_at = clock.monotonic()
    async for placed in entries:
        if clock.monotonic() - asked_at >= _ASK_AGAIN_SECONDS:
            if not await may_go_on():
                return
            asked_at = clock.monotonic()
        if placed is None:
            yield b": nothing new\n\n"
        else:
            yield b"id: %d\nevent: entry\ndata: %b\n\n" % (placed.index, placed.entry)


def _audit(request: Request) -> Audit:
    audit = services_of(request).audit
    if audit is None:
        raise AuditLogUnavailable("The audit log is not open.")
    return audit
