"""Back-ups of the trace store: made on the server's machine, while spans come in.

A back-up holds the spans of every organization, and nothing of it goes out here: whoever may enter
the server's machine fetches it. The disk and the store are those of the organization that the
installation began with: it asks for back-ups, and to others there are none.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from keylease.errors import PermissionDenied, ResourceNotFound
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import Services, services_of
from keylease.platform.server.shapes import answer, describes
from keylease.platform.traces.backing_up import BackUps, TraceBackup

router: APIRouter = resource_router(prefix="/v1/trace-store/backups", tag="traces")
Manager = Annotated[Caller, allowed(Permission.TRACE_MANAGE)]
_BEGUN: Final = 202
_NONE: Final = "There is no such back-up."


class TraceBackups(msgspec.Struct, frozen=True, kw_only=True):
    """Back-ups on the server's machine, the newest first."""

    items: list[TraceBackup]


SHAPES: Final[tuple[Any, ...]] = (TraceBackup, TraceBackups)


@router.post(
    "",
    status_code=_BEGUN,
    response_class=Response,
    responses={**describes("TraceBackup", status=_BEGUN), **problem_responses(409)},
)
async def back_up_trace_store(request: Request, caller: Manager) -> Response:
    """Begin a back-up of the trace store; it goes on after the answer. It is logged.

    It holds everything that was acknowledged before it was asked for. One is made at a time; on a
    ClickHouse server its own back-ups are used.
    """
    backups = await _backups(services_of(request), caller)
    if backups is None:
        raise PermissionDenied(
            "A back-up holds the spans of every organization of this server; only the one that "
            "the installation began with may ask for it."
        )
    return answer(await backups.start(caller), status=_BEGUN)


@router.get("", response_class=Response, responses=describes("TraceBackups"))
async def list_trace_backups(request: Request, caller: Manager) -> Response:
    """List the back-ups on the server's machine, with the one that is being made or has failed."""
    backups = await _backups(services_of(request), caller)
    return answer(TraceBackups(items=[] if backups is None else await backups.listed()))


@router.get("/{backup_id}", response_class=Response, responses=describes("TraceBackup"))
async def read_trace_backup(request: Request, caller: Manager, backup_id: Identifier) -> Response:
    """Read how far a back-up is, and where it lies."""
    backups = await _backups(services_of(request), caller)
    if backups is None:
        raise ResourceNotFound(_NONE)
    return answer(await backups.read(backup_id))


@router.delete("/{backup_id}", status_code=204, responses=problem_responses(409))
async def remove_trace_backup(request: Request, caller: Manager, backup_id: Identifier) -> None:
    """Remove a back-up from the server's machine."""
    backups = await _backups(services_of(request), caller)
    if backups is None:
        raise ResourceNotFound(_NONE)
    await backups.remove(caller, backup_id)


async def _backups(services: Services, caller: Caller) -> BackUps | None:
    """``None`` for an organization whose installation this is not."""
    async with services.database.transaction() as tx:
        first = await services.directory.organizations.first_owner(tx)
    if first is None or first.organization_id != caller.organization_id:
        return None
    return services.traces.backups
