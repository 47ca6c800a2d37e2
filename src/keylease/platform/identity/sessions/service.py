"""Sessions: started by a sign-in, opened by a text, renewed, ended.

Protects: a text is 256 random bits, kept as its SHA-256. A sign-in always makes a new one, and ends
    what the browser had before (fixation). A text is exchanged for a new one when rights change and
    in the course of time; when a browser's earlier one is used after the new one, somebody has
    copied it, and the session ends. What was ended opens nothing from that moment on: nothing is
    cached.
Does not protect: a text that was stolen, while it is good and nobody notices.
Limits: idle and absolute ends are in ``interfaces.LIFETIMES``.
"""

from __future__ import annotations

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import PermissionDenied, ResourceNotFound, SignInAgain, SignInRequired
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Access, Directory, KnownUser
from keylease.platform.identity.one_time import derived_text, digest_of, random_text, same
from keylease.platform.identity.sessions import repository
from keylease.platform.identity.sessions.interfaces import (
    LIFETIMES,
    PREVIOUS_SECONDS,
    RECENT_SECONDS,
    RENEW_AFTER,
    SEEN_SECONDS,
    TEXT_PREFIX,
    Circumstances,
    Session,
    SessionKind,
    SignInMethod,
    StartedSession,
)
from keylease.platform.identity.sessions.repository import StoredSession
from keylease.primitives.clock import MICROSECONDS

_PURPOSE = "session"


