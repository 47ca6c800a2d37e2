"""A tail gives what was just applied, to the right listener, and never grows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import msgspec
import pytest

from keylease.errors import TooManyAttempts
from keylease.platform.traces import tail
from keylease.platform.traces.model import Span, SpanKind, Status
from keylease.platform.traces.tail import Tailed, TailHub


def span(number: int, *, organization_id: str = "o", project_id: str = "p") -> Span:
    return Span(
        organization_id=organization_id,
        project_id=project_id,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        xact_id=number,
        created_at=0,
        sort_at=0,
        name="chat",
        kind=SpanKind.LLM,
        status=Status.OK,
        started_at=0,
        ended_at=1,
        duration=1,
    )


async def begun(tailing: AsyncIterator[Tailed]) -> asyncio.Task[Tailed]:
    """Ask for the first rows, and give the listener time to be there."""

    async def first() -> Tailed:
        return await anext(tailing)

    task = asyncio.get_running_loop().create_task(first())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_rows_come_from_another_thread_and_of_the_own_project_only() -> None:
    hub = TailHub()
    first = await begun(hub.listen("o", "p", lambda row: row.xact_id != 3))
    rows = [
        span(1),
        span(2, organization_id="other"),
        span(3),
        span(4, project_id="other"),
        span(5),
    ]
    thread = threading.Thread(target=hub.publish, args=(rows,))
    thread.start()
    taken = await first
    thread.join()
    assert [row.xact_id for row in taken.spans] == [1, 5]
    assert taken.lost == 0


async def test_a_slow_listener_loses_the_oldest_and_is_told() -> None:
    hub = TailHub()
    tailing = hub.listen("o", "p", lambda _: True)
    first = await begun(tailing)
    hub.publish([span(number) for number in range(tail.WAITING + 3)])
    taken = await first
    assert taken.lost == 3
    assert [taken.spans[0].xact_id, len(taken.spans)] == [3, tail.WAITING]


async def test_a_quiet_tail_gives_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "QUIET_SECONDS", 0.01)
    assert await anext(TailHub().listen("o", "p", lambda _: True)) == Tailed()


async def test_closing_ends_every_tail() -> None:
    hub = TailHub()
    first = await begun(hub.listen("o", "p", lambda _: True))
    hub.close()
    with pytest.raises(StopAsyncIteration):
        await first


async def test_the_number_of_listeners_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LISTENERS", 1)
    hub = TailHub()
    first = await begun(hub.listen("o", "p", lambda _: True))
    with pytest.raises(TooManyAttempts):
        hub.listen("o", "p", lambda _: True)
    hub.close()
    with pytest.raises(StopAsyncIteration):
        await first
    await begun(hub.listen("o", "p", lambda _: True))  # there is room again


async def test_a_slow_filter_holds_up_nothing_and_loses_rows() -> None:
    hub = TailHub()
    entered, may_go_on = threading.Event(), threading.Event()

    def wanted(_: Span) -> bool:
        entered.set()
        return may_go_on.wait(30)

    first = await begun(hub.listen("o", "p", wanted))
    hub.publish([span(1), span(2), span(3)])
    while not entered.is_set():  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.001)  # the event loop goes on
    for number in range(tail.BLOCKS):
        hub.publish([span(10 + number)])
    taken = await first
    assert (taken.spans, taken.lost) == ((), 1)  # of the last block, for which there was no room
    may_go_on.set()
    hub.close()


async def test_a_filter_that_fails_on_a_row_loses_it_and_goes_on() -> None:
    hub = TailHub()
    first = await begun(hub.listen("o", "p", lambda row: bool(1 // (row.xact_id - 1))))
    hub.publish([span(1), span(2)])
    taken = await first
    assert ([row.xact_id for row in taken.spans], taken.lost) == ([2], 1)
    hub.close()


async def test_what_waits_for_a_listener_is_bounded_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tail, "WAITING_BYTES", 2_000)
    hub = TailHub()
    first = await begun(hub.listen("o", "p", lambda _: True))
    rows = [msgspec.structs.replace(span(number), error="e" * 900) for number in range(5)]
    hub.publish(rows)
    taken = await first
    assert len(taken.spans) + taken.lost == 5
    assert sum(len(row.content) for row in taken.spans) <= 2_000
    assert taken.spans[-1].xact_id == 4
    hub.close()
