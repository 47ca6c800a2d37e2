"""What a session is, and how long one lives."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

TEXT_PREFIX: Final = "kls_"
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


class SessionKind(StrEnum):
    """What holds it. Stored: values are never renamed."""

    BROWSER = "browser"
    """Sent as a cookie; what changes something needs the CSRF text besides."""
    COMMAND_LINE = "command_line"
    """Sent as a bearer."""


class SignInMethod(StrEnum):
    """How somebody showed who they are. Stored: values are never renamed."""

    LINK = "link"
    PASSKEY = "passkey"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    PASSWORD_AND_CODE = "password_and_code"  # noqa: S105 - as above
    PASSWORD_AND_RECOVERY = "password_and_recovery"  # noqa: S105 - as above
    OUTSIDE = "outside"
    OUTSIDE_AND_CODE = "outside_and_code"
    OUTSIDE_AND_RECOVERY = "outside_and_recovery"


class Lifetimes(msgspec.Struct, frozen=True):
    """Seconds."""

    idle: int
    """Without a request."""
    text: int
    """Of one text; a session goes on by exchanging it for a new one."""
    absolute: int
    """From the sign-in, whatever happens."""


LIFETIMES: Final = {
    SessionKind.BROWSER: Lifetimes(idle=12 * _HOUR, text=24 * _HOUR, absolute=7 * _DAY),
    SessionKind.COMMAND_LINE: Lifetimes(idle=7 * _DAY, text=7 * _DAY, absolute=30 * _DAY),
}
RENEW_AFTER: Final = _HOUR
"""Seconds after which a text is exchanged when its holder asks for the session."""
PREVIOUS_SECONDS: Final = 60
"""For which the earlier text goes on after the new one was used: requests under way have it."""
RECENT_SECONDS: Final = 15 * 60
"""Since the sign-in, for changes to how somebody signs in."""
SEEN_SECONDS: Final = 60
"""How exactly it is known when a session was last used."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A living session. Times are microseconds UTC."""

    id: str
    organization_id: str
    user_id: str
    kind: SessionKind
    method: SignInMethod
    limited: bool
    """Only how somebody signs in can be set up with it, until that is done."""
    device: str
    """Coarse: ``Firefox on Linux``."""
    address: str
    created_at: int
    signed_in_at: int
    """The last time that somebody showed who they are in it."""
    renewed_at: int
    seen_at: int
    expires_at: int


class StartedSession(msgspec.Struct, frozen=True):
    """A session and the text that opens it, which is told once."""

    session: Session
    text: str

    def __repr__(self) -> str:
        return f"StartedSession({self.session.id}, text=********)"


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how somebody signs in."""

    kind: SessionKind = SessionKind.BROWSER
    device: str = ""
    address: str = ""
    replaces: str = ""
    """The text of a session that the same browser still has; it ends, so that nobody can have
    planted it."""
