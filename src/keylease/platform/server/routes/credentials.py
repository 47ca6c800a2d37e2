"""Credentials: where secrets live, what they are for, who can use them. Never the secrets."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    Credential,
    CredentialBody,
    CredentialVersion,
    PageOfRevisions,
    content_of,
    credential_answer,
    history_answer,
    versions_answer,
)
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import policy_of

router: APIRouter = resource_router(prefix="/v1/credentials", tag="credentials")
Reader = Annotated[Caller, allowed(Permission.CREDENTIAL_READ)]
Manager = Annotated[Caller, allowed(Permission.CREDENTIAL_MANAGE)]


class Part(StrEnum):
    """What a credential is answered with besides its record."""

    VERSIONS = "versions"
    BOUNDARY = "boundary"
    REACH = "reach"
    AUDIT = "audit"


Include = Annotated[
    list[Part],
    Query(max_length=len(Part), description="Ask for all four to see who can use what, where."),
]


@router.get("")
async def list_credentials(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    include: Include = [],  # noqa: B006 - FastAPI copies defaults
    name: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[Credential]:
    """List credentials by name: what is stored where, for whom, for how long."""
    found = await policy_of(request).credentials.page(caller, page, name=name)
    parts = frozenset(map(str, include))
    return PageOf[Credential](
        items=[credential_answer(view, parts) for view in found.items],
        next_cursor=found.next_cursor,
    )


@router.post("", status_code=201)
async def add_credential(
    request: Request, response: Response, caller: Manager, body: CredentialBody
) -> Credential:
    """Add a credential to the draft."""
    policy = policy_of(request)
    made = await policy.resources.create(caller, content_of(body))
    set_version(response, made.version)
    response.headers["Location"] = f"/v1/credentials/{made.id}"
    return credential_answer(await policy.credentials.get(caller, made.id), frozenset())


@router.get("/{credential_id}")
async def read_credential(
    request: Request,
    response: Response,
    caller: Reader,
    credential_id: Identifier,
    include: Include = [],  # noqa: B006 - as above
) -> Credential:
    """Read one credential."""
    view = await policy_of(request).credentials.get(caller, credential_id)
    set_version(response, view.resource.version)
    return credential_answer(view, frozenset(map(str, include)))


@router.put("/{credential_id}")
async def change_credential(
    request: Request,
    response: Response,
    caller: Manager,
    credential_id: Identifier,
    body: CredentialBody,
    expected: Annotated[int, expected_version()],
) -> Credential:
    """Put another record in the place of a credential's, in the draft."""
    policy = policy_of(request)
    changed = await policy.resources.update(
        caller, credential_id, content_of(body), expected=expected
    )
    set_version(response, changed.version)
    return credential_answer(await policy.credentials.get(caller, changed.id), frozenset())


@router.delete("/{credential_id}", status_code=204)
async def remove_credential(
    request: Request,
    caller: Manager,
    credential_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Take a credential out of the draft; refused while a route leads to it."""
    await policy_of(request).resources.remove(
        caller, ResourceKind.CREDENTIAL, credential_id, expected=expected
    )


@router.get("/{credential_id}/versions")
async def list_credential_versions(
    request: Request, caller: Reader, credential_id: Identifier
) -> list[CredentialVersion]:
    """List the versions of the secret that gateways have used, the oldest first."""
    view = await policy_of(request).credentials.get(caller, credential_id)
    return versions_answer(view)


@router.get("/{credential_id}/history")
async def read_credential_history(
    request: Request,
    caller: Reader,
    credential_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOfRevisions:
    """List who changed a credential, when and how; the newest first."""
    resources = policy_of(request).resources
    return history_answer(
        await resources.history(caller, ResourceKind.CREDENTIAL, credential_id, page)
    )
