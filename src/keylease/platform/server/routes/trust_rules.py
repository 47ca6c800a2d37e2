"""Trust rules: which tokens of outside issuers become leases of which principal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    PageOfRevisions,
    TrustRule,
    TrustRuleBody,
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

router: APIRouter = resource_router(prefix="/v1/trust-rules", tag="trust-rules")
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]


@router.get("")
async def list_trust_rules(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    name: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[TrustRule]:
    """List trust rules by name."""
    resources = policy_of(request).resources
    found = await resources.page(caller, ResourceKind.TRUST_RULE, page, name=name)
    return PageOf[TrustRule](
        items=[answer_of(item, TrustRule) for item in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def add_trust_rule(
    request: Request, response: Response, caller: Manager, body: TrustRuleBody
) -> TrustRule:
    """Add a trust rule to the draft."""
    made = await policy_of(request).resources.create(caller, content_of(body))
    set_version(response, made.version)
    response.headers["Location"] = f"/v1/trust-rules/{made.id}"
    return answer_of(made, TrustRule)


@router.get("/{trust_rule_id}")
async def read_trust_rule(
    request: Request, response: Response, caller: Reader, trust_rule_id: Identifier
) -> TrustRule:
    """Read one trust rule."""
    resources = policy_of(request).resources
    found = await resources.get(caller, ResourceKind.TRUST_RULE, trust_rule_id)
    set_version(response, found.version)
    return answer_of(found, TrustRule)


@router.put("/{trust_rule_id}")
async def change_trust_rule(
    request: Request,
    response: Response,
    caller: Manager,
    trust_rule_id: Identifier,
    body: TrustRuleBody,
    expected: Annotated[int, expected_version()],
) -> TrustRule:
    """Put another trust rule in its place, in the draft."""
    changed = await policy_of(request).resources.update(
        caller, trust_rule_id, content_of(body), expected=expected
    )
    set_version(response, changed.version)
    return answer_of(changed, TrustRule)


@router.delete("/{trust_rule_id}", status_code=204)
async def remove_trust_rule(
    request: Request,
    caller: Manager,
    trust_rule_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Take a trust rule out of the draft."""
    await policy_of(request).resources.remove(
        caller, ResourceKind.TRUST_RULE, trust_rule_id, expected=expected
    )


@router.get("/{trust_rule_id}/history")
async def read_trust_rule_history(
    request: Request,
    caller: Reader,
    trust_rule_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOfRevisions:
    """List who changed a trust rule, when and how; the newest first."""
    resources = policy_of(request).resources
    return history_answer(
        await resources.history(caller, ResourceKind.TRUST_RULE, trust_rule_id, page)
    )
