"""Wakes polls that wait: at once for what this process changed, shortly after for another's.

Promise: a poll that began to listen before a change was committed is woken by it.
Limits: what another server process changed is noticed within ``LOOK_SECONDS``, by one small query
    for all organizations that somebody waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from keylease.errors import DatabaseUnavailable
from keylease.platform.gateways.interfaces import BundleSource

LOOK_SECONDS: Final = 0.25


class PollHub:
    """One per server process."""

    def __init__(self, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._listening: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    def wake(self, organization_id: str) -> None:
        """Something that gateways of the organization should hear of was committed."""
        for event in self._listening.get(organization_id, ()):
            event.set()

    @contextlib.contextmanager
    def listening(self, organization_id: str) -> Iterator[asyncio.Event]:
        """An event that is set by every ``wake`` for the organization until the block ends."""
        event = asyncio.Event()
        if self._closed:
            event.set()
        self._listening.setdefault(organization_id, set()).add(event)
        try:
            yield event
        finally:
            events = self._listening[organization_id]
            events.discard(event)
            if not events:
                del self._listening[organization_id]

    @property
    def closed(self) -> bool:
        """The server is stopping: nobody waits any longer."""
        return self._closed

    def close(self) -> None:
        """Let every poll answer now, so that the server can stop."""
        self._closed = True
        for organization_id in list(self._listening):
            self.wake(organization_id)

    async def watch(
        self, source: BundleSource, *, on_error: Callable[[BaseException], None]
    ) -> None:
        """Notice what other processes change, until cancelled."""
        seen: Mapping[str, int] = {}
        while True:
            await asyncio.sleep(self._look_seconds)
            waited_for = tuple(self._listening)
            if not waited_for:
                continue
            try:
                seen = await self._look(source, waited_for, seen)
            except DatabaseUnavailable:
                continue  # polls find that out by themselves
            except Exception as error:  # noqa: BLE001 - a defect must not end the watching
                on_error(error)

    async def _look(
        self, source: BundleSource, waited_for: Sequence[str], seen: Mapping[str, int]
    ) -> Mapping[str, int]:
        now = await source.generations(waited_for)
        for organization_id, generation in now.items():
            # Also at first sight: it may have changed since the poll read its bundle.
            if generation != seen.get(organization_id):
                self.wake(organization_id)
        return {**seen, **now}
