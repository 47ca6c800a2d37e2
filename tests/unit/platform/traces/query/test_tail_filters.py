"""Filters outside the store: their expressions are compiled before a row is looked at, or never."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import hyperscan
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.queried_spans import stored_span

from keylease.errors import QueryInvalid
from keylease.platform.traces.query.patterns import MAXIMUM_SIZE, searcher
from keylease.platform.traces.searching import TraceSearch


async def nothing() -> Any:  # noqa: ANN401 - a filter asks for no store
    raise AssertionError


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that compiled an expression."""
    threads: list[threading.Thread] = []

    class Watched(hyperscan.Database):
        def compile(self, *rest: Any, **more: Any) -> None:  # noqa: ANN401 - the library's
            threads.append(threading.current_thread())
            super().compile(*rest, **more)

    monkeypatch.setattr(hyperscan, "Database", Watched)
    return threads


@pytest.fixture
def selector() -> Callable[[str], Awaitable[Callable[[Any], bool]]]:
    return TraceSearch(nothing, ManualClock()).selector  # type: ignore[arg-type]  # never asked


async def test_an_expression_is_compiled_beside_the_event_loop_and_once(
    selector: Callable[[str], Awaitable[Callable[[Any], bool]]], compiled: list[threading.Thread]
) -> None:
    wanted = await selector('not (name matches "^st[e]p [0-9]$" and root = true) or cost > 1')
    assert [thread is threading.main_thread() for thread in compiled] == [False]
    assert [wanted(stored_span(number)) for number in (0, 1)] == [False, True]
    assert len(compiled) == 1


@pytest.mark.parametrize(
    "pattern", ["(a{1,500}){1,500}", ".{0,900}a.{0,900}", "a{1,40}" * (1 + MAXIMUM_SIZE // 40)]
)
async def test_an_expression_that_would_be_huge_is_refused_uncompiled(
    selector: Callable[[str], Awaitable[Callable[[Any], bool]]],
    compiled: list[threading.Thread],
    pattern: str,
) -> None:
    with pytest.raises(QueryInvalid, match="repeats"):
        await selector(f'name matches "{pattern}"')
    assert compiled == []


async def test_what_cannot_be_compiled_is_told_when_the_tail_begins_and_remembered(
    selector: Callable[[str], Awaitable[Callable[[Any], bool]]], compiled: list[threading.Thread]
) -> None:
    for _ in range(3):
        with pytest.raises(QueryInvalid):
            await selector('input matches "[[:nothing:]"')
    with pytest.raises(QueryInvalid):
        searcher("[[:nothing:]")
    assert len(compiled) == 1
