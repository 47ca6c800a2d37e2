"""Wire types of sessions."""

from __future__ import annotations

from pydantic import Field

from keylease.platform.identity.sessions.interfaces import SessionKind, SignInMethod
from keylease.platform.identity.wire import Moment, Out


class SessionOut(Out):
    """A living session."""

    id: str
    user_id: str
    kind: SessionKind
    method: SignInMethod
    limited: bool = Field(description="Only ways to sign in can be set up with it.")
    device: str
    address: str
    created_at: Moment
    signed_in_at: Moment
    seen_at: Moment
    expires_at: Moment


class CurrentSession(Out):
    """The caller's own session."""

    session: SessionOut
    organization_id: str
    name: str
    email: str
    csrf_token: str = Field(
        description="Send it as `X-CSRF-Token` with every change; empty for a bearer."
    )


class ExchangedSession(Out):
    """A session after its text was exchanged."""

    session: SessionOut
    csrf_token: str = ""
    session_text: str = Field(
        default="", description="For a command line only: what it sends as bearer from now on."
    )


class CallerOut(Out):
    """As whom a request acts."""

    principal: str
    organization_id: str
    name: str
    email: str
    session_id: str
    api_key_id: str
    permissions: list[str] | None = Field(
        description="What an API key or an unfinished sign-in is narrowed to; null is not narrowed."
    )
    project_id: str
    expires_at: Moment
