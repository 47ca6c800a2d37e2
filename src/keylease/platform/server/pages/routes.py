"""Where the pages are, and where an outside issuer sends people back to.

A page asks the API like every other client, so that what it may do is decided in one place. It is
served to everybody; what it shows comes with the session of whoever looks at it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from keylease.errors import KeyleaseError
from keylease.platform.identity.device_flow.interfaces import PAGE as DEVICE_PAGE
from keylease.platform.identity.outside.interfaces import CALLBACK
from keylease.platform.identity.sign_in.links import PAGE as LINK_PAGE
from keylease.platform.server.cookies import (
    HOME,
    SET_UP,
    circumstances_of,
    set_outcome,
    set_visit,
    visit_cookie,
)
from keylease.platform.server.guard import open_to_all
from keylease.platform.server.pages import contents
from keylease.platform.server.pages.layout import message, page
from keylease.platform.server.requests import path_of, query_of
from keylease.platform.server.services import identity_of

SIGN_IN: Final = "/sign-in"
INVITATION: Final = "/invitation"
router = APIRouter(include_in_schema=False, dependencies=[open_to_all()])


def _serve(path: str, name: str, title: str, body: str, *, wide: bool = False) -> None:
    async def show(request: Request) -> Response:
        return _at_home(request) or page(name, title, body, wide=wide)

    router.add_api_route(path, show, methods=["GET"], name=name)


_serve(SIGN_IN, "sign-in", "Sign in", contents.SIGN_IN)
_serve(LINK_PAGE, "link", "Set up how you sign in", contents.LINK)
_serve(INVITATION, "invitation", "Invitation", contents.INVITATION)
_serve(SET_UP, "set-up", "Set up how you sign in", contents.SET_UP)
_serve(HOME, "account", "Your account", contents.ACCOUNT, wide=True)
_serve(DEVICE_PAGE, "device", "Sign in a device", contents.DEVICE)


@router.get("/")
async def home() -> Response:
    """The page that everybody may see."""
    return RedirectResponse(HOME, status_code=HTTPStatus.TEMPORARY_REDIRECT)


@router.get(CALLBACK)
async def back_from_issuer(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Finish a sign-in through an outside issuer."""
    try:
        finished = await identity_of(request).outside.finish(
            state=state,
            code=code,
            issuer_said=iss,
            cookie=visit_cookie(request),
            circumstances=circumstances_of(request),
        )
    except KeyleaseError as error:
        answer: Response = message(
            "The sign-in did not work",
            error.message,
            error.advice,
            status=error.http_status,
        )
        set_visit(request, answer, "")
        return answer
    started = finished.outcome.started
    if started is None:
        # Behind the #, so that it is in no log.
        target = f"{SIGN_IN}?next={quote(finished.wanted)}#step={quote(finished.outcome.step)}"
    else:
        target = SET_UP if started.session.limited else finished.wanted
    answer = RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER)
    set_outcome(request, answer, finished.outcome)
    set_visit(request, answer, "")
    return answer


def _at_home(request: Request) -> Response | None:
    """Passkeys and cookies belong to one host: whoever comes by another name is sent there."""
    own = identity_of(request).public_url
    if urlsplit(f"//{request.headers.get('host', '')}").hostname == urlsplit(own).hostname:
        return None
    query = f"?{query_of(request)}" if query_of(request) else ""
    return RedirectResponse(
        f"{own}{path_of(request)}{query}", status_code=HTTPStatus.TEMPORARY_REDIRECT
    )
