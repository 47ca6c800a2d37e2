"""The client side: a pool of keep-alive connections to one origin.

Protects: every new connection goes to addresses that ``resolve`` gave for it, so a name that
changes its meaning is checked again; TLS is verified against ``server_name`` and nothing is
written before it is up; host and framing are the pool's own, whatever the caller renders.
Does not protect: which addresses are allowed is decided by ``resolve`` (see ``egress``).
Limits: connections, waiting requests and every wait are bounded by ``PoolLimits``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, cast

from keylease.errors import KeyleaseError
from keylease.primitives.http1.exchange import JOIN_BYTES
from keylease.primitives.http1.grammar import HOST, METHOD_NAME, SENT_TARGET
from keylease.primitives.http1.interfaces import (
    Pool,
    ResponseReceiver,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.primitives.http1.limits import PoolLimits, sweep_interval
from keylease.primitives.http1.outbox import Outbox
from keylease.primitives.http1.rendering import CHUNKED
from keylease.primitives.http1.response_head import ResponseHeads
from keylease.primitives.http1.sweeper import Sweeper
from keylease.primitives.http1.upstream_call import Call
from keylease.primitives.http1.upstream_connection import Home, UpstreamConnection
from keylease.primitives.tasks import TaskOwner

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose empty body is said to be empty (RFC 9110 section 8.6)."""
REMEMBERED_BEGINNINGS: Final = 256
_DEFAULT_PORTS: Final = {True: 443, False: 80}


class CheckedAddress(Protocol):
    """An address that may be connected to; ``egress.addresses.Address`` is one."""

    @property
    def ip(self) -> str:
        """The address as text."""
        ...

    @property
    def port(self) -> int:
        """The port."""
        ...


Resolve = Callable[[], Awaitable[Sequence[CheckedAddress]]]


