"""Errors as RFC 9457 problem documents. The one place where an exception becomes a response.

Protects: a client learns the code, the safe message, the advice and a request id. Nothing else of
    an exception leaves the process, and no part of the request is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from keylease.errors import (
    KeyleaseError,
    LimitReached,
    PolicyInvalid,
    QueryInvalid,
    TooManyAttempts,
    TraceQueueFull,
)

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:keylease:error:"
_CODES: Final = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timed_out",
    413: "request_too_large",
}
_RETRY_SECONDS: Final = 5
"""After which what is away may be back: a database, the trace store, room on the disk."""
_log: Final = structlog.stdlib.get_logger


class ProblemPart(BaseModel):
    """One thing that is wrong with the request."""

    location: str = Field(description="Where: body, query, path or header, and the path in it.")
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="A URN that ends with the code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; docs/reference/errors.md lists them all.")
    request_id: str
    advice: str = ""
    errors: list[ProblemPart] = Field(default_factory=list)
    position: int | None = Field(
        default=None, description="The character of a filter or of SQL at fault, from 0."
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides its success, for the OpenAPI document."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every exception with a problem document."""

    @app.exception_handler(KeyleaseError)
    async def _known(request: Request, error: KeyleaseError) -> JSONResponse:
        headers = {}
        if isinstance(error, TooManyAttempts | LimitReached | TraceQueueFull):
            headers["Retry-After"] = str(error.retry_after)
        elif error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(_RETRY_SECONDS)
        if error.http_status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return problem(
            request,
            error.http_status,
            error.code,
            error.message,
            error.advice,
            more=_more(error),
            headers=headers,
        )

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        parts = [
            ProblemPart(location=".".join(map(str, part["loc"]))[:200], message=part["msg"][:300])
            for part in error.errors()[:20]
        ]
        return problem(
            request,
            422,
            "input_invalid",
            "The request is not as it must be.",
            "`errors` says where; the OpenAPI document says how it must be.",
            more={"errors": parts},
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code
        code = _CODES.get(status, "request_refused")
        headers = dict(error.headers or {})
        return problem(request, status, code, HTTPStatus(status).description, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def _gone(request: Request, _: ClientDisconnect) -> JSONResponse:
        # Whoever sent it went away in the middle of the body, and hears this no more: no defect.
        return problem(request, 400, "request_cut_off", "The request did not arrive as a whole.")

    @app.exception_handler(Exception)
    async def _defect(request: Request, error: Exception) -> JSONResponse:
        # Neither its text nor the traceback: both could hold what the request contained.
        place = _place(error)
        _log().error("defect", error=type(error).__name__, at=place, request_id=_id(request))
        return problem(
            request,
            500,
            "internal",
            "Something went wrong inside the platform.",
            "The request id names the line in the platform's log.",
        )


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    advice: str = "",
    *,
    more: Mapping[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """A problem document as a response; ``more`` are further members of it."""
    body = Problem(
        type=_TYPE + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=_id(request),
        advice=advice,
        **(more or {}),
    )
    return JSONResponse(
        body.model_dump(exclude_defaults=True),
        status_code=status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def _more(error: KeyleaseError) -> dict[str, Any]:
    """What the document says beside the message: each mistake, or the character at fault."""
    if isinstance(error, QueryInvalid):
        return {"position": error.position}
    if not isinstance(error, PolicyInvalid):
        return {}
    parts = [
        ProblemPart(location=part.location, message=f"{part.message} {part.suggestion}".strip())
        for part in error.mistakes
    ]
    return {"errors": parts}


def _id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}"
