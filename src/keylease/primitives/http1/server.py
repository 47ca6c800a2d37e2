"""The server side: listening, limits on the number of connections, drain on shutdown."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from keylease.primitives.clock import Clock, SystemClock
from keylease.primitives.http1.connections import Connections
from keylease.primitives.http1.interfaces import HandlerFactory
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.server_protocol import ServerProtocol

ErrorReport = Callable[[BaseException], None]


class Http1Server:
    """Accepts connections on any number of sockets and serves them with one handler factory."""

    def __init__(
        self,
        factory: HandlerFactory,
        *,
        limits: ServerLimits | None = None,
        on_error: ErrorReport,
        clock: Clock | None = None,
    ) -> None:
        """Must be made where an event loop runs. ``on_error`` gets what handlers raise."""
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self.connections = Connections(
            self._loop, factory, limits or ServerLimits(), on_error, clock or SystemClock()
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening TCP socket."""
        names = [sock.getsockname() for server in self._listeners for sock in server.sockets]
        return [(name[0], name[1]) for name in names if isinstance(name, tuple)]

    async def listen(
        self,
        *,
        host: str | None = None,
        port: int = 0,
        sock: socket.socket | None = None,
        unix_path: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        backlog: int = 1024,
    ) -> None:
        """Accept connections on an address, a bound socket or a Unix path; may be called again."""
        make = self._make_protocol
        if unix_path is not None:
            server: asyncio.Server = await self._loop.create_unix_server(
                make, unix_path, ssl=ssl_context, backlog=backlog
            )
        elif sock is not None:
            server = await self._loop.create_server(
                make, sock=sock, ssl=ssl_context, backlog=backlog
            )
        else:
            server = await self._loop.create_server(
                make, host, port, ssl=ssl_context, backlog=backlog
            )
        self._listeners.append(server)

    def _make_protocol(self) -> asyncio.BaseProtocol:
        # In all but name: a class that is compiled cannot derive from one that is not.
        return cast("asyncio.BaseProtocol", ServerProtocol(self.connections))

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let answers finish for so long, then cut what is left.

        Idle connections are closed at once; answers that begin from now on say
        ``Connection: close`` (RFC 9112 section 9.6).
        """
        for server in self._listeners:
            server.close()
        self._listeners.clear()
        await self.connections.drain(seconds)
