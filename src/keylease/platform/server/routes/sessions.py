"""Sessions: one's own, and, for those who look after the organization, everybody's.

A session has no version, because nothing in it can be changed: ending one needs no ``If-Match``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.contracts.principals import PrincipalKind
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.identity.sessions.interfaces import Session, SessionKind, StartedSession
from keylease.platform.identity.sessions.schemas import (
    CallerOut,
    CurrentSession,
    ExchangedSession,
    SessionOut,
)
from keylease.platform.identity.sessions.service import csrf_text
from keylease.platform.identity.wire import OptionalIdentifier
from keylease.platform.server.cookies import end_session, set_session
from keylease.platform.server.guard import allowed, session_cookie, signed_in
from keylease.platform.server.requests import Identifier, PageOf, page_request
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import identity_of

router: APIRouter = resource_router(prefix="/v1", tag="sessions")
Person = Annotated[Caller, signed_in(in_session=True)]


@router.get("/session")
async def read_own_session(request: Request, response: Response, caller: Person) -> CurrentSession:
    """The caller's session. A browser's text is exchanged for a new one here once it is old."""
    identity = identity_of(request)
    session = await identity.sessions.current(caller)
    user = await identity.methods.user(caller)
    text = ""
    if session.kind is SessionKind.BROWSER:
        text = request.cookies.get(session_cookie(request), "")
        if await identity.sessions.is_old(caller, session):
            started = await identity.sessions.exchange(caller)
            session, text = started.session, started.text
            set_session(request, response, text)
    return CurrentSession(
        session=SessionOut.of(session),
        organization_id=session.organization_id,
        name=user.name,
        email=user.email,
        csrf_token=csrf_text(text) if text else "",
    )


@router.get("/caller")
async def read_caller(request: Request, caller: Annotated[Caller, signed_in()]) -> CallerOut:
    """As whom the request acts, whatever it shows for it."""
    identity = identity_of(request)
    name = email = ""
    if caller.principal is not None and caller.principal.kind is PrincipalKind.USER:
        user = await identity.methods.user(caller)
        name, email = user.name, user.email
    if caller.api_key_id:
        expires_at = (await identity.api_keys.read(caller, caller.api_key_id)).expires_at
    else:
        expires_at = (await identity.sessions.current(caller)).expires_at
    return CallerOut(
        principal=caller.name,
        organization_id=caller.organization_id,
        name=name,
        email=email,
        session_id=caller.session_id,
        api_key_id=caller.api_key_id,
        permissions=None if caller.permissions is None else sorted(caller.permissions),
        project_id=caller.project_id,
        expires_at=expires_at,
    )


@router.post("/session/exchange")
async def exchange_own_session(
    request: Request, response: Response, caller: Person
) -> ExchangedSession:
    """Exchange the session's text for a new one; the old one goes on for a minute."""
    started = await identity_of(request).sessions.exchange(caller)
    if started.session.kind is SessionKind.COMMAND_LINE:
        return ExchangedSession(session=SessionOut.of(started.session), session_text=started.text)
    return with_new_text(request, response, started)


@router.delete("/session", status_code=204)
async def end_own_session(request: Request, response: Response, caller: Person) -> None:
    """Sign out."""
    await identity_of(request).sessions.end(caller, caller.session_id)
    end_session(request, response)


@router.get("/sessions")
async def list_own_sessions(
    request: Request, caller: Person, page: Annotated[PageRequest, page_request()]
) -> PageOf[SessionOut]:
    """The caller's sessions, the oldest first."""
    return _page(await identity_of(request).sessions.of_user(caller, page))


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session_of(
    request: Request, session_id: Identifier, caller: Annotated[Caller, signed_in()]
) -> None:
    """End a session: one's own, or with `session:revoke` anybody's."""
    await identity_of(request).sessions.end(caller, session_id)


@router.get("/organization/sessions")
async def list_sessions(
    request: Request,
    caller: Annotated[Caller, allowed(Permission.SESSION_READ)],
    page: Annotated[PageRequest, page_request()],
    user_id: Annotated[OptionalIdentifier, Query()] = "",
) -> PageOf[SessionOut]:
    """Everybody's sessions, the oldest first."""
    found = await identity_of(request).sessions.of_organization(caller, page, user_id=user_id)
    return _page(found)


def with_new_text(
    request: Request, response: Response, started: StartedSession
) -> ExchangedSession:
    """Give a browser the new text of its session."""
    set_session(request, response, started.text)
    return ExchangedSession(
        session=SessionOut.of(started.session), csrf_token=csrf_text(started.text)
    )


def _page(found: Page[Session]) -> PageOf[SessionOut]:
    items = [SessionOut.of(session) for session in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)
