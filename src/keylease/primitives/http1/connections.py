"""What all connections of one server share: the handler factory, limits, the clock, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol, cast

from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.http1.interfaces import HandlerFactory
from keylease.primitives.http1.limits import ServerLimits, sweep_interval
from keylease.primitives.http1.outbox import Outbox
from keylease.primitives.http1.request_head import RequestHeads
from keylease.primitives.http1.sweeper import Expiring, Sweeper


class Connection(Expiring, Protocol):
    """A connection, as the server sees it."""

    __slots__ = ()

    def close_if_idle(self) -> None:
        """Close it unless a request is under way."""
        ...

    def cut(self) -> None:
        """End it now, whatever is unsent."""
        ...


class Connections:
    """What all connections of one server share."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: HandlerFactory,
        limits: ServerLimits,
        on_error: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self.factory = factory
        self.limits = limits
        self.on_error = on_error
        self.heads = RequestHeads(limits)
        self.outbox = Outbox(loop, on_error)
        self.draining = False
        self.date = b""
        self._clock = clock
        self._empty = asyncio.Event()
        interval = sweep_interval(
            limits.header_seconds,
            limits.body_seconds,
            limits.idle_seconds,
            limits.write_seconds,
            limits.linger_seconds,
        )
        self.sweeper = Sweeper(loop, interval, on_error, self._tick)

    def _tick(self) -> None:
        seconds = self._clock.now() // MICROSECONDS
        self.date = f"date: {formatdate(seconds, usegmt=True)}\r\n".encode("ascii")

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self.sweeper.members)

    def add(self, connection: Connection) -> bool:
        """Count a connection; false when there are too many."""
        full = len(self.sweeper.members) >= self.limits.connections
        self.sweeper.add(connection)
        return not full

    def discard(self, connection: Connection) -> None:
        """A connection has ended."""
        self.sweeper.discard(connection)
        if not self.sweeper.members:
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """See ``Http1Server.drain``."""
        self.draining = True
        self._empty.clear()
        for connection in self._all():
            connection.close_if_idle()
        if self.sweeper.members:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                for connection in self._all():
                    connection.cut()
                await self._empty.wait()
        self.sweeper.stop()

    def _all(self) -> list[Connection]:
        return [cast("Connection", member) for member in self.sweeper.members]
