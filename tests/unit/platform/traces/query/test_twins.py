"""A call that its program and the gateway report counts once, in whichever order they come."""

from __future__ import annotations

import itertools

import pytest
from tests.support.queried_spans import OURS, START, put, rows_of, stored_span

from keylease.platform.traces.model import Source, Span, SpanKind, Status
from keylease.platform.traces.query.aggregates import Bucket, aggregates
from keylease.platform.traces.query.lists import sums_once, trace_summaries
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope, TimeRange
from keylease.platform.traces.query.syntax import All, Expression
from keylease.platform.traces.query.twins import NEEDED, any_below, twins
from keylease.platform.traces.store.store import TraceStore

_projects = itertools.count(0xB0)
_transactions = itertools.count(100_000, 10)
ROOT, CALL, REQUEST, RECORD, RETRIED = (f"{number:016x}" for number in range(1, 6))
HOUR = 3_600_000_000
Totals = tuple[object, ...]


@pytest.fixture
def scope() -> Scope:
    project = f"018f0000-0000-7000-8000-{next(_projects):012x}"
    return Scope(organization_id=OURS, project_ids=(project,))


def a_span(scope: Scope, **changes: object) -> Span:
    plain: dict[str, object] = {
        "project_id": scope.project_ids[0],
        "trace_id": "7" * 32,
        "span_id": CALL,
        "parent_span_id": ROOT,
        "kind": SpanKind.LLM,
        "status": Status.OK,
        "model": "gpt-5-mini",
        "input_tokens": 100,
        "output_tokens": 10,
        "cost": 5,
        "sort_at": START,
    }
    return stored_span(0, **(plain | changes))


def the_root(scope: Scope) -> Span:
    return a_span(scope, span_id=ROOT, parent_span_id="", **NO_CALL)


NO_CALL: dict[str, object] = {
    "kind": SpanKind.TASK,
    "model": "",
    "input_tokens": None,
    "output_tokens": None,
    "cost": None,
}


def the_call(scope: Scope, **changes: object) -> Span:
    return a_span(scope, user_id="ann", **changes)


def the_record(scope: Scope, **changes: object) -> Span:
    plain: dict[str, object] = {
        "span_id": RECORD,
        "parent_span_id": CALL,
        "source": Source.GATEWAY,
        "user_id": "",
        "cost": 6,
        "sort_at": START + 1_000,
    }
    return a_span(scope, **(plain | changes))


def the_request(scope: Scope) -> Span:
    return a_span(
        scope, span_id=REQUEST, parent_span_id=CALL, **(NO_CALL | {"kind": SpanKind.OTHER})
    )


def written(store: TraceStore, *spans: Span) -> None:
    """Each in a transaction of its own."""
    for span in spans:
        put(store, [span], xact_id=next(_transactions))


def totals(
    store: TraceStore, scope: Scope, where: Expression | None = None, *, both: bool = False
) -> Totals:
    """Spans, errors, tokens in and out, cost, calls without a price."""
    (row,) = rows_of(store, aggregates(scope, where=where or All(), count_twins=both))
    names = ("spans", "errors", "sum_input_tokens", "sum_output_tokens", "sum_cost")
    return tuple(row[name] for name in (*names, "unknown_costs"))


def asked(text: str) -> Expression:
    return parse_filter(text, now=START)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_order_in_which_they_come_does_not_matter(
    store: TraceStore, scope: Scope, order: tuple[int, ...]
) -> None:
    spans = [the_root(scope), the_call(scope), the_record(scope)]
    written(store, *(spans[place] for place in order))
    assert totals(store, scope) == (2, 0, 100, 10, 5, 0)
    assert totals(store, scope, both=True) == (3, 0, 200, 20, 11, 0)


def test_a_request_may_stand_between_them_and_be_tried_again(
    store: TraceStore, scope: Scope
) -> None:
    failed = the_record(
        scope,
        span_id=RETRIED,
        parent_span_id=REQUEST,
        status=Status.ERROR,
        input_tokens=None,
        output_tokens=None,
        cost=None,
    )
    record = the_record(scope, parent_span_id=REQUEST)
    written(store, failed, record, the_request(scope), the_call(scope))
    assert totals(store, scope) == (2, 0, 100, 10, 5, 0)


