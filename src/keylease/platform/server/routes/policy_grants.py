"""Policy grants: which principals may use which models, for what, within which limits."""

from __future__ import annotations

from fastapi import APIRouter

from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import GrantBody, PolicyGrant
from keylease.platform.server.draft_resources import DraftThings, draft_router

router: APIRouter = draft_router(
    DraftThings(
        kind=ResourceKind.GRANT,
        path="policy-grants",
        noun="policy grant",
        body=GrantBody,
        answer=PolicyGrant,
    )
)
