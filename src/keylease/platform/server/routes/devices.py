"""The device flow (RFC 8628): two OAuth endpoints for the device, two of ours for the person."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from keylease.errors import TokenExchangeRefused
from keylease.platform.db.callers import Caller
from keylease.platform.identity.device_flow.schemas import (
    DecisionIn,
    DeviceStartOut,
    DeviceTokenOut,
    LookIn,
    OAuthProblem,
    WaitingDeviceOut,
)
from keylease.platform.identity.sessions.interfaces import LIFETIMES, SessionKind
from keylease.platform.server.guard import address_of, open_to_all, signed_in
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.services import identity_of

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_ID: Final = "keylease-cli"
_MAXIMUM_FIELDS: Final = 16
_LONGEST_FIELD: Final = 512
_OAUTH: Final[dict[int | str, dict[str, Any]]] = {400: {"model": OAuthProblem}}

router = APIRouter(tags=["sign-in"], responses=problem_responses(413, 422, 429, 503))
Nobody = Annotated[None, open_to_all()]
Person = Annotated[Caller, signed_in(in_session=True)]


def _form(*fields: str) -> dict[str, Any]:
    """What the OpenAPI document says of a form that is read by hand."""
    properties = {name: {"type": "string", "maxLength": _LONGEST_FIELD} for name in fields}
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


@router.post(
    "/oauth/device_authorization",
    responses=_OAUTH,
    response_model=DeviceStartOut,
    openapi_extra=_form("client_id", "device_name"),
)
async def begin(request: Request, _: Nobody) -> DeviceStartOut | JSONResponse:
    """Ask for codes. ``client_id`` is ``keylease-cli``; ``device_name`` is shown to the person."""
    try:
        fields = await _fields(request)
    except TokenExchangeRefused as error:
        return _problem(error)
    started = await identity_of(request).devices.begin(
        device=fields.get("device_name", ""), address=address_of(request)
    )
    return DeviceStartOut.of(started)


@router.post(
    "/oauth/token",
    responses=_OAUTH,
    response_model=DeviceTokenOut,
    openapi_extra=_form("grant_type", "client_id", "device_code"),
)
async def token(request: Request, _: Nobody) -> DeviceTokenOut | JSONResponse:
    """Ask whether somebody has approved; the answer is a session, once."""
    try:
        fields = await _fields(request)
        _check_grant_type(fields.get("grant_type", ""))
        started = await identity_of(request).devices.poll(
            fields.get("device_code", ""), address=address_of(request)
        )
    except TokenExchangeRefused as error:
        return _problem(error)
    return DeviceTokenOut(
        access_token=started.text, expires_in=LIFETIMES[SessionKind.COMMAND_LINE].text
    )


@router.post("/v1/devices/look", responses=problem_responses(400, 401, 403, 404))
async def look(request: Request, caller: Person, body: LookIn) -> WaitingDeviceOut:
    """Which device shows a code."""
    return WaitingDeviceOut.of(await identity_of(request).devices.look(caller, body.user_code))


@router.post(
    "/v1/devices/decision", status_code=204, responses=problem_responses(400, 401, 403, 404)
)
async def decide(request: Request, caller: Person, body: DecisionIn) -> None:
    """Sign a device in as the caller, or send it away."""
    await identity_of(request).devices.decide(caller, body.user_code, approve=body.approve)


def _check_grant_type(grant_type: str) -> None:
    if grant_type != GRANT_TYPE:
        raise TokenExchangeRefused(
            f"The grant_type is not {GRANT_TYPE}.", oauth_error="unsupported_grant_type"
        )


async def _fields(request: Request) -> dict[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise TokenExchangeRefused("The request is not application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAXIMUM_FIELDS,
        )
    except ValueError as error:
        raise TokenExchangeRefused("The form is malformed.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs) or any(len(value) > _LONGEST_FIELD for value in fields.values()):
        raise TokenExchangeRefused("The form has a parameter twice, or one that is too long.")
    if fields.get("client_id") != CLIENT_ID:
        raise TokenExchangeRefused(
            f"The client_id is not {CLIENT_ID}.", oauth_error="invalid_client"
        )
    return fields


def _problem(error: TokenExchangeRefused) -> JSONResponse:
    body = OAuthProblem(error=error.oauth_error, error_description=error.message)
    return JSONResponse(body.model_dump(), status_code=400)