class UpstreamPool(Pool, Home):
    """Connections to one origin; the ``Pool`` of ``interfaces``."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        resolve: Resolve,
        ssl_context: ssl.SSLContext | None,
        server_name: str | None = None,
        limits: PoolLimits | None = None,
        on_error: Callable[[BaseException], None],
    ) -> None:
        """``resolve`` is asked for every new connection. Must be made where a loop runs.

        ``server_name`` is what TLS verifies, ``host`` if not given. ``on_error`` gets what
        receivers raise.
        """
        self._loop = asyncio.get_running_loop()
        self._resolve = resolve
        self._ssl = ssl_context
        self._server_name = (server_name or host) if ssl_context is not None else None
        authority = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[ssl_context is not None]:
            authority = f"{authority}:{port}"
        if not HOST.fullmatch(authority.encode("ascii")):
            raise ValueError("the host is no host name")
        self._after_target = f" HTTP/1.1\r\nhost: {authority}\r\n".encode("ascii")
        self._beginnings: dict[tuple[str, bytes], bytes] = {}
        self.limits = limits or PoolLimits()
        self.outbox = Outbox(self._loop, on_error)
        self.heads = ResponseHeads(self.limits.header_count)
        self.sweeper = Sweeper(
            self._loop,
            sweep_interval(
                self.limits.waiting_seconds,
                self.limits.response_seconds,
                self.limits.idle_seconds,
            ),
            on_error,
        )
        self.on_error = on_error
        self._tasks = TaskOwner(on_error)
        self._open: set[UpstreamConnection] = set()
        self._idle: dict[UpstreamConnection, None] = {}
        """The one used last is used next, so that the others grow old and are closed."""
        self._waiting: deque[Call] = deque()
        self._connecting = 0
        self._closed = False

    @property
    def open_count(self) -> int:
        """Connections that are up."""
        return len(self._open)

    @property
    def idle_count(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    # --- requests --------------------------------------------------------------------------------

    def request(
        self,
        *,
        method: str,
        target: bytes,
        headers: bytes,
        receiver: ResponseReceiver,
        body: bytes | None = b"",
        content_length: int | None = None,
    ) -> UpstreamRequest:
        """Send a request; see ``Pool.request``. Raises ``ValueError`` for what cannot be sent."""
        message = self._render(method, target, headers, body, content_length)
        call = Call(
            receiver,
            to_head=method == "HEAD",
            unfinished=body is None,
            content_length=content_length,
        )
        rest = body or b""
        if len(rest) <= JOIN_BYTES:
            message += rest
            rest = b""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                connection.begin(call, message, rest)
                return call
            self.ended(connection)
        self._enqueue(call, message + rest)
        return call

    def _render(
        self,
        method: str,
        target: bytes,
        headers: bytes,
        body: bytes | None,
        content_length: int | None,
    ) -> bytes:
        if (
            headers.find(b"\r\n\r\n") >= 0
            or headers.startswith(b"\r\n")
            or (headers and not headers.endswith(b"\r\n"))
        ):
            raise ValueError("the request's fields are not well formed")
        if body is None:
            framing = (
                CHUNKED if content_length is None else b"content-length: %d\r\n" % content_length
            )
        elif body or method in _WITH_BODY:
            framing = b"content-length: %d\r\n" % len(body)
        else:
            framing = b""
        return b"%b%b%b\r\n" % (self._beginning(method, target), headers, framing)

    def _beginning(self, method: str, target: bytes) -> bytes:
        """The request line and ``Host``; most calls to an origin go to one of a few targets."""
        found = self._beginnings.get((method, target))
        if found is None:
            if not METHOD_NAME.fullmatch(method) or not SENT_TARGET.fullmatch(target):
                raise ValueError("the request's method or target is not well formed")
            found = b"%b %b%b" % (method.encode("ascii"), target, self._after_target)
            if len(self._beginnings) >= REMEMBERED_BEGINNINGS:
                self._beginnings.clear()
            self._beginnings[method, target] = found
        return found

    def _enqueue(self, call: Call, message: bytes) -> None:
        """Let a call wait, and see to it that a connection comes."""
        if self._closed:
            failure = UpstreamFailure("connect", sent=False, detail="the pool is closed")
            self._loop.call_soon(call.fail, failure)
            return
        if len(self._waiting) >= self.limits.waiting:
            failure = UpstreamFailure("pool_full", sent=False, detail="too many requests wait")
            self._loop.call_soon(call.fail, failure)
            return
        self._waiting.append(call)
        self.sweeper.add(call)  # Also wakes the sweeper up, so that its clock is right.
        call.wait(
            message,
            deadline=self.sweeper.now + self.limits.waiting_seconds,
            give_up=self._stop_waiting,
        )
        self._connect_if_needed()

    def _stop_waiting(self, call: Call) -> None:
        self.sweeper.discard(call)
        self._waiting.remove(call)

    def _next_waiting(self) -> Call | None:
        if not self._waiting:
            return None
        call = self._waiting.popleft()
        self.sweeper.discard(call)
        return call

    # --- connections -----------------------------------------------------------------------------

    def _connect_if_needed(self) -> None:
        room = self.limits.connections - len(self._open)
        while self._connecting < min(len(self._waiting), room):
            self._connecting += 1
            self._tasks.start(self._connect(), name="upstream connect")

    async def _connect(self) -> None:
        failure: UpstreamFailure | None = None
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                await self._open_connection()
        except TimeoutError:
            failure = UpstreamFailure("connect", sent=False, detail="connecting took too long")
        except ssl.SSLError as error:
            failure = UpstreamFailure("tls", sent=False, detail=str(error))
        except KeyleaseError as error:
            failure = UpstreamFailure("address", sent=False, detail=str(error))
        except OSError as error:
            failure = UpstreamFailure("connect", sent=False, detail=str(error))
        except Exception as error:  # noqa: BLE001 - ``resolve`` is foreign code; nobody may hang
            self.on_error(error)
            failure = UpstreamFailure("connect", sent=False, detail="connecting failed")
        finally:
            self._connecting -= 1
        if failure is not None and (call := self._next_waiting()) is not None:
            call.fail(failure)
        self._connect_if_needed()

    async def _open_connection(self) -> None:
        """Try the addresses in their order; a failed TLS handshake ends the attempt."""
        addresses = await self._resolve()
        failed: OSError = ConnectionError("the host has no address")
        for address in addresses:
            try:
                await self._loop.create_connection(
                    self._make_protocol,
                    address.ip,
                    address.port,
                    ssl=self._ssl,
                    server_hostname=self._server_name,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failed = error
            else:
                return
        raise failed

    def _make_protocol(self) -> asyncio.BaseProtocol:
        # In all but name: a class that is compiled cannot derive from one that is not.
        return cast("asyncio.BaseProtocol", UpstreamConnection(self))

    def opened(self, connection: UpstreamConnection) -> None:
        """A connection is up."""
        self._open.add(connection)
        self.sweeper.add(connection)
        self.released(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """A connection is free: for who waits, or to be kept."""
        call = self._next_waiting()
        if call is not None:
            connection.begin_held(call)
        elif self._closed:
            connection.close()
        else:
            self._idle[connection] = None
            connection.deadline = self.sweeper.now + self.limits.idle_seconds

    def ended(self, connection: UpstreamConnection) -> None:
        """A connection takes no more requests."""
        self._idle.pop(connection, None)
        self._open.discard(connection)
        if self._waiting:
            self._connect_if_needed()

    async def close(self) -> None:
        """Close idle connections now and busy ones when they are done; waiting requests fail."""
        self._closed = True
        await self._tasks.close()
        while (call := self._next_waiting()) is not None:
            call.fail(UpstreamFailure("connect", sent=False, detail="the pool is closed"))
        for connection in list(self._idle):
            connection.close()