class Sessions:
    """The sessions of all organizations."""

    def __init__(self, database: Database, *, directory: Directory, access: Access) -> None:
        self._database = database
        self._directory = directory
        self._access = access

    async def start(
        self,
        tx: Transaction,
        user: KnownUser,
        circumstances: Circumstances,
        *,
        method: SignInMethod,
        limited: bool,
    ) -> StartedSession:
        """Begin a session for somebody who has shown who they are."""
        if circumstances.replaces:
            await self._end_text(tx, circumstances.replaces)
        await repository.remove_expired(tx)
        text = random_text(TEXT_PREFIX)
        kind = circumstances.kind
        stored = StoredSession(
            id=tx.new_id(),
            organization_id=user.organization_id,
            user_id=user.id,
            digest=digest_of(text, purpose=_PURPOSE),
            previous_digest="",
            previous_until=None,
            kind=kind,
            method=method,
            limited=limited,
            device=circumstances.device[:200],
            address=circumstances.address[:64],
            created_at=tx.now,
            signed_in_at=tx.now,
            renewed_at=tx.now,
            seen_at=tx.now,
            expires_at=tx.now + LIFETIMES[kind].absolute * MICROSECONDS,
        )
        await repository.add(tx, stored)
        await tx.record(
            AuditAction.SESSION_STARTED,
            stored.id,
            organization_id=user.organization_id,
            details={
                "user": user.id,
                "kind": kind.value,
                "method": method.value,
                "limited": str(limited).lower(),
            },
        )
        return StartedSession(stored, text)

    async def authenticate(self, text: str, *, kind: SessionKind) -> Session:
        """The session that a text opens; raises ``SignInRequired``."""
        digest = digest_of(text, purpose=_PURPOSE)
        async with self._database.reading() as tx:
            found = await repository.by_digest(tx, digest)
            now = tx.now
            active = found is not None and await self._is_active(tx, found)
        if found is None or not active or found.kind is not kind:
            raise _required()
        if found.digest != digest:
            await self._check_previous(found, now)
            return found
        self._check_times(found, now)
        unconfirmed = bool(found.previous_digest) and found.previous_until is None
        if unconfirmed or now - found.seen_at >= SEEN_SECONDS * MICROSECONDS:
            await self._note_use(found, unconfirmed=unconfirmed)
        return found

    async def renew(
        self,
        tx: Transaction,
        session_id: str,
        *,
        method: SignInMethod | None = None,
        limited: bool | None = None,
    ) -> StartedSession:
        """Exchange the text for a new one; with a method, somebody has just signed in by it.

        Raises ``SignInRequired`` when the session has ended meanwhile.
        """
        stored = await repository.by_id(tx, tx.caller.organization_id, session_id)
        if stored is None:
            raise _required()
        text = random_text(TEXT_PREFIX)
        changed = msgspec.structs.replace(
            stored,
            digest=digest_of(text, purpose=_PURPOSE),
            # A right that was given makes the earlier text useless at once.
            previous_digest=stored.digest if method is None else "",
            previous_until=None,
            renewed_at=tx.now,
            seen_at=tx.now,
            method=method or stored.method,
            signed_in_at=tx.now if method else stored.signed_in_at,
            limited=stored.limited if limited is None else limited,
        )
        values = msgspec.structs.asdict(changed)
        await repository.change(tx, session_id, **values)
        return StartedSession(changed, text)

    async def current(self, caller: Caller) -> Session:
        """The caller's own session."""
        async with self._database.reading(caller) as tx:
            stored = await repository.by_id(tx, caller.organization_id, caller.session_id)
        if stored is None:
            raise _required()
        return stored

    async def is_old(self, caller: Caller, session: Session) -> bool:
        """Whether it is time to exchange the session's text."""
        async with self._database.reading(caller) as tx:
            return tx.now - session.renewed_at >= RENEW_AFTER * MICROSECONDS

    async def exchange(self, caller: Caller) -> StartedSession:
        """Exchange the text of the caller's own session for a new one."""
        async with self._database.transaction(caller) as tx:
            return await self.renew(tx, caller.session_id)

    async def of_user(self, caller: Caller, page: PageRequest) -> Page[Session]:
        """The caller's own sessions."""
        return await self._listed(caller, page, user_id=_user_of(caller))

    async def of_organization(
        self, caller: Caller, page: PageRequest, *, user_id: str = ""
    ) -> Page[Session]:
        """Everybody's; the route has asked for ``session:read``."""
        return await self._listed(caller, page, user_id=user_id)

    async def end(self, caller: Caller, session_id: str) -> None:
        """End a session: one's own, or with ``session:revoke`` anybody's of the organization.

        Raises ``ResourceNotFound`` when there is none.
        """
        async with self._database.reading(caller) as tx:
            stored = await repository.by_id(tx, caller.organization_id, session_id)
        own = stored is not None and bool(caller.session_id) and stored.user_id == _user_of(caller)
        if not own:
            await self._access.require(caller, "session:revoke")
        async with self._database.transaction(caller) as tx:
            if stored is None or not await repository.remove(
                tx, caller.organization_id, session_id
            ):
                raise ResourceNotFound("There is no such session.")
            await tx.record(
                AuditAction.SESSION_ENDED,
                session_id,
                reason="signed_out" if session_id == caller.session_id else "revoked",
                details={"user": stored.user_id},
            )

    async def end_all(
        self, tx: Transaction, organization_id: str, user_id: str, *, reason: str, keep: str = ""
    ) -> int:
        """End all sessions of a user but one; gives how many."""
        ended = await repository.remove_of_user(tx, organization_id, user_id, keep=keep)
        for session_id in ended:
            await tx.record(
                AuditAction.SESSION_ENDED,
                session_id,
                organization_id=organization_id,
                reason=reason,
                details={"user": user_id},
            )
        return len(ended)

    async def require_recent(self, caller: Caller) -> Session:
        """The caller's session, if they signed in within the last minutes.

        Raises ``SignInAgain`` otherwise, and ``PermissionDenied`` for an API key.
        """
        if not caller.session_id:
            raise PermissionDenied("Only a person who is signed in may do this, not an API key.")
        session = await self.current(caller)
        check_in_browser(session)
        async with self._database.reading(caller) as tx:
            if tx.now - session.signed_in_at > RECENT_SECONDS * MICROSECONDS:
                raise SignInAgain(
                    "This change needs a sign-in of the last 15 minutes.",
                    advice="Sign in again; what you were doing is still there.",
                )
        return session

    async def _listed(self, caller: Caller, page: PageRequest, *, user_id: str) -> Page[Session]:
        async with self._database.reading(caller) as tx:
            rows = await repository.page(tx, caller.organization_id, page, user_id=user_id)
        sessions: list[Session] = list(rows)
        return page_of(sessions, page, key=lambda session: (session.id,))

    async def _is_active(self, tx: Transaction, session: Session) -> bool:
        principal = Principal(kind=PrincipalKind.USER, id=session.user_id)
        return await self._directory.is_active(tx, session.organization_id, principal)

    def _check_times(self, session: Session, now: int) -> None:
        lifetimes = LIFETIMES[session.kind]
        if (
            now >= session.expires_at
            or now - session.seen_at >= lifetimes.idle * MICROSECONDS
            or now - session.renewed_at >= lifetimes.text * MICROSECONDS
        ):
            raise _required("The session has ended.")

    async def _check_previous(self, found: StoredSession, now: int) -> None:
        """The earlier text was sent: by a request that was under way, or by a thief."""
        self._check_times(found, now)
        if found.previous_until is None or now < found.previous_until:
            return
        if found.kind is SessionKind.COMMAND_LINE:
            # A long-running command may hold the text from before another one exchanged it.
            raise _required("The session has a newer text.")
        async with self._database.transaction(caller_of(found)) as tx:
            if await repository.remove(tx, found.organization_id, found.id):
                await tx.record(
                    AuditAction.SESSION_REPLAYED, found.id, details={"user": found.user_id}
                )
        raise _required("The session was ended, because an old text of it was used.")

    async def _note_use(self, found: StoredSession, *, unconfirmed: bool) -> None:
        async with self._database.transaction(caller_of(found)) as tx:
            values: dict[str, int] = {"seen_at": tx.now}
            if unconfirmed:
                values["previous_until"] = tx.now + PREVIOUS_SECONDS * MICROSECONDS
            await repository.change(tx, found.id, **values)

    async def _end_text(self, tx: Transaction, text: str) -> None:
        digest = digest_of(text, purpose=_PURPOSE)
        before = await repository.by_digest(tx, digest)
        if before is not None and await repository.remove(tx, before.organization_id, before.id):
            await tx.record(
                AuditAction.SESSION_ENDED,
                before.id,
                organization_id=before.organization_id,
                reason="replaced",
                details={"user": before.user_id},
            )


