"""Cookies of sign-in, where a person may go afterwards, and that a request comes from our own page.

Protects: cookies are httpOnly, SameSite=Lax, for the whole host, and with TLS under a ``__Host-``
    name, which no other host and no plain connection can set. What begins a session is refused when
    a browser says that another site's page sends it. Nobody is sent to another site afterwards.
Does not protect: cookies know no port: another program on the same host name could read them. Give
    the server a name of its own where that matters.
"""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import Depends, Request, Response

from keylease.errors import PermissionDenied
from keylease.platform.identity.sessions.devices import described
from keylease.platform.identity.sessions.interfaces import Circumstances
from keylease.platform.identity.sign_in.interfaces import Outcome
from keylease.platform.server.guard import address_of, session_cookie
from keylease.platform.server.services import identity_of

_BROWSER: Final = "keylease_browser"
_VISIT: Final = "keylease_visit"
_BROWSER_SECONDS: Final = 180 * 24 * 3600
_VISIT_SECONDS: Final = 600
_SESSION_SECONDS: Final = 7 * 24 * 3600
_PLAIN_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x7e]*")
_LONGEST_PATH: Final = 500
HOME: Final = "/account"
SET_UP: Final = "/sign-in/set-up"


def circumstances_of(request: Request) -> Circumstances:
    """Where and how somebody signs in."""
    return Circumstances(
        device=described(request.headers.get("user-agent", "")[:500]),
        address=address_of(request),
        replaces=request.cookies.get(session_cookie(request), "")[:200],
    )


def known_browser(request: Request) -> str:
    """What this browser was given when somebody signed in with it before."""
    return request.cookies.get(_named(request, _BROWSER), "")[:200]


def visit_cookie(request: Request) -> str:
    """What this browser was given before it went to an outside issuer."""
    return request.cookies.get(_named(request, _VISIT), "")[:200]


def set_outcome(request: Request, response: Response, outcome: Outcome) -> None:
    """Give the browser its session, and what it is recognised by."""
    if outcome.started is not None:
        set_session(request, response, outcome.started.text)
    if outcome.known_browser:
        _set(request, response, _named(request, _BROWSER), outcome.known_browser, _BROWSER_SECONDS)


def set_session(request: Request, response: Response, text: str) -> None:
    """Give the browser a session, or a new text of one."""
    _set(request, response, session_cookie(request), text, _SESSION_SECONDS)


def end_session(request: Request, response: Response) -> None:
    """Take the session from the browser."""
    _set(request, response, session_cookie(request), "", 0)


def set_visit(request: Request, response: Response, text: str) -> None:
    """Give the browser what it is known by when it comes back from an issuer."""
    _set(request, response, _named(request, _VISIT), text, _VISIT_SECONDS if text else 0)


def local_path(text: str) -> str:
    """The path, if it is one of this server; else the page that everybody may see.

    Browsers read two slashes, a slash and a backslash, and paths with tabs as other hosts.
    """
    if len(text) > _LONGEST_PATH or "\\" in text or not _PLAIN_PATH.fullmatch(text):
        return HOME
    return text


def from_own_page() -> Any:  # noqa: ANN401 - what FastAPI's Depends is
    """A dependency of what begins a session: the request comes from our page, or no page at all."""

    def check(request: Request) -> None:
        own = identity_of(request).public_url
        origin = request.headers.get("origin", own)
        site = request.headers.get("sec-fetch-site", "same-origin")
        if origin != own or site not in {"same-origin", "none"}:
            raise PermissionDenied(
                "The request comes from a page of another site.", advice=f"Open {own}."
            )

    return Depends(check)


def _named(request: Request, name: str) -> str:
    return f"__Host-{name}" if identity_of(request).secure else name


def _set(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=identity_of(request).secure,
        httponly=True,
        samesite="lax",
    )
