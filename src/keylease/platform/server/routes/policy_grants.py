"""Policy grants: which principals may use which models, for what, within which limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    GrantBody,
    PageOfRevisions,
    PolicyGrant,
    answer_of,
    content_of,
    history_answer,
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

router: APIRouter = resource_router(prefix="/v1/policy-grants", tag="policy-grants")
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]


@router.get("")
async def list_policy_grants(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    name: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[PolicyGrant]:
    """List policy grants by name."""
    resources = policy_of(request).resources
    found = await resources.page(caller, ResourceKind.GRANT, page, name=name)
    return PageOf[PolicyGrant](
        items=[answer_of(item, PolicyGrant) for item in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def add_policy_grant(
    request: Request, response: Response, caller: Manager, body: GrantBody
) -> PolicyGrant:
    """Add a policy grant to the draft."""
    made = await policy_of(request).resources.create(caller, content_of(body))
    set_version(response, made.version)
    response.headers["Location"] = f"/v1/policy-grants/{made.id}"
    return answer_of(made, PolicyGrant)


@router.get("/{policy_grant_id}")
async def read_policy_grant(
    request: Request, response: Response, caller: Reader, policy_grant_id: Identifier
) -> PolicyGrant:
    """Read one policy grant."""
    resources = policy_of(request).resources
    found = await resources.get(caller, ResourceKind.GRANT, policy_grant_id)
    set_version(response, found.version)
    return answer_of(found, PolicyGrant)


@router.put("/{policy_grant_id}")
async def change_policy_grant(
    request: Request,
    response: Response,
    caller: Manager,
    policy_grant_id: Identifier,
    body: GrantBody,
    expected: Annotated[int, expected_version()],
) -> PolicyGrant:
    """Put another policy grant in its place, in the draft."""
    changed = await policy_of(request).resources.update(
        caller, policy_grant_id, content_of(body), expected=expected
    )
    set_version(response, changed.version)
    return answer_of(changed, PolicyGrant)


@router.delete("/{policy_grant_id}", status_code=204)
async def remove_policy_grant(
    request: Request,
    caller: Manager,
    policy_grant_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Take a policy grant out of the draft."""
    await policy_of(request).resources.remove(
        caller, ResourceKind.GRANT, policy_grant_id, expected=expected
    )


@router.get("/{policy_grant_id}/history")
async def read_policy_grant_history(
    request: Request,
    caller: Reader,
    policy_grant_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOfRevisions:
    """List who changed a policy grant, when and how; the newest first."""
    resources = policy_of(request).resources
    return history_answer(
        await resources.history(caller, ResourceKind.GRANT, policy_grant_id, page)
    )
