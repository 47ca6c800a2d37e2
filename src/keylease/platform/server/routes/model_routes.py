"""Routes: which credentials serve which models. Not the server's own."""

from __future__ import annotations

from fastapi import APIRouter, Request

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import Route, RouteBody
from keylease.platform.server.draft_resources import DraftThings, draft_router
from keylease.platform.server.services import services_of


async def _require_use(request: Request, caller: Caller, body: RouteBody) -> None:
    """Whoever leads calls to a credential holds ``credential:use`` for it, and not only manages it.

    In the order of the body, so that the answer says which credential it is about.
    """
    access = services_of(request).access
    for credential_id in dict.fromkeys(target.credential_id for target in body.targets):
        await access.require(caller, Permission.CREDENTIAL_USE, object_id=credential_id)


router: APIRouter = draft_router(
    DraftThings(
        kind=ResourceKind.ROUTE,
        path="routes",
        noun="route",
        body=RouteBody,
        answer=Route,
        check=_require_use,
    )
)
