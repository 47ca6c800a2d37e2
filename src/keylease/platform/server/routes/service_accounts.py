"""Service accounts: programs that act for themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.contracts.principals import PrincipalKind
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import ServiceAccountIn, ServiceAccountOut
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

router: APIRouter = resource_router(prefix="/v1/service-accounts", tag="service accounts")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PRINCIPAL_READ)]
Manager = Annotated[Caller, allowed(Permission.PRINCIPAL_MANAGE)]
Expected = Annotated[int, expected_version()]


@router.get("")
async def list_service_accounts(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[ServiceAccountOut]:
    """Service accounts, archived ones included, the oldest first."""
    found = await services_of(request).directory.service_accounts.page(caller, page)
    return PageOf(
        items=[ServiceAccountOut.of(each) for each in found.items], next_cursor=found.next_cursor
    )


@router.post("", status_code=201)
async def create_account(
    request: Request, response: Response, caller: Manager, body: ServiceAccountIn
) -> ServiceAccountOut:
    """Make a service account, which holds nothing yet."""
    made = await services_of(request).directory.service_accounts.create(
        caller, body.content(caller_id=_user_of(caller))
    )
    set_version(response, made.version)
    return ServiceAccountOut.of(made)


@router.get("/{account_id}")
async def read_account(
    request: Request, response: Response, caller: Reader, account_id: Identifier
) -> ServiceAccountOut:
    """One service account."""
    found = await services_of(request).directory.service_accounts.get(caller, account_id)
    set_version(response, found.version)
    return ServiceAccountOut.of(found)


@router.put("/{account_id}", responses=_CHANGES)
async def change_account(
    request: Request,
    response: Response,
    caller: Manager,
    account_id: Identifier,
    body: ServiceAccountIn,
    expected: Expected,
) -> ServiceAccountOut:
    """Rename a service account, or let another user answer for it."""
    service_accounts = services_of(request).directory.service_accounts
    changed = await service_accounts.change(
        caller, account_id, body.content(caller_id=_user_of(caller)), expected=expected
    )
    set_version(response, changed.version)
    return ServiceAccountOut.of(changed)


@router.delete("/{account_id}", responses=_CHANGES)
async def archive_account(
    request: Request,
    response: Response,
    caller: Manager,
    account_id: Identifier,
    expected: Expected,
) -> ServiceAccountOut:
    """Take a service account out of use: its API keys, grants and memberships end."""
    service_accounts = services_of(request).directory.service_accounts
    archived = await service_accounts.archive(caller, account_id, expected=expected)
    set_version(response, archived.version)
    return ServiceAccountOut.of(archived)


def _user_of(caller: Caller) -> str:
    """The caller's identifier, if the caller is a user."""
    principal = caller.principal
    is_user = principal is not None and principal.kind is PrincipalKind.USER
    return principal.id if principal is not None and is_user else ""
