"""How an organization's people may sign in, and links for those who have lost every way in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.identity.sign_in.schemas import MadeLinkOut, SettingsIn, SettingsOut
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier, expected_version, set_version
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import identity_of

router: APIRouter = resource_router(prefix="/v1", tag="sign-in-settings")
Manager = Annotated[Caller, allowed(Permission.SIGN_IN_MANAGE)]


@router.get("/sign-in-settings")
async def read_settings(
    request: Request,
    response: Response,
    caller: Annotated[Caller, allowed(Permission.ORGANIZATION_READ)],
) -> SettingsOut:
    """The organization's rules for signing in, and for the age of its API keys."""
    settings = await identity_of(request).settings.read(caller)
    set_version(response, settings.version)
    return SettingsOut.of(settings)


@router.put("/sign-in-settings", responses=problem_responses(412, 428))
async def change_settings(
    request: Request,
    response: Response,
    caller: Manager,
    body: SettingsIn,
    expected: Annotated[int, expected_version()],
) -> SettingsOut:
    """Change them. A shorter maximum age shortens the life of the keys there are."""
    settings = await identity_of(request).settings.change(caller, body.content(), expected=expected)
    set_version(response, settings.version)
    return SettingsOut.of(settings)


@router.post("/users/{user_id}/sign-in-links", status_code=201)
async def make_link(request: Request, caller: Manager, user_id: Identifier) -> MadeLinkOut:
    """A one-time link for somebody who has lost every way in; shown this once.

    Whoever has it acts as that person, so it takes every permission of the organization to make it.
    """
    return MadeLinkOut(link=await identity_of(request).links.make_for(caller, user_id))
