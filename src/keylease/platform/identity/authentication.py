"""Tells who sends a request: a session's cookie with its CSRF text, or a bearer.

Protects: a cookie alone changes nothing (another site cannot read the CSRF text, and cannot set the
    header); a browser's text is no bearer and the other way round; two kinds of proof in one
    request are refused, so that nobody can be made to act as somebody else.
Does not protect: what the caller may do is access's to say.
Limits: every request reads the database, by the digest of the whole text. Nothing is cached, so a
    revocation counts from the next request on, with any number of servers.
"""

from __future__ import annotations

from typing import Final, Protocol

from keylease.contracts.api_keys import PREFIXES, ApiKeyKind
from keylease.errors import SignInRequired
from keylease.platform.db.callers import Caller
from keylease.platform.identity.api_keys.service import ApiKeys
from keylease.platform.identity.sessions.interfaces import TEXT_PREFIX, SessionKind
from keylease.platform.identity.sessions.service import Sessions, caller_of, check_csrf

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST: Final = 200


class Evidence(Protocol):
    """What a request shows; ``server.guard`` reads it."""

    @property
    def method(self) -> str:
        """Of HTTP."""
        ...

    @property
    def authorization(self) -> str:
        """The header, or empty."""
        ...

    @property
    def session(self) -> str:
        """The session's cookie, or empty."""
        ...

    @property
    def csrf(self) -> str:
        """The CSRF header, or empty."""
        ...


class IdentityAuthenticator:
    """Implements ``server.guard.Authenticator``."""

    def __init__(self, *, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._sessions = sessions
        self._api_keys = api_keys

    async def authenticate(self, evidence: Evidence) -> Caller:
        """The caller. Raises ``SignInRequired``, or ``PermissionDenied`` when CSRF fails."""
        if evidence.authorization and evidence.session:
            raise SignInRequired(
                "The request shows both a session and a bearer.",
                advice="Send one of them.",
            )
        if evidence.authorization:
            return await self._bearer(evidence.authorization)
        if not 0 < len(evidence.session) <= _LONGEST:
            raise _nothing()
        session = await self._sessions.authenticate(evidence.session, kind=SessionKind.BROWSER)
        if evidence.method not in _SAFE:
            check_csrf(session_text=evidence.session, sent=evidence.csrf[:_LONGEST])
        return caller_of(session)

    async def _bearer(self, header: str) -> Caller:
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(text) <= _LONGEST:
            raise _nothing()
        if text.startswith(TEXT_PREFIX):
            session = await self._sessions.authenticate(text, kind=SessionKind.COMMAND_LINE)
            return caller_of(session)
        if text.startswith(PREFIXES[ApiKeyKind.API]):
            return await self._api_keys.authenticate(text)
        raise _nothing()


def _nothing() -> SignInRequired:
    return SignInRequired(
        "The request carries neither a session nor an API key.",
        advice="Sign in with `keylease login`, or send Authorization: Bearer kl_...",
    )
