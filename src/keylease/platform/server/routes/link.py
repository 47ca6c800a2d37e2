"""What gateways ask. Each request is proven by the gateway's own signature, not by a sign-in.

These routes are open to all because ``LinkService`` proves who asks before anything else happens; a
test calls each without a signature, with a foreign one and with a replayed one.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Request, Response

from keylease.contracts import platform_link as wire
from keylease.platform.gateways.link_service import LinkService
from keylease.platform.gateways.proof import SignedRequest
from keylease.platform.server.guard import open_to_all
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import path_of, query_of
from keylease.platform.server.services import link_of

MAXIMUM_BODY: Final = 18 * 1024 * 1024
"""Bytes: one record of the largest size that a gateway's spool takes, and its envelope."""
_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"
Nobody = Annotated[None, open_to_all()]

router = APIRouter(
    tags=["link"],
    responses=problem_responses(400, 401, 403, 413, 429, 503),
)


def _body(media_type: str) -> dict[str, object]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(wire.ENROLMENTS, openapi_extra=_body(_JSON))
async def enroll_gateway(request: Request, _: Nobody) -> Response:
    """Register the key of a gateway that has an enrolment code."""
    return _answer(await _link(request).enroll(await _signed(request)))


@router.post(wire.POLL, openapi_extra=_body(_JSON))
async def poll(request: Request, _: Nobody) -> Response:
    """Take a gateway's report; answer when there is something new for it."""
    return _answer(await _link(request).poll(await _signed(request)))


@router.post(wire.CALL_RECORDS, openapi_extra=_body(_MSGPACK))
async def push_call_records(request: Request, _: Nobody) -> Response:
    """Take a batch of call records."""
    await _link(request).expect(_gateway_id(request))
    return _answer(await _link(request).push_call_records(await _signed(request)))


@router.post(wire.AUDIT_ENTRIES, openapi_extra=_body(_MSGPACK))
async def push_audit_entries(request: Request, _: Nobody) -> Response:
    """Take a batch of audit entries."""
    await _link(request).expect(_gateway_id(request))
    return _answer(await _link(request).push_audit_entries(await _signed(request)))


@router.post(wire.COSIGNATURES, openapi_extra=_body(_JSON))
async def push_cosignature(request: Request, _: Nobody) -> Response:
    """Take a gateway's cosignature of a checkpoint."""
    return _answer(await _link(request).push_cosignature(await _signed(request)))


@router.post(wire.FINGERPRINTS, openapi_extra=_body(_JSON))
async def push_fingerprints(request: Request, _: Nobody) -> Response:
    """Take by what the secrets of a gateway's credentials are recognised."""
    return _answer(await _link(request).push_fingerprints(await _signed(request)))


async def _signed(request: Request) -> SignedRequest:
    headers = request.headers
    return SignedRequest(
        method=request.method,
        target=path_of(request) + (f"?{query_of(request)}" if query_of(request) else ""),
        body=await request.body(),
        gateway_id=_gateway_id(request),
        time=headers.get(wire.TIME_HEADER, ""),
        nonce=headers.get(wire.NONCE_HEADER, ""),
        signature=headers.get(wire.SIGNATURE_HEADER, ""),
    )


def _gateway_id(request: Request) -> str:
    return request.headers.get(wire.GATEWAY_HEADER, "")[:64]


def _answer(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type=_JSON)


def _link(request: Request) -> LinkService:
    return link_of(request).service
