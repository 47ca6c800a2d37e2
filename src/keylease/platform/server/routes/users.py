"""Users: who they are, whether they may act, what they hold, and how they leave."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import (
    HoldingsOut,
    OffboardedOut,
    OffboardIn,
    UserIn,
    UserOut,
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

router: APIRouter = resource_router(prefix="/v1/users", tag="users")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PRINCIPAL_READ)]
Manager = Annotated[Caller, allowed(Permission.PRINCIPAL_MANAGE)]
Expected = Annotated[int, expected_version()]


@router.get("")
async def list_users(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[UserOut]:
    """Users, those who have left included, the oldest first."""
    found = await services_of(request).directory.users.page(caller, page)
    return PageOf(items=[UserOut.of(user) for user in found.items], next_cursor=found.next_cursor)


@router.get("/{user_id}")
async def read_user(
    request: Request, response: Response, caller: Reader, user_id: Identifier
) -> UserOut:
    """One user."""
    user = await services_of(request).directory.users.get(caller, user_id)
    set_version(response, user.version)
    return UserOut.of(user)


@router.put("/{user_id}", responses=_CHANGES)
async def change_user(
    request: Request,
    response: Response,
    caller: Manager,
    user_id: Identifier,
    body: UserIn,
    expected: Expected,
) -> UserOut:
    """Give a user another name or address. The address of who holds more, only they change."""
    user = await services_of(request).directory.users.change(
        caller, user_id, name=body.name, email=body.email, expected=expected
    )
    set_version(response, user.version)
    return UserOut.of(user)


@router.post("/{user_id}/suspend", responses=_CHANGES)
async def suspend_user(
    request: Request, response: Response, caller: Manager, user_id: Identifier, expected: Expected
) -> UserOut:
    """Keep a user from acting, for now."""
    user = await services_of(request).directory.users.suspend(caller, user_id, expected=expected)
    set_version(response, user.version)
    return UserOut.of(user)


@router.post("/{user_id}/resume", responses=_CHANGES)
async def resume_user(
    request: Request, response: Response, caller: Manager, user_id: Identifier, expected: Expected
) -> UserOut:
    """Let a suspended user act again."""
    user = await services_of(request).directory.users.resume(caller, user_id, expected=expected)
    set_version(response, user.version)
    return UserOut.of(user)


@router.get("/{user_id}/holdings")
async def read_holdings(request: Request, caller: Manager, user_id: Identifier) -> HoldingsOut:
    """What a user holds and owns, and what they were shown."""
    found = await services_of(request).directory.offboarding.holdings(caller, user_id)
    return HoldingsOut.of(found)


@router.post("/{user_id}/offboard", responses=_CHANGES)
async def offboard_user(
    request: Request,
    response: Response,
    caller: Manager,
    user_id: Identifier,
    body: OffboardIn,
    expected: Expected,
) -> OffboardedOut:
    """End a user: revoke what they hold and hand over what they own, all or nothing."""
    done = await services_of(request).directory.offboarding.offboard(
        caller, user_id, hand_over_to=body.hand_over_to, expected=expected
    )
    set_version(response, done.user.version)
    return OffboardedOut.of(done)


@router.delete("/{user_id}/person", responses=_CHANGES)
async def erase_person(
    request: Request, response: Response, caller: Manager, user_id: Identifier, expected: Expected
) -> UserOut:
    """Forget name and address of a user who has left."""
    user = await services_of(request).directory.users.erase(caller, user_id, expected=expected)
    set_version(response, user.version)
    return UserOut.of(user)
