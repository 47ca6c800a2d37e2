"""Live tail: rows that were just applied, to whoever listens.

Protects: a listener gets rows of its organization and project only, whatever its filter says. Its
    filter runs in a thread of the tails and for a bounded time, so that it holds up nothing else.
Limits: a listener that is slower than what comes loses the oldest rows, and one whose filter is too
    slow rows that were not looked at; both are told how many. A tail never holds up the writer and
    never grows. At most ``LISTENERS`` at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from keylease.errors import TooManyAttempts
from keylease.platform.traces.model import Span
from keylease.platform.traces.wire import line_of

LISTENERS: Final = 64
WAITING: Final = 500
"""Rows that wait for one listener."""
WAITING_BYTES: Final = 4 * 1024 * 1024
"""Of them."""
BLOCKS: Final = 8
"""Blocks of rows that wait to be looked at."""
FILTER_SECONDS: Final = 0.25
"""For one filter and one block."""
QUIET_SECONDS: Final = 10.0
"""After so long without a row the listener gets a sign of life."""
_encode: Final = msgspec.json.Encoder().encode


class TailedLine(msgspec.Struct, frozen=True):
    """A row as a listener gets it."""

    xact_id: int
    content: bytes
    """``wire.SpanLine`` as JSON."""


class Tailed(msgspec.Struct, frozen=True):
    """What a listener gets; both empty is a sign of life."""

    spans: tuple[TailedLine, ...] = ()
    lost: int = 0
    """Rows that were not kept for this listener, or not looked at, because it was too slow."""


class _Listener:
    def __init__(
        self, organization_id: str, project_id: str, wanted: Callable[[Span], bool]
    ) -> None:
        self.organization_id = organization_id
        self.project_id = project_id
        self.wanted = wanted
        self.waiting: deque[TailedLine] = deque()
        self.waiting_bytes = 0
        self.lost = 0
        self.something = asyncio.Event()

    def chosen(self, spans: Sequence[Span]) -> Tailed:
        """Those of a block that it gets; in the thread of the tails."""
        mine = [
            span
            for span in spans
            if span.project_id == self.project_id and span.organization_id == self.organization_id
        ]
        until = time.monotonic() + FILTER_SECONDS
        lines: list[TailedLine] = []
        lost = 0
        for position, span in enumerate(mine):
            if time.monotonic() > until:
                lost += len(mine) - position
                break
            try:
                if self.wanted(span):
                    lines.append(TailedLine(span.xact_id, _encode(line_of(span))))
            except Exception:  # noqa: BLE001 - one filter on one row must not end all tails
                lost += 1
        return Tailed(tuple(lines), lost)

    def offer(self, some: Tailed) -> None:
        """Keep what was chosen; in the event loop."""
        self.lost += some.lost
        for line in some.spans:
            self.waiting.append(line)
            self.waiting_bytes += len(line.content)
        while len(self.waiting) > WAITING or self.waiting_bytes > WAITING_BYTES:
            self.waiting_bytes -= len(self.waiting.popleft().content)
            self.lost += 1
        if self.waiting or self.lost:
            self.something.set()

    def take(self) -> Tailed:
        taken = Tailed(tuple(self.waiting), self.lost)
        self.waiting.clear()
        self.waiting_bytes = self.lost = 0
        self.something.clear()
        return taken


class TailHub:
    """Made in the event loop; ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners: set[_Listener] = set()
        self._closed = False
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace-tail")

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def publish(self, spans: Sequence[Span]) -> None:
        """Tell who listens; returns at once."""
        if self._listeners and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look_at, spans)

    def _look_at(self, spans: Sequence[Span]) -> None:
        listeners = tuple(self._listeners)
        if self._closed or not listeners:
            return
        if self._waiting >= BLOCKS:
            for listener in listeners:
                listener.offer(Tailed(lost=len(spans)))
            return
        self._waiting += 1
        self._thread.submit(self._choose, listeners, spans)

    def _choose(self, listeners: Sequence[_Listener], spans: Sequence[Span]) -> None:
        chosen = [(listener, listener.chosen(spans)) for listener in listeners]
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._offer, chosen)

    def _offer(self, chosen: Sequence[tuple[_Listener, Tailed]]) -> None:
        self._waiting -= 1
        for listener, some in chosen:
            if some.spans or some.lost:
                listener.offer(some)

    def listen(
        self, organization_id: str, project_id: str, wanted: Callable[[Span], bool]
    ) -> AsyncIterator[Tailed]:
        """Rows from the first time it is asked on, until the iterator or the hub is closed.

        ``wanted`` is called in another thread. Raises ``TooManyAttempts`` when too many listen.
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
                if taken.spans or taken.lost:
                    yield taken
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every tail: the server is stopping."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        for listener in self._listeners:
            listener.something.set()
