"""Budgets that policy grants share."""

from __future__ import annotations

from fastapi import APIRouter

from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import Budget, BudgetBody
from keylease.platform.server.draft_resources import DraftThings, draft_router

router: APIRouter = draft_router(
    DraftThings(
        kind=ResourceKind.BUDGET, path="budgets", noun="budget", body=BudgetBody, answer=Budget
    )
)
