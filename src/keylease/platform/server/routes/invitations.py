"""Invitations. They are accepted by signing in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import (
    InvitationIn,
    InvitationOut,
    NewInvitationOut,
)
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of

router: APIRouter = resource_router(prefix="/v1/invitations", tag="invitations")
Reader = Annotated[Caller, allowed(Permission.PRINCIPAL_READ)]
Manager = Annotated[Caller, allowed(Permission.PRINCIPAL_MANAGE)]


@router.get("")
async def list_invitations(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[InvitationOut]:
    """Invitations of every state, the oldest first."""
    found = await services_of(request).directory.invitations.page(caller, page)
    items = [InvitationOut.of(invitation) for invitation in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def create_invitation(
    request: Request, response: Response, caller: Manager, body: InvitationIn
) -> NewInvitationOut:
    """Invite somebody to what the caller can give. The link is shown this once."""
    services = services_of(request)
    made = await services.directory.invitations.create(caller, body.content())
    set_version(response, made.invitation.version)
    return NewInvitationOut(
        invitation=InvitationOut.of(made.invitation),
        # In the fragment, which browsers do not send and servers do not log.
        link=f"{services.public_url}/invitation#{made.secret}",
    )


@router.get("/{invitation_id}")
async def read_invitation(
    request: Request, response: Response, caller: Reader, invitation_id: Identifier
) -> InvitationOut:
    """One invitation, without its link."""
    found = await services_of(request).directory.invitations.get(caller, invitation_id)
    set_version(response, found.version)
    return InvitationOut.of(found)


@router.delete("/{invitation_id}", responses=problem_responses(412, 428))
async def revoke_invitation(
    request: Request,
    response: Response,
    caller: Manager,
    invitation_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> InvitationOut:
    """Take an invitation back."""
    invitations = services_of(request).directory.invitations
    revoked = await invitations.revoke(caller, invitation_id, expected=expected)
    set_version(response, revoked.version)
    return InvitationOut.of(revoked)
