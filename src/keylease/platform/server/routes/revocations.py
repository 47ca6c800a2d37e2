"""Revocations: leases and credentials that are dead before their time."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.policy.publications import Proposal
from keylease.platform.policy.revocation_rows import StoredRevocation
from keylease.platform.policy.schemas import RevocationBody
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import Identifier, page_request
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import policy_of
from keylease.platform.server.shapes import answer, describes

router: APIRouter = resource_router(prefix="/v1/revocations", tag="revocations")
SHAPES: Final[tuple[Any, ...]] = (StoredRevocation, Proposal, Page[StoredRevocation])
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Revoker = Annotated[Caller, allowed(Permission.LEASE_REVOKE)]
Publisher = Annotated[Caller, allowed(Permission.POLICY_PUBLISH)]


@router.get("", response_class=Response, responses=describes("Page_StoredRevocation_"))
async def list_revocations(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    in_force: bool | None = None,  # noqa: FBT001 - a query parameter
) -> Response:
    """List revocations, the newest first."""
    revocations = policy_of(request).revocations
    return answer(await revocations.page(caller, page, in_force=in_force))


@router.post(
    "",
    status_code=201,
    response_class=Response,
    responses=describes("StoredRevocation", status=201),
)
async def revoke(request: Request, caller: Revoker, body: RevocationBody) -> Response:
    """Revoke a lease, a principal's leases, a credential, what a rule admitted, or everything.

    In force on connected gateways within a second; the draft is not published by it.
    """
    made = await policy_of(request).revocations.revoke(
        caller, body.kind, body.object, reason=body.reason
    )
    return answer(made, status=201)


@router.get("/{revocation_id}", response_class=Response, responses=describes("StoredRevocation"))
async def read_revocation(request: Request, caller: Reader, revocation_id: Identifier) -> Response:
    """Read one revocation."""
    return answer(await policy_of(request).revocations.get(caller, revocation_id))


@router.post(
    "/{revocation_id}/lift",
    response_class=Response,
    responses=describes("StoredRevocation") | describes("Proposal", status=202),
)
async def lift(request: Request, caller: Publisher, revocation_id: Identifier) -> Response:
    """End a revocation. 202: that allows more than before and waits for a second principal."""
    result = await policy_of(request).revocations.lift(caller, revocation_id)
    return answer(result, status=202 if isinstance(result, Proposal) else 200)
