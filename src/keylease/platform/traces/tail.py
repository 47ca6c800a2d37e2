"""Live tail: rows that were just applied, to whoever listens.

Protects: a listener gets rows of its organization and project only, whatever its filter says.
Limits: a listener that is slower than what comes loses the oldest rows, and is told how many:
    a tail never holds up the writer and never grows. At most ``LISTENERS`` at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from keylease.errors import TooManyAttempts
from keylease.platform.traces.model import Span

LISTENERS: Final = 64
WAITING: Final = 500
"""Rows that wait for one listener."""
QUIET_SECONDS: Final = 10.0
"""After so long without a row the listener gets a sign of life."""


class Tailed(msgspec.Struct, frozen=True):
    """What a listener gets; both empty is a sign of life."""

    spans: tuple[Span, ...] = ()
    lost: int = 0
    """Rows that were not kept for this listener because it was too slow."""


class _Listener:
    def __init__(
        self, organization_id: str, project_id: str, wanted: Callable[[Span], bool]
    ) -> None:
        self.organization_id = organization_id
        self.project_id = project_id
        self.wanted = wanted
        self.waiting: deque[Span] = deque()
        self.lost = 0
        self.something = asyncio.Event()

    def offer(self, span: Span) -> None:
        if span.project_id != self.project_id or span.organization_id != self.organization_id:
            return
        if not self.wanted(span):
            return
        if len(self.waiting) >= WAITING:
            self.waiting.popleft()
            self.lost += 1
        self.waiting.append(span)
        self.something.set()

    def take(self) -> Tailed:
        taken = Tailed(tuple(self.waiting), self.lost)
        self.waiting.clear()
        self.lost = 0
        self.something.clear()
        return taken


class TailHub:
    """Made in the event loop; ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners: set[_Listener] = set()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def publish(self, spans: Sequence[Span]) -> None:
        """Tell who listens; returns at once."""
        if self._listeners and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._offer, spans)

    def _offer(self, spans: Sequence[Span]) -> None:
        for listener in self._listeners:
            for span in spans:
                listener.offer(span)

    def listen(
        self, organization_id: str, project_id: str, wanted: Callable[[Span], bool]
    ) -> AsyncIterator[Tailed]:
        """Rows from the first time it is asked on, until the iterator or the hub is closed.

        ``wanted`` must not raise. Raises ``TooManyAttempts`` when too many listen already.
        """
        if len(self._listeners) >= LISTENERS:
            raise TooManyAttempts("Too many readers follow traces.", retry_after=60)
        return self._each(_Listener(organization_id, project_id, wanted))

    async def _each(self, listener: _Listener) -> AsyncIterator[Tailed]:
        self._listeners.add(listener)  # here, so that one that is never read is never kept
        try:
            while not self._closed:
                try:
                    async with asyncio.timeout(QUIET_SECONDS):
                        await listener.something.wait()
                except TimeoutError:
                    yield Tailed()
                    continue
                taken = listener.take()
                if taken.spans:
                    yield taken
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every tail: the server is stopping."""
        self._closed = True
        for listener in self._listeners:
            listener.something.set()
