"""``POST /v1/traces`` and ``POST /otel/v1/traces``: OTLP over HTTP.

Plain routes: their bodies are OTLP and so are their answers, errors included (``google.rpc.Status``
in the encoding of the request), so that senders show the reason. What is not in a body is checked
before it is read; the edge bounds its size and the time it may take.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from keylease.errors import KeyleaseError, SpansTooLarge, TraceQueueFull
from keylease.platform.server.guard import Evidence, address_of
from keylease.platform.server.ingest_access import PROJECT_HEADER
from keylease.platform.server.rpc_status import rpc_status
from keylease.platform.server.services import services_of
from keylease.platform.traces.ingest.decoding import Encoding
from keylease.platform.traces.ingest.intake import Room
from keylease.platform.traces.ingest.limits import Limits

PATHS: Final = ("/v1/traces", "/otel/v1/traces")
MAXIMUM_BODY: Final = Limits().body_bytes
_MEDIA_TYPES: Final = {
    "application/x-protobuf": Encoding.PROTOBUF,
    "application/protobuf": Encoding.PROTOBUF,
    "application/json": Encoding.JSON,
}
_RETRY_SECONDS: Final = 5
"""For answers that ask to come again and do not say when."""
_GRPC_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 3, 415: 3, 422: 3, 429: 8}
"""HTTP status -> google.rpc.Code; 14 (unavailable) for 503, 13 (internal) for the rest."""
_UNAVAILABLE: Final = 14
_INTERNAL: Final = 13

router = APIRouter()


async def export_traces(request: Request) -> Response:
    """Take an OTLP export of spans; answered when it is durable."""
    encoding = _MEDIA_TYPES.get(_media_type(request))
    try:
        return await _taken(request, encoding)
    except KeyleaseError as error:
        detail = f"{error.message} {error.advice}".strip()
        return _refused(request, encoding, error.http_status, error.code, detail, error)
    except HTTPException as error:
        detail = _details(error.status_code)
        return _refused(request, encoding, error.status_code, "request_refused", detail, error)


for _path in PATHS:
    router.add_route(_path, export_traces, methods=["POST"], include_in_schema=False)


async def _taken(request: Request, encoding: Encoding | None) -> Response:
    if encoding is None:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    door = services_of(request).spans
    evidence = Evidence(
        method=request.method,
        authorization=request.headers.get("authorization", ""),
        address=address_of(request),
        request_id=request.state.request_id,
    )
    named = request.headers.get(PROJECT_HEADER, "").strip()
    sender = await door.access.sender(evidence, named=named)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAXIMUM_BODY:
        raise _too_large()
    with (await door.receiver.opened()).room(sender.organization_id) as room:
        body = await _body(request, room)
        outcome = await door.receiver.receive(
            body,
            sender,
            room,
            encoding=encoding,
            content_encoding=request.headers.get("content-encoding", ""),
        )
    return Response(outcome.answer(encoding), media_type=encoding.value)


async def _body(request: Request, room: Room) -> bytes:
    parts: list[bytes] = []
    async for part in request.stream():
        room.take(len(part))
        parts.append(part)
        if room.taken > MAXIMUM_BODY:
            raise _too_large()
    return b"".join(parts)


def _too_large() -> SpansTooLarge:
    return SpansTooLarge(
        f"The body has more than {MAXIMUM_BODY} bytes.",
        advice="Send fewer spans in a request (OTEL_BSP_MAX_EXPORT_BATCH_SIZE), or compress it.",
    )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _details(status: int) -> str:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        error = _too_large()
        return f"{error.message} {error.advice}"
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return "Send OTLP as application/x-protobuf or application/json."
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return "The body did not arrive in time."
    return HTTPStatus(status).description


def _refused(
    request: Request,
    encoding: Encoding | None,
    status: int,
    code: str,
    detail: str,
    error: Exception,
) -> Response:
    """``google.rpc.Status``; the request's own encoding, or JSON when it has none of ours."""
    text = f"{detail} ({code}, request {request.state.request_id})"
    number = _GRPC_CODES.get(status, _UNAVAILABLE if status == 503 else _INTERNAL)  # noqa: PLR2004 - HTTP's
    headers = {}
    if isinstance(error, TraceQueueFull):
        headers["Retry-After"] = str(error.retry_after)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if encoding is Encoding.PROTOBUF:
        content = rpc_status(number, text, retry_seconds=int(headers.get("Retry-After", "0")))
    else:
        content = msgspec.json.encode({"code": number, "message": text})
    media_type = (encoding or Encoding.JSON).value
    return Response(content, status_code=status, media_type=media_type, headers=headers)
