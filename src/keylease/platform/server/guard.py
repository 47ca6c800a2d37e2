"""Who calls, and whether they may: said once at each route, checked before its code runs.

    async def list_projects(caller: Annotated[Caller, allowed(Permission.PROJECT_READ)]) -> ...

A route without ``allowed``, ``signed_in`` or ``open_to_all`` fails a test. A project in the path
(``{project_id}``) is the project in which the permission is needed; services check single objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
from fastapi import Depends, Request

from keylease.errors import InputInvalid, PermissionDenied
from keylease.platform.access.permissions import INGEST, Permission
from keylease.platform.db.callers import Caller, IdempotencyKey
from keylease.platform.server.requests import path_of

SESSION_COOKIE: Final = "keylease_session"
SECURE_SESSION_COOKIE: Final = "__Host-keylease_session"
"""Its name with TLS: browsers take it from this very host only, and over TLS only."""
CSRF_HEADER: Final = "x-csrf-token"
_LONGEST_IDEMPOTENCY_KEY: Final = 200


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a request shows to say who sends it."""

    method: str
    authorization: str = ""
    session: str = ""
    """The value of the session's cookie."""
    csrf: str = ""
    """The value of the CSRF header; needed with a cookie when the method changes something."""
    address: str = ""
    request_id: str = ""


class Authenticator(Protocol):
    """Tells who sends a request."""

    async def authenticate(self, evidence: Evidence) -> Caller:
        """The caller. Raises ``SignInRequired``, or ``PermissionDenied`` when CSRF fails."""
        ...


class Access(Protocol):
    """Decides what a caller may do."""

    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        """Raise ``PermissionDenied`` with the reason unless the caller holds the permission there.

        Raises ``ResourceNotFound`` for a project that is not the caller's organization's.
        """
        ...


def allowed(permission: Permission) -> Any:  # noqa: ANN401 - what FastAPI's Depends is
    """A dependency: the caller, who holds ``permission`` where the path says."""

    async def check(request: Request) -> Caller:
        caller = await _caller(request)
        project_id = str(request.path_params.get("project_id", ""))
        await request.app.state.services.access.require(caller, permission, project_id=project_id)
        return caller

    return _marked(check, permission.value)


def signed_in(*, in_session: bool = False) -> Any:  # noqa: ANN401 - as in allowed
    """A dependency: the caller, for routes about themselves.

    With ``in_session`` only a person who has signed in, and no API key. An ingest key is for
    pushing and for nothing else, so it is never enough here.
    """

    async def check(request: Request) -> Caller:
        caller = await _caller(request)
        if in_session and not caller.session_id:
            raise PermissionDenied("Only a person who is signed in may do this, not an API key.")
        if caller.api_key_id and (caller.permissions or frozenset()) <= INGEST:
            raise PermissionDenied("An ingest key may push, and nothing else.")
        return caller

    return _marked(check, "signed_in")


def open_to_all() -> Any:  # noqa: ANN401 - as in allowed
    """A dependency that marks a route which needs no sign-in, on purpose."""

    async def nobody() -> None:
        return None

    return _marked(nobody, "open_to_all")


def _marked(check: Callable[..., Awaitable[object]], what: str) -> Any:  # noqa: ANN401 - as above
    check.needs = what  # type: ignore[attr-defined]  # read by the test that walks the routes
    return Depends(check)


async def _caller(request: Request) -> Caller:
    authenticator: Authenticator = request.app.state.services.authenticator
    caller = await authenticator.authenticate(evidence_of(request))
    return msgspec.structs.replace(
        caller,
        request_id=request.state.request_id,
        address=address_of(request),
        idempotency=await _idempotency(request),
    )


def evidence_of(request: Request) -> Evidence:
    """What the request shows."""
    return Evidence(
        method=request.method,
        authorization=request.headers.get("authorization", ""),
        session=request.cookies.get(session_cookie(request), ""),
        csrf=request.headers.get(CSRF_HEADER, ""),
        address=address_of(request),
        request_id=request.state.request_id,
    )


def session_cookie(request: Request) -> str:
    """The name of the session's cookie on this server."""
    return SECURE_SESSION_COOKIE if request.app.state.services.secure else SESSION_COOKIE


def address_of(request: Request) -> str:
    """The peer's address; a forwarded one counts only when uvicorn was told to trust the proxy."""
    return request.client.host if request.client else ""


async def _idempotency(request: Request) -> IdempotencyKey | None:
    key = request.headers.get("idempotency-key", "")
    if not key or request.method != "POST":
        return None
    if len(key) > _LONGEST_IDEMPOTENCY_KEY or not key.isprintable():
        raise InputInvalid("The Idempotency-Key is over 200 characters or not printable.")
    digest = hashlib.sha256(f"{request.method} {path_of(request)}\n".encode())
    digest.update(await request.body())
    # A client chose it, so it could be anything, a pasted key too: only its digest is kept.
    kept = hashlib.sha256(key.encode()).hexdigest()
    return IdempotencyKey(key=kept, request_digest=digest.hexdigest())
