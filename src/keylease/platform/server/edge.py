"""What every request passes before a route sees it: ids, hosts, sizes, headers of the answer.

Protects: against a foreign ``Host`` (a page on another name that points at this machine), against
    bodies beyond the limit (counted as they arrive, whatever Content-Length says), against bodies
    that never end (what was begun has to arrive in time), and against browsers that would sniff,
    frame or cache what the API answers.
Does not protect: who the caller is, and what they may, is ``guard``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keylease.platform.server.problems import problem
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7

MAXIMUM_BODY: Final = 1024 * 1024
"""Bytes, unless a route says otherwise with ``larger_bodies``."""
BODY_SECONDS: Final = 60.0
"""For a whole body; 18 MiB in that time are a third of a MiB a second."""
_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        hosts: Iterable[str],
        larger_bodies: dict[str, int] | None = None,
        secure: bool = False,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """``hosts`` are names without port; ``larger_bodies`` maps paths to bytes."""
        self._body_seconds = body_seconds
        self._app = app
        self._clock = clock
        self._hosts = frozenset(host.lower() for host in hosts)
        self._larger = larger_bodies or {}
        self._headers = [*_HEADERS, _HSTS] if secure else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid7(self._clock)
        scope.setdefault("state", {})["request_id"] = request_id
        limit = self._limit(scope["path"])
        arrived = 0
        complete = False
        give_up = asyncio.get_running_loop().time() + self._body_seconds

        async def bounded() -> Message:
            nonlocal arrived, complete
            if complete:  # what comes now is the end of the connection, and that may take its time
                return await receive()
            try:
                async with asyncio.timeout_at(give_up):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None
            complete = not message.get("more_body", False)
            if message["type"] == "http.request":
                arrived += len(message.get("body", b""))
                if arrived > limit:
                    # Of this type because FastAPI makes a plain 400 of every other one.
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []),
                    *(header for header in self._headers if header[0] not in own),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        if not self._host_is_ours(scope):
            refusal = problem(
                Request(scope),
                421,
                "host_unknown",
                "This server does not answer for that host.",
                "Add the name to the platform's hosts, or use the one it prints.",
            )
            await refusal(scope, receive, dressed)
            return
        await self._app(scope, bounded, dressed)

    def _limit(self, path: str) -> int:
        return self._larger.get(path, MAXIMUM_BODY)

    def _host_is_ours(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        host = hosts[0].decode("latin-1").lower()
        if host.startswith("["):
            return host.partition("]")[0].lstrip("[") in self._hosts
        return host.partition(":")[0] in self._hosts
