"""What is opened when it is needed is opened once, closed once, and tried again when it failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import TraceStoreUnavailable
from keylease.platform.traces.opening import WhenNeeded


class Thing:
    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.broken = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        if self.broken:
            raise TraceStoreUnavailable("gone")
        self.opened += 1
        yield "open"
        self.closed += 1


async def test_many_who_need_it_open_it_once(clock: ManualClock) -> None:
    thing = Thing()
    needed = WhenNeeded(thing.open, clock=clock)
    assert await asyncio.gather(*(needed() for _ in range(5))) == ["open"] * 5
    assert thing.opened == 1
    await needed.close()
    await needed.close()
    assert thing.closed == 1
    assert needed.now is None


async def test_a_failure_that_nobody_has_thought_of_says_to_come_again(clock: ManualClock) -> None:
    @contextlib.asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        yield str(1 // 0)

    needed = WhenNeeded(broken, clock=clock)
    for _ in range(2):
        with pytest.raises(TraceStoreUnavailable) as refused:
            await needed()
        assert "zero" not in str(refused.value)


async def test_what_was_closed_is_not_opened_again(clock: ManualClock) -> None:
    thing = Thing()
    needed = WhenNeeded(thing.open, clock=clock)
    await needed()
    await needed.close()
    with pytest.raises(TraceStoreUnavailable):
        await needed()
    assert thing.opened == 1


async def test_what_nobody_needs_is_not_opened(clock: ManualClock) -> None:
    thing = Thing()
    await WhenNeeded(thing.open, clock=clock).close()
    assert thing.opened == 0


async def test_an_opening_that_failed_is_tried_again_later(clock: ManualClock) -> None:
    thing = Thing()
    thing.broken = True
    needed = WhenNeeded(thing.open, clock=clock)
    with pytest.raises(TraceStoreUnavailable):
        await needed()
    thing.broken = False
    assert needed.trouble is not None
    with pytest.raises(TraceStoreUnavailable):  # at once, the same answer
        await needed()
    clock.advance(10)
    assert await needed() == "open"
    assert needed.trouble is None
