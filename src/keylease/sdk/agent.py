"""The loopback agent of `keylease run`: takes a program's provider calls, attaches a fresh lease.

Protects: the program never holds a lease that is good for anybody else; the agent answers only to
    the random bearer of this one run, compared in constant time, only under its own Host (a page
    in a browser that rebinds a name to 127.0.0.1 fails), and to no request with an Origin.
Does not protect: against other processes of the same user, which can read the program's
    environment, where the bearer is.
Limits: one gateway, one run; HTTP on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from keylease.errors import SettingsInvalid
from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.interfaces import Headers, RequestHead, Responder
from keylease.primitives.http1.limits import PoolLimits
from keylease.primitives.http1.server import Http1Server
from keylease.primitives.tasks import TaskOwner
from keylease.sdk.agent_call import CREDENTIAL_FIELDS, JSON_TYPE, AgentCall, Leases, error_body
from keylease.sdk.agent_tokens import TOKEN_PATH, AgentTokenCall

BEARER_PREFIX: Final = "klr_"
"""Tells a run's bearer from a lease, for people and for secret scanners."""
_DRAIN_SECONDS: Final = 5.0
_UPSTREAM_SECONDS: Final = 3600.0
"""The gateway has time-outs of its own; the agent must not be the one that gives up first."""


class LoopbackAgent:
    """Serves one run. ``start`` it inside a loop, ``close`` it in the same."""

    def __init__(
        self,
        *,
        gateway_url: str,
        leases: Leases,
        bearer: str,
        on_error: Callable[[BaseException], None],
        ca_file: str | None = None,
    ) -> None:
        """``gateway_url`` has no path. ``on_error`` gets defects, never refusals."""
        self._host, self._port, self._tls = _origin(gateway_url)
        self._leases = leases
        self._bearer = bearer.encode()
        self._on_error = on_error
        self._ca_file = ca_file
        self._allowed_hosts: frozenset[bytes] = frozenset()
        self._server: Http1Server | None = None
        self._pool: UpstreamPool | None = None
        self._tasks = TaskOwner(on_error)

    async def start(self, sock: socket.socket) -> None:
        """Serve on a socket made by ``loopback_socket``."""
        port = sock.getsockname()[1]
        self._allowed_hosts = frozenset(
            name.encode() for name in (f"127.0.0.1:{port}", f"localhost:{port}")
        )
        context = ssl.create_default_context(cafile=self._ca_file) if self._tls else None
        self._pool = UpstreamPool(
            host=self._host,
            port=self._port,
            resolve=self._resolve,
            ssl_context=context,
            limits=PoolLimits(response_seconds=_UPSTREAM_SECONDS),
            on_error=self._on_error,
        )
        self._server = Http1Server(self._handle, on_error=self._on_error)
        await self._server.listen(sock=sock)

    async def close(self) -> None:
        """Stop at once but for answers that are nearly done."""
        if self._server is not None:
            await self._server.drain(_DRAIN_SECONDS)
        await self._tasks.close()
        if self._pool is not None:
            await self._pool.close()

    def _handle(
        self, head: RequestHead, responder: Responder
    ) -> AgentCall | AgentTokenCall | _Refused:
        # 1. A browser names the page it acts for; a provider's SDK has no page.
        if any(name == b"origin" for name, _ in head.headers):
            return _refuse(responder, 403, "The agent serves no web pages.")
        # 2. Under any other name than its own the agent is being rebound to.
        if head.header(b"host") not in self._allowed_hosts:
            return _refuse(responder, 403, "The agent does not serve this host.")
        assert self._pool is not None  # noqa: S101 - start() made it before it listened
        # 3. Only the program of this run knows the bearer; a token request has it in its form.
        if head.method == "POST" and head.path == TOKEN_PATH:
            return AgentTokenCall(
                responder,
                bearer=self._bearer,
                pool=self._pool,
                leases=self._leases,
                tasks=self._tasks,
            )
        if not self._is_ours(head.headers):
            return _refuse(responder, 401, "The agent serves the program it was started for.")
        return AgentCall(head, responder, pool=self._pool, leases=self._leases, tasks=self._tasks)

    def _is_ours(self, headers: Headers) -> bool:
        """Whether every credential that was sent, and at least one, is the bearer of this run."""
        results = [
            hmac.compare_digest(_credential(name, value), self._bearer)
            for name, value in headers
            if name in CREDENTIAL_FIELDS
        ]
        return bool(results) and all(results)

    async def _resolve(self) -> Sequence[_Resolved]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return [_Resolved(ip=str(entry[4][0]), port=self._port) for entry in found]


class _Resolved(msgspec.Struct, frozen=True):
    ip: str
    port: int


class _Refused:
    """A request that was answered from its head alone."""

    def body_received(self, data: bytes) -> None:
        """Not wanted."""

    def request_complete(self) -> None:
        """Already answered."""

    def client_gone(self) -> None:
        """Nothing to give up."""

    def pause_writing(self) -> None:
        """The answer is small."""

    def resume_writing(self) -> None:
        """The answer is small."""


def loopback_socket() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1. Connections wait until ``start``."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)
    sock.setblocking(False)  # noqa: FBT003 - the signature of the standard library
    return sock


def new_bearer() -> str:
    """A random bearer for one run."""
    return BEARER_PREFIX + secrets.token_urlsafe(32)


def _origin(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
        raise SettingsInvalid(
            f"The gateway's address is not of the form http://host:port: {url!r}.",
            advice="Give --gateway without a path, such as http://localhost:4141.",
        )
    tls = parts.scheme == "https"
    return parts.hostname, parts.port or (443 if tls else 80), tls


def _credential(name: bytes, value: bytes) -> bytes:
    scheme, separator, rest = value.partition(b" ")
    if name == b"authorization" and separator and scheme.lower() == b"bearer":
        return rest.strip()
    return value.strip()


def _refuse(responder: Responder, status: int, message: str) -> _Refused:
    responder.send(status, JSON_TYPE, error_body(message, "agent_refused"))
    return _Refused()
