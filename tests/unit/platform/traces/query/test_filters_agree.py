"""The store and the evaluator select the same spans, whatever the filter and the spans."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.queried_spans import FOREIGN, OURS, START, put, rows_of, stored_span

from keylease.platform.traces.model import Span, SpanKind, Status
from keylease.platform.traces.query.conditions_sql import condition_sql
from keylease.platform.traces.query.evaluate import selects
from keylease.platform.traces.query.lists import spans_page
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope, rows_sql, select_sql
from keylease.platform.traces.query.statement import Parameters
from keylease.platform.traces.store.columns import spans_table
from keylease.platform.traces.store.store import TraceStore

TEXTS = [
    "", "a", "A", "hello World", "quick-brown", "it's", 'say "x"', "back\\slash", "1",
    "\u00e9t\u00e9 100%", "line\nbreak", "{kl_0:String}", "(.*)",
]  # fmt: skip
VALUES = ['"a"', '"hello World"', '"it\'s"', "1", "-2", "1.5", "true", "false", "null", "[1,2]",
          '{"a":"b"}', '"1"', '"\u00e9"', "18446744073709551615", "", "not json"]  # fmt: skip
NAMES = ["a", "a.b", "x y", "retries", "\u00e9"]
FREE = "018f0000-0000-7000-8000-0000000000c1"
"""A project whose spans this module makes at random."""


@st.composite
def spans(draw: st.DrawFn) -> Span:
    number = draw(st.integers(0, 1_000_000))
    text = st.sampled_from(TEXTS)
    count = st.one_of(st.none(), st.integers(-1, 3), st.just(2**62))
    metadata = st.dictionaries(
        st.sampled_from(["a", "b", "x y"]),
        st.recursive(
            st.sampled_from([json.loads(v) for v in VALUES if v and v != "not json"]),
            lambda inner: st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            max_leaves=3,
        ),
        max_size=3,
    )
    return stored_span(
        number,
        project_id=FREE,
        parent_span_id=draw(st.sampled_from(["", "ab"])),
        name=draw(text),
        kind=draw(st.sampled_from([SpanKind.LLM, SpanKind.TOOL])),
        status=draw(st.sampled_from(list(Status))),
        error=draw(text),
        input=draw(text),
        output=draw(text),
        model=draw(text),
        duration=draw(st.integers(0, 3)) * 1_000_000,
        started_at=START + draw(st.integers(-1, 1)),
        cost=draw(count),
        input_tokens=draw(count),
        tags=draw(st.lists(text.filter(bool), max_size=2)),
        scores=draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.0, 0.5, 1.0]))),
        metadata=json.dumps(draw(metadata)) if draw(st.booleans()) else "",
        attributes=draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))),
        resource=draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))),
    )


def quoted(text: str) -> str:
    return json.dumps(text)


def conditions() -> st.SearchStrategy[str]:
    text = st.sampled_from(TEXTS).map(quoted)
    number = st.sampled_from(
        ["0", "1", "-2", "1.5", "2", "1e18", "0.5", "18446744073709551615"[:18]]
    )
    order = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    fields = st.sampled_from(["name", "input", "output", "model", "error"])
    name = st.sampled_from(NAMES).map(lambda each: f"[{quoted(each)}]")
    paths = st.sampled_from(["attributes", "resource", "metadata"]).flatmap(
        lambda part: name.map(lambda each: part + each)
    ) | st.sampled_from(["metadata.a.b", "metadata.b", 'metadata["x y"].a', "metadata.a.a.b"])
    join = " ".join
    values = st.lists(text | number | st.sampled_from(["true", "false"]), min_size=1, max_size=3)
    return st.one_of(
        st.tuples(fields, st.sampled_from(["=", "!=", "contains"]), text).map(join),
        st.tuples(st.sampled_from(["input_tokens"]), order, number).map(join),
        st.tuples(st.just("duration"), order, st.sampled_from(["0s", "1s", "1500ms"])).map(join),
        st.tuples(st.just("cost"), order, st.sampled_from(["0", "0.000001 usd", "1"])).map(join),
        st.tuples(st.just("started_at"), order, st.sampled_from(["now", "now-1us"])).map(join),
        st.tuples(paths, st.sampled_from(["=", "!=", "contains"]), text).map(join),
        st.tuples(paths, order, number).map(join),
        st.tuples(paths, st.sampled_from(["= true", "!= false", "exists", "missing"])).map(join),
        st.tuples(paths, values).map(lambda pair: f"{pair[0]} in ({', '.join(pair[1])})"),
        st.tuples(fields, st.lists(text, min_size=1, max_size=3)).map(
            lambda pair: f"{pair[0]} not in ({', '.join(pair[1])})"
        ),
        st.tuples(fields | paths, st.just("matches"), PATTERNS).map(join),
        st.tuples(name, order, number).map(lambda parts: "scores" + " ".join(parts)),
        name.map(lambda each: f"scores{each} exists"),
        st.tuples(st.sampled_from(["text", "input", "output"]), WORDS).map(":".join),
        text.filter(lambda each: each != '""').map(lambda each: f"tags has {each}"),
        st.sampled_from(["cost", "model", "tags", "status", "duration", "error"]).map(
            lambda each: f"{each} missing"
        ),
        st.sampled_from(["root", "root = false", "kind = llm", "status in (ok, error)"]),
    )


PATTERNS = st.sampled_from(["h.llo", "(?i)WORLD", "^a", "a|b", r"\\d", r"\\s", "[x-z]+", ""]).map(
    lambda each: f'"{each}"'
)
WORDS = st.sampled_from(["hello", "WORLD hello", "brown", "quick-brown", "\u00e9t\u00e9", "a"]).map(
    quoted
)


def filters() -> st.SearchStrategy[str]:
    return st.recursive(
        conditions(),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda parts: f"({' '.join(parts)})"
            ),
            inner.map(lambda each: f"not ({each})"),
        ),
        max_leaves=4,
    )


@pytest.fixture(autouse=True)
def emptied(store: TraceStore) -> None:
    store.engine.run("TRUNCATE TABLE spans")


@settings(
    max_examples=6,
    phases=(Phase.explicit, Phase.generate),  # shrinking asks the engine for minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    made=st.lists(spans(), min_size=10, max_size=25, unique_by=lambda each: each.span_id),
    asked=st.lists(filters(), min_size=30, max_size=30),
)
def test_store_and_evaluator_agree(store: TraceStore, made: list[Span], asked: list[str]) -> None:
    store.engine.run("TRUNCATE TABLE spans")
    store.engine.insert(store.layout.table("spans"), spans_table(made))
    parameters = Parameters()
    parsed = [parse_filter(text, now=START) for text in asked]
    columns = ", ".join(condition_sql(each, parameters) for each in parsed)
    rows = rows_sql(Scope(organization_id=OURS, project_ids=(FREE,)), [], parameters)
    answer = store.select(select_sql(f"span_id, {columns}", rows), parameters.values())
    found = {str(row[0]): list(row[1:]) for row in answer.rows}
    assert set(found) == {span.span_id for span in made}
    for span in made:
        for text, expression, decision in zip(asked, parsed, found[span.span_id], strict=True):
            assert bool(decision) is selects(expression, span), (text, span)


def test_a_filter_never_leaves_its_scope(store: TraceStore) -> None:
    put(store, [stored_span(900), stored_span(901, organization_id=FOREIGN)], xact_id=9_000)
    everything = parse_filter("root or not root or duration >= 0s", now=0)
    rows = rows_of(
        store,
        spans_page(
            Scope(organization_id=OURS, project_ids=(stored_span(0).project_id, FREE)),
            limit=10,
            where=everything,
        ),
    )
    assert [row["span_id"] for row in rows] == [stored_span(900).span_id]


def test_without_a_project_nothing_is_read(store: TraceStore) -> None:
    put(store, [stored_span(950)], xact_id=9_500)
    nobody = Scope(organization_id=OURS, project_ids=())
    assert not rows_of(store, spans_page(nobody, limit=10))
