"""Trust rules: which tokens of outside issuers become leases of which principal."""

from __future__ import annotations

from fastapi import APIRouter

from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import TrustRule, TrustRuleBody
from keylease.platform.server.draft_resources import DraftThings, draft_router

router: APIRouter = draft_router(
    DraftThings(
        kind=ResourceKind.TRUST_RULE,
        path="trust-rules",
        noun="trust rule",
        body=TrustRuleBody,
        answer=TrustRule,
    )
)