@pytest.mark.parametrize(
    ("above", "record"),
    [
        ({"kind": SpanKind.AGENT}, {}),
        ({"input_tokens": None, "output_tokens": None}, {}),
        ({"cost": None}, {}),
        ({"source": Source.GATEWAY}, {}),
        ({"trace_id": "8" * 32}, {}),
        ({}, {"source": Source.OTLP}),
        ({}, {"parent_span_id": ROOT}),
        ({}, {"parent_span_id": ""}),
    ],
    ids=str,
)
def test_what_is_not_surely_the_same_call_counts(
    store: TraceStore, scope: Scope, above: dict[str, object], record: dict[str, object]
) -> None:
    call, other = the_call(scope, **above), the_record(scope, **record)
    written(store, the_root(scope), call, other)
    assert totals(store, scope) == totals(store, scope, both=True)
    rows = [[getattr(span, name) for name in NEEDED] for span in (the_root(scope), call, other)]
    is_twin = twins(NEEDED, rows if call.trace_id == other.trace_id else rows[-1:])
    assert not any(map(is_twin, rows))


def test_unknown_costs_of_both_count_once(store: TraceStore, scope: Scope) -> None:
    written(store, the_call(scope, cost=None), the_record(scope, cost=None))
    assert totals(store, scope) == (1, 0, 100, 10, None, 1)


def test_what_a_filter_selects_counts_once_among_itself(store: TraceStore, scope: Scope) -> None:
    written(store, the_root(scope), the_call(scope), the_record(scope))
    assert totals(store, scope, asked("source = gateway")) == (1, 0, 100, 10, 6, 0)
    assert totals(store, scope, asked("source = otlp and kind = llm")) == (1, 0, 100, 10, 5, 0)
    assert totals(store, scope, asked("user_id = ann")) == (1, 0, 100, 10, 5, 0)
    assert totals(store, scope, asked("kind = llm")) == (1, 0, 100, 10, 5, 0)


def test_a_call_counts_when_its_program_made_it(store: TraceStore, scope: Scope) -> None:
    boundary = START // HOUR * HOUR + HOUR
    written(store, the_call(scope, sort_at=boundary - 1_000), the_record(scope, sort_at=boundary))
    counted = []
    for since in (boundary - HOUR, boundary):
        time = TimeRange(since, since + HOUR)
        asked_for = aggregates(scope, time=time, bucket=Bucket.HOUR, count_twins=False)
        counted.append([row["spans"] for row in rows_of(store, asked_for)])
    assert counted == [[1], []]


def test_pinned_sums_count_what_was_there_then(store: TraceStore, scope: Scope) -> None:
    written(store, the_record(scope), the_root(scope))
    before = Scope(organization_id=OURS, project_ids=scope.project_ids, at=next(_transactions))
    written(store, the_call(scope))
    assert totals(store, before) == (2, 0, 100, 10, 6, 0)
    assert totals(store, scope) == (2, 0, 100, 10, 5, 0)


def test_groups_count_a_call_once(store: TraceStore, scope: Scope) -> None:
    written(store, the_root(scope), the_call(scope), the_record(scope))
    rows = rows_of(store, aggregates(scope, group_by="model", count_twins=False))
    assert {(row["group_value"], row["spans"]) for row in rows} == {("gpt-5-mini", 1), ("", 1)}
    pinned = Scope(organization_id=OURS, project_ids=scope.project_ids, at=next(_transactions))
    for name, within in (("cost", scope), ("metadata.a.b", scope), ("kind", pinned)):
        asked_for = aggregates(
            within,
            where=asked("duration >= 0"),
            time=TimeRange(START - HOUR, START + HOUR),
            bucket=Bucket.HOUR,
            group_by=name,
            top=1,
            count_twins=False,
        )
        assert sum(int(str(row["spans"])) for row in rows_of(store, asked_for)) == 2


def test_sums_of_a_trace_count_a_call_once(store: TraceStore, scope: Scope) -> None:
    spans = [the_root(scope), the_call(scope), the_request(scope)]
    spans.append(the_record(scope, parent_span_id=REQUEST))
    written(store, *spans)
    (whole,) = rows_of(store, trace_summaries(scope, ["7" * 32]))
    assert (whole["spans"], whole["sum_cost"], whole["kl_below"]) == (4, 11, 1)
    (once,) = rows_of(store, sums_once(scope, ["7" * 32]))
    assert (once["sum_input_tokens"], once["sum_cost"], once["unknown_costs"]) == (100, 5, 0)
    rows = [[getattr(span, name) for name in NEEDED] for span in spans]
    assert [twins(NEEDED, rows)(row) for row in rows] == [False, False, False, True]


def test_only_where_records_stand_below_something_is_more_asked(
    store: TraceStore, scope: Scope
) -> None:
    written(store, the_root(scope), the_call(scope), the_record(scope, parent_span_id=""))
    assert not rows_of(store, any_below(scope, time=TimeRange()))
    written(store, the_record(scope, span_id=RETRIED))
    assert rows_of(store, any_below(scope, time=TimeRange()))
    assert not rows_of(store, any_below(scope, time=TimeRange(START + 1_001, None)))
