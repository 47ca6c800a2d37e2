"""One timer for all connections of a server or a pool, instead of one per request.

A connection has a ``deadline`` by ``Sweeper.now`` and is told when it has passed; to set it costs
an addition. Deadlines are looked at every ``interval`` seconds and never come early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = float("inf")


class Expiring(Protocol):
    """Something with a deadline."""

    __slots__ = ()

    deadline: float

    def expired(self) -> None:
        """The deadline has passed; sets another one or ends."""
        ...


class Sweeper:
    """Looks at the deadlines of its members; rests while there are none."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        on_error: Callable[[BaseException], None],
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        """``on_tick`` is called once per interval, and once when the sweeper wakes up."""
        self._loop = loop
        self._interval = interval
        self._on_error = on_error
        self._on_tick = on_tick
        self._timer: asyncio.TimerHandle | None = None
        self.members: set[Expiring] = set()
        self.now = 0.0
        """Seconds, at most one interval ahead of the loop's clock: deadlines made from it are
        never too early."""

    def add(self, member: Expiring) -> None:
        """Watch ``member`` until it is discarded."""
        self.members.add(member)
        if self._timer is None:
            self._tick()

    def discard(self, member: Expiring) -> None:
        """Forget ``member``."""
        self.members.discard(member)

    def _tick(self) -> None:
        present = self._loop.time()
        self.now = present + self._interval
        self._timer = self._loop.call_later(self._interval, self._sweep)
        if self._on_tick is not None:
            self._on_tick()

    def _sweep(self) -> None:
        if not self.members:
            self._timer = None
            return
        present = self._loop.time()
        for member in [member for member in self.members if member.deadline <= present]:
            try:
                member.expired()
            except Exception as error:  # noqa: BLE001 - one connection must not stop the others
                self._on_error(error)
        self._tick()

    def stop(self) -> None:
        """Look at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
