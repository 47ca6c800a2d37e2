"""Outside issuers that the organization trusts to say who somebody is.

A client secret is given here, so these bodies are not refused for what looks like a key; it is
sealed, and never shown again.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.outside.schemas import IssuerIn, IssuerOut
from keylease.platform.identity.sign_in.service import Secret
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.services import identity_of

router = APIRouter(
    prefix="/v1/outside-issuers",
    tags=["sign-in"],
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 503),
)
Reader = Annotated[Caller, allowed(Permission.ORGANIZATION_READ)]
Manager = Annotated[Caller, allowed(Permission.SIGN_IN_MANAGE)]


@router.get("")
async def list_issuers(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[IssuerOut]:
    """Issuers, the oldest first."""
    found = await identity_of(request).issuers.listed(caller, page)
    items = [IssuerOut.of(issuer) for issuer in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def add_issuer(
    request: Request, response: Response, caller: Manager, body: IssuerIn
) -> IssuerOut:
    """Trust an issuer."""
    issuer = await identity_of(request).issuers.add(
        caller, body.content(), Secret(body.client_secret or "")
    )
    set_version(response, issuer.version)
    return IssuerOut.of(issuer)


@router.get("/{issuer_id}")
async def read_issuer(
    request: Request, response: Response, caller: Reader, issuer_id: Identifier
) -> IssuerOut:
    """One issuer."""
    issuer = await identity_of(request).issuers.read(caller, issuer_id)
    set_version(response, issuer.version)
    return IssuerOut.of(issuer)


@router.put("/{issuer_id}", responses=problem_responses(412, 428))
async def change_issuer(
    request: Request,
    response: Response,
    caller: Manager,
    issuer_id: Identifier,
    body: IssuerIn,
    expected: Annotated[int, expected_version()],
) -> IssuerOut:
    """Replace what is said of an issuer."""
    secret = None if body.client_secret is None else Secret(body.client_secret)
    issuer = await identity_of(request).issuers.change(
        caller, issuer_id, body.content(), secret, expected=expected
    )
    set_version(response, issuer.version)
    return IssuerOut.of(issuer)


@router.delete("/{issuer_id}", status_code=204, responses=problem_responses(412, 428))
async def remove_issuer(
    request: Request,
    caller: Manager,
    issuer_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Trust an issuer no more."""
    await identity_of(request).issuers.remove(caller, issuer_id, expected=expected)
