"""A mistake in a filter is answered with its place and what may have been meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import QueryInvalid
from keylease.platform.traces.query.parser import MAXIMUM_DEPTH, parse_filter
from keylease.platform.traces.query.syntax import (
    All,
    Any,
    AttributeTarget,
    Compare,
    MetadataTarget,
    Not,
)

MISTAKES = [
    # filter, position, a part of what is said
    ("modle = 1", 0, "Did you mean `model`"),
    ('kind = llm and statsu = "ok"', 15, "Did you mean `status`"),
    ("model =", 7, "text is expected"),
    ("model = 1", 8, "quotes"),
    ("model ~ x", 6, "means nothing"),
    ('name = "open', 7, "no end"),
    ('name = "a\\q"', 9, "escape"),
    ('name = "\\ud800"', 8, "half of a character"),
    ("kind = lmm", 7, "one of llm"),
    ("duration > 2", 11, "unit"),
    ("duration > 2parsecs", 11, "unit"),
    ("cost > 0.0000001 usd", 7, "six decimals"),
    ("cost > cheap", 7, "dollars"),
    ("started_at > soon", 13, "time is expected"),
    ('started_at > "2026-13-01"', 13, "time is expected"),
    ("model < gpt", 6, "have an order"),
    ("attributes.a > x", 15, "have an order"),
    ("(kind = llm", 11, "not closed"),
    ("kind = llm)", 10, "should end here"),
    ("kind = llm model = x", 11, "should end here"),
    ("kind in ()", 9, "expected"),
    ("kind in (llm", 12, "not closed"),
    ("attributes = 1", 10, "name of the value"),
    ('attributes["" ] = 1', 11, "name is expected"),
    ("model.x = 1", 5, "no parts"),
    ("tags = a", 7, "tags has"),
    ("tags contains a", 5, "tags has"),
    ("model has a", 6, "Only tags"),
    ("cost = null", 7, "missing"),
    ("duration contains a", 9, "no text"),
    ('"alone"', 0, "text:"),
    ("name:x", 0, "`text`"),
    ("text:x", 5, "quotes"),
    ('text:"..."', 5, "no word"),
    ('name matches "(?=a)"', 13, "RE2"),
    ('name matches "(a)\\\\1"', 13, "RE2"),
    ("and", 0, "name of a field"),
    ("root = maybe", 7, "`true` or `false`"),
    ("input_tokens > 9999999999999999999999", 15, "too large"),
    ("model", 0, "comparison is missing"),
]


@pytest.mark.parametrize(("text", "position", "said"), MISTAKES)
def test_a_mistake_has_its_place(text: str, position: int, said: str) -> None:
    with pytest.raises(QueryInvalid) as mistake:
        parse_filter(text, now=0)
    assert mistake.value.position == position
    assert said in str(mistake.value)


def test_a_mistake_does_not_repeat_the_filter() -> None:
    secret = "sk-" + "notreal" * 4
    for text in (secret, f"name = '{secret}", f"kind = {secret}", f"{secret} = 1"):
        with pytest.raises(QueryInvalid) as mistake:
            parse_filter(text, now=0)
        assert "notreal" not in str(mistake.value)


def test_not_binds_closer_than_and_closer_than_or() -> None:
    match parse_filter("root or not root and kind = llm", now=0):
        case Any(parts=(Compare(), All(parts=(Not(), Compare())))):
            pass
        case other:
            pytest.fail(repr(other))


def test_paths_lead_where_they_say() -> None:
    def target(text: str) -> object:
        expression = parse_filter(f"{text} = 1", now=0)
        assert isinstance(expression, Compare)
        return expression.target

    assert target("attributes.a.b-c.0.d") == AttributeTarget("attributes", "a.b-c.0.d")
    assert target('resource["x y"].z') == AttributeTarget("resource", "x y.z")
    assert target('metadata.a["b.c"].0.d') == MetadataTarget(("a", "b.c", "0", "d"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("duration = 1h30m", 5_400_000_000),
        ("duration = 1.5ms", 1_500),
        ("cost = 0.05 usd", 50_000),
        ("cost = 1e-6", 1),
        ("input_tokens = 64kib", 65_536),
        ("attributes.size = 1.5kb", 1_500),
        ("attributes.x = true", True),
        ("started_at = now-1s", 99_000_000),
        ("started_at = 1970-01-01T00:01:00Z", 60_000_000),
        ("started_at = '1970-01-01T01:00:00+01:00'", 0),
        ("started_at = 1970-01-02", 86_400_000_000),
        ('name = "a\\u00e9\\n\\"b"', 'a\u00e9\n"b'),
        ("kind = llm", "llm"),
        ("model = gpt-5-mini", "gpt-5-mini"),
    ],
)
def test_values_are_what_is_stored(text: str, value: object) -> None:
    expression = parse_filter(text, now=100_000_000)
    assert isinstance(expression, Compare)
    assert expression.values == (value,)
    assert type(expression.values[0]) is type(value)


def test_depth_and_length_are_bounded() -> None:
    inside = "(" * MAXIMUM_DEPTH + "root" + ")" * MAXIMUM_DEPTH
    assert isinstance(parse_filter(inside, now=0), Compare)
    for text in (
        f"({inside})",
        "(" * 9_000,
        "root and " * 1_000 + "root",
        "x" * 10_001,
        f"name in ({', '.join(['a'] * 502)})",
        f"attributes{'.a' * 40} = 1",
    ):
        with pytest.raises(QueryInvalid):
            parse_filter(text, now=0)
    assert isinstance(parse_filter("not " * 1_900 + "root", now=0), Compare)


@given(st.text(max_size=200))
def test_any_text_is_a_filter_or_a_mistake_with_its_place(text: str) -> None:
    position: int | None = 0
    try:
        parse_filter(text, now=0)
    except QueryInvalid as mistake:
        position = mistake.position
    assert position is not None
    assert 0 <= position <= len(text)
