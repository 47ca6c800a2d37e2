"""Budgets that policy grants share."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    Budget,
    BudgetBody,
    PageOfRevisions,
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

router: APIRouter = resource_router(prefix="/v1/budgets", tag="budgets")
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]


@router.get("")
async def list_budgets(
    request: Request,
    caller: Reader,
    page: Annotated[PageRequest, page_request()],
    name: Annotated[str, Query(max_length=64)] = "",
) -> PageOf[Budget]:
    """List budgets by name."""
    resources = policy_of(request).resources
    found = await resources.page(caller, ResourceKind.BUDGET, page, name=name)
    return PageOf[Budget](
        items=[answer_of(item, Budget) for item in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def add_budget(
    request: Request, response: Response, caller: Manager, body: BudgetBody
) -> Budget:
    """Add a budget to the draft."""
    made = await policy_of(request).resources.create(caller, content_of(body))
    set_version(response, made.version)
    response.headers["Location"] = f"/v1/budgets/{made.id}"
    return answer_of(made, Budget)


@router.get("/{budget_id}")
async def read_budget(
    request: Request, response: Response, caller: Reader, budget_id: Identifier
) -> Budget:
    """Read one budget."""
    resources = policy_of(request).resources
    found = await resources.get(caller, ResourceKind.BUDGET, budget_id)
    set_version(response, found.version)
    return answer_of(found, Budget)


@router.put("/{budget_id}")
async def change_budget(
    request: Request,
    response: Response,
    caller: Manager,
    budget_id: Identifier,
    body: BudgetBody,
    expected: Annotated[int, expected_version()],
) -> Budget:
    """Put another budget in its place, in the draft."""
    changed = await policy_of(request).resources.update(
        caller, budget_id, content_of(body), expected=expected
    )
    set_version(response, changed.version)
    return answer_of(changed, Budget)


@router.delete("/{budget_id}", status_code=204)
async def remove_budget(
    request: Request,
    caller: Manager,
    budget_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Take a budget out of the draft."""
    await policy_of(request).resources.remove(
        caller, ResourceKind.BUDGET, budget_id, expected=expected
    )


@router.get("/{budget_id}/history")
async def read_budget_history(
    request: Request,
    caller: Reader,
    budget_id: Identifier,
    page: Annotated[PageRequest, page_request()],
) -> PageOfRevisions:
    """List who changed a budget, when and how; the newest first."""
    resources = policy_of(request).resources
    return history_answer(await resources.history(caller, ResourceKind.BUDGET, budget_id, page))
