"""Writes what connections have to say together, at the end of one turn of the event loop.

Whoever waits for a message on another core has to be woken up for it, and that can cost more than
the message. Messages that leave one right after the other find their reader awake. So what is
written while the loop handles what it has just received is held until that is done: no timer and
no waiting for more is part of it. Work that nobody waits for is done behind it (``after``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TOGETHER: Final = 16
"""Connections whose messages are held at most; then they leave before the turn is over."""
HELD_BYTES: Final = 64 * 1024
"""Of one connection; more leaves at once."""


class Outbox:
    """Shared by the connections of one server or pool."""

    __slots__ = ("_afterwards", "_call_soon", "_due", "_on_error", "_waiting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_error: Callable[[BaseException], None]
    ) -> None:
        """``on_error`` is told what work raises."""
        self._call_soon = loop.call_soon
        self._on_error = on_error
        self._waiting: list[Outlet] = []
        self._afterwards: list[Callable[[], None]] = []
        self._due = False

    def add(self, outlet: Outlet) -> None:
        """Have ``outlet`` flushed at the end of this turn, or before."""
        waiting = self._waiting
        waiting.append(outlet)
        if not self._due:
            self._due = True
            self._call_soon(self._turn_over)
        if len(waiting) >= TOGETHER:
            self.flush()

    def after(self, work: Callable[[], None]) -> None:
        """Do ``work`` at the end of this turn, when everything that was written has left."""
        self._afterwards.append(work)
        if not self._due:
            self._due = True
            self._call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self._due = False
        self.flush()
        afterwards = self._afterwards
        if afterwards:
            self._afterwards = []
            for work in afterwards:
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - one call's defect must not stop others
                    self._on_error(error)

    def flush(self) -> None:
        """Send everything that is held."""
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            outlet.flush()


class Outlet:
    """The writing side of one transport. What is written here leaves in its order."""

    __slots__ = ("_held", "_outbox", "_transport")

    def __init__(self, outbox: Outbox, transport: asyncio.Transport) -> None:
        self._outbox = outbox
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn."""
        held = self._held
        if not held:
            self._held = data
            self._outbox.add(self)
            if len(data) > HELD_BYTES:
                self.flush()
        elif len(held) + len(data) <= HELD_BYTES:
            self._held = held + data
        else:  # Too much to be copied.
            self._held = b""
            if not self._transport.is_closing():
                self._transport.writelines((held, data))

    def write_pair(self, first: bytes, second: bytes) -> None:
        """Send two pieces now, without joining them."""
        self.flush()
        self._transport.writelines((first, second))

    def flush(self) -> None:
        """Send what is held; it is dropped when the connection has ended meanwhile."""
        held = self._held
        if held:
            self._held = b""
            if not self._transport.is_closing():
                self._transport.write(held)

    def write_eof(self) -> None:
        """End the sending side, behind what is held."""
        self.flush()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close when everything is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close now; what the system has not taken yet is lost."""
        self.flush()
        self._transport.abort()