def check_in_browser(session: Session) -> None:
    """Raise ``PermissionDenied`` for a command line's session.

    It began when somebody approved it, which shows nothing of who they are: if it could change how
    one signs in, an approval got by a trick, or out of a session of yesterday, would be for good.
    """
    if session.kind is not SessionKind.BROWSER:
        raise PermissionDenied(
            "A command line may not do this.", advice="Do it in a browser, signed in."
        )


def csrf_text(session_text: str) -> str:
    """What a page sends with changes: follows from the cookie, which no page can read."""
    return derived_text(session_text, purpose="csrf")


def check_csrf(*, session_text: str, sent: str) -> None:
    """Raise ``PermissionDenied`` unless the page knows the session's CSRF text."""
    if not sent or not same(csrf_text(session_text), sent):
        raise PermissionDenied(
            "The request does not come from a page of this server.",
            advice="Send the csrf_token of GET /v1/session as X-CSRF-Token.",
        )


def caller_of(session: Session) -> Caller:
    """Who acts in a session."""
    return Caller(
        principal=Principal(kind=PrincipalKind.USER, id=session.user_id),
        organization_id=session.organization_id,
        permissions=frozenset() if session.limited else None,
        session_id=session.id,
    )


def _user_of(caller: Caller) -> str:
    if caller.principal is None or caller.principal.kind is not PrincipalKind.USER:
        raise PermissionDenied("Only users have sessions.")
    return caller.principal.id


def _required(message: str = "The session does not exist, or has ended.") -> SignInRequired:
    return SignInRequired(message, advice="Sign in again.")
