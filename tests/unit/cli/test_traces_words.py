"""Trees, time lines, amounts and carets."""

from __future__ import annotations

from typing import Any

import pytest

from keylease.cli.traces_asking import pointed
from keylease.cli.traces_words import (
    ASCII,
    bar,
    branches,
    cost_of,
    lasted,
    money,
    tokens,
)


def span(name: str, parent: str = "") -> dict[str, Any]:
    return {"span_id": name, "parent_span_id": parent}


def drawn(*spans: dict[str, Any]) -> list[str]:
    return [branch.stem + branch.span["span_id"] for branch in branches(spans, ASCII)]


def test_spans_stand_below_what_called_them() -> None:
    assert drawn(span("a"), span("b", "a"), span("c", "b"), span("d", "a"), span("e")) == [
        "a",
        "|- b",
        "|  `- c",
        "`- d",
        "e",
    ]


def test_every_span_is_shown_once_whatever_it_says_of_its_parent() -> None:
    assert drawn(span("a", "gone"), span("b", "b"), span("c", "d"), span("d", "c")) == [
        "a",
        "b",
        "c",
        "`- d",
    ]


def test_a_deep_trace_is_drawn_too() -> None:
    deep = [span("0"), *(span(str(number), str(number - 1)) for number in range(1, 20_000))]
    few = list(zip(branches(deep, ASCII), range(3), strict=False))
    assert [branch.span["span_id"] for branch, _ in few] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("began", "duration", "wanted"),
    [
        (0, 1000, "#" * 24),
        (500, 500, "." * 12 + "#" * 12),
        (0, 0, "#" + "." * 23),
        (1000, 0, "." * 23 + "#"),
        (-50, 10, "#" + "." * 23),  # a clock that went back
        (900, 900, "." * 21 + "#" * 3),
    ],
)
def test_time_lines(began: int, duration: int, wanted: str) -> None:
    summary = {"started_at": 0, "ended_at": 1000}
    assert bar({"started_at": began, "duration": duration}, summary, ASCII) == wanted


def test_amounts() -> None:
    assert [lasted(one) for one in (0, 1500, 2_500_000, 125_000_000)] == [
        "0ms",
        "1.5ms",
        "2.50s",
        "2m05s",
    ]
    # an unknown cost is never shown as nothing
    assert [money(None), money(1), money(None, unknown=2), money(0, unknown=2)] == [
        "-",
        "$0.000001",
        "?",
        "?",
    ]
    assert money(5, unknown=1) == "$0.000005+?"
    assert cost_of({"cost": None, "model": "gpt-5"}) == "?"
    assert cost_of({"cost": None, "model": ""}) == "-"
    assert [tokens(None, None), tokens(1, None), tokens(1, 2)] == ["-", "1+?", "1+2"]


@pytest.mark.parametrize(
    ("text", "position", "wanted"),
    [
        ("a = ", 4, "  a = \n      ^"),
        ("SELECT\n  x\nFROM y", 9, "    x\n    ^"),
        ("a", 99, "  a\n   ^"),
        ("", 0, "  \n  ^"),
    ],
)
def test_carets(text: str, position: int, wanted: str) -> None:
    assert pointed(text, position) == wanted
