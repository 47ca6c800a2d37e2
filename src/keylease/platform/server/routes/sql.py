"""SQL over spans: read only, over the caller's projects and nothing else, under limits."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import body_of, describes, takes
from keylease.platform.traces.query.sql.scoping import MAXIMUM_PARAMETERS
from keylease.platform.traces.searching import SqlAnswer

router: APIRouter = resource_router(prefix="/v1", tag="traces")
Reader = Annotated[Caller, allowed(Permission.TRACE_READ)]
Scalar = str | int | float | bool | None


class SqlQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SELECT of ClickHouse's SQL over the tables `spans` and `span_versions`."""

    query: Annotated[str, Meta(min_length=1, max_length=20_000)]
    parameters: Annotated[
        dict[str, Scalar | list[Scalar]], Meta(max_length=MAXIMUM_PARAMETERS)
    ] = {}
    """Values of ``{name:Type}`` in the query."""
    at: Annotated[str, Meta(pattern=r"^\d{0,18}$|^[0-8]\d{18}$")] = ""
    """A transaction: read what was there after it, repeatably; empty is now."""
    explain: bool = False
    """Say how the engine would run it instead of running it."""


SHAPES: Final[tuple[Any, ...]] = (SqlQuestion, SqlAnswer)
_ANSWERS: Final = {**describes("SqlAnswer"), **problem_responses(403, 422)}
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


@router.post(
    "/projects/{project_id}/sql",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=takes("SqlQuestion"),
)
async def query_project(request: Request, caller: Reader, project_id: Identifier) -> Response:
    """Ask the spans of a project in SQL."""
    return await _answered(request, caller, (project_id,))


@router.post(
    "/sql", response_class=Response, responses=_ANSWERS, openapi_extra=takes("SqlQuestion")
)
async def query_organization(request: Request, caller: Reader) -> Response:
    """Ask the spans of all projects in SQL, with `trace:read` in the whole organization."""
    return await _answered(request, caller, None)


async def _answered(
    request: Request, caller: Caller, project_ids: tuple[str, ...] | None
) -> Response:
    question = await body_of(request, SqlQuestion)
    traces = services_of(request).traces
    if project_ids is None:
        project_ids = await traces.projects.all_of(caller.organization_id)
    found = await traces.search.sql(
        caller,
        question.query,
        project_ids=project_ids,
        parameters=question.parameters,
        at=int(question.at) if question.at else None,
        explain=question.explain,
    )
    return Response(_encode(found), media_type="application/json")
