"""Pages, sessions and aggregates, compared with the rows they are made of."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pyarrow as pa
import pytest
from tests.support.queried_spans import OURS, PROJECT, SCOPE, START, put, rows_of, stored_span

from keylease.errors import CursorInvalid, QueryInvalid
from keylease.platform.traces.query import scope as query_scope
from keylease.platform.traces.query.aggregates import Bucket, aggregates
from keylease.platform.traces.query.lists import (
    NEWEST,
    SortBy,
    SpanOrder,
    session_key,
    sessions_page,
    spans_cut,
    spans_page,
    trace_summaries,
    traces_cut,
    traces_page,
)
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope, TimeRange
from keylease.platform.traces.query.sql.scoping import scoped_query
from keylease.platform.traces.query.syntax import All, Expression
from keylease.platform.traces.store.store import TraceStore

BEFORE = Scope(organization_id=OURS, project_ids=(PROJECT,), at=1_000)
"""Before a span was renamed."""
ORDERS = [SpanOrder(by, ascending) for by, ascending in itertools.product(SortBy, (False, True))]


def filtered(text: str) -> Expression:
    return parse_filter(text, now=START)


def pages(store: TraceStore, scope: Scope, order: SpanOrder, where: Expression) -> list[str]:
    seen: list[str] = []
    after = None
    while rows := rows_of(store, spans_page(scope, limit=7, order=order, where=where, after=after)):
        seen += [str(row["span_id"]) for row in rows]
        after = order.key(rows[-1])
    return seen


@pytest.mark.parametrize("scope", [SCOPE, BEFORE], ids=["now", "pinned"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_pages_have_every_span_once_and_in_order(
    store: TraceStore, scope: Scope, order: SpanOrder
) -> None:
    spans = {f"{number + 1:016x}": stored_span(number) for number in range(40)}

    def value(name: str) -> tuple[int, ...]:
        span = spans[name]
        tokens = (span.input_tokens or 0) + (span.output_tokens or 0)
        cost = -1 if span.cost is None else span.cost
        values = {SortBy.DURATION: span.duration, SortBy.COST: cost, SortBy.TOKENS: tokens}
        return (*([values[order.by]] if order.by in values else []), span.sort_at)

    changed = stored_span(3).span_id  # it ended later in its second version
    names = [name for name in pages(store, scope, order, All()) if name != changed]
    assert sorted(names) == sorted(set(spans) - {changed})
    assert names == sorted(names, key=value, reverse=not order.ascending)
    assert len(pages(store, scope, order, filtered("kind = llm"))) == 20


def test_a_pinned_list_shows_what_was_there(store: TraceStore) -> None:
    renamed = filtered("name = changed")
    assert len(rows_of(store, spans_page(SCOPE, limit=5, where=renamed))) == 1
    assert not rows_of(store, spans_page(BEFORE, limit=5, where=renamed))
    assert len(pages(store, BEFORE, NEWEST, All())) == 40


def test_a_superseded_text_is_not_found(store: TraceStore) -> None:
    put(store, [stored_span(700, input='"Obsoletely"')], xact_id=5_000)
    words = filtered('text:"obsoletely"')
    assert len(rows_of(store, spans_page(SCOPE, limit=5, where=words))) == 1
    later = stored_span(700, input='"Fresh"', ended_at=START + 10**12)
    put(store, [later], xact_id=6_000)
    assert not rows_of(store, spans_page(SCOPE, limit=5, where=words))
    store.engine.run("DELETE FROM spans WHERE xact_id >= 5000")
    store.engine.run("DELETE FROM span_versions WHERE xact_id >= 5000")


def test_a_list_is_whole_however_many_versions_its_rows_have(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_scope, "_VERSIONS", 3)
    project = "018f0000-0000-7000-8000-0000000000a4"
    scope = Scope(organization_id=OURS, project_ids=(project,))
    roots = [stored_span(4 * number, project_id=project) for number in range(3)]
    put(store, roots, xact_id=20_000)
    busy = roots[-1]
    store.engine.run("SYSTEM STOP MERGES spans")
    try:
        for number in range(1, 7):  # more than are looked at for two rows of a page
            later = msgspec.structs.replace(busy, ended_at=START + number * 10**9)
            put(store, [later], xact_id=20_000 + 10 * number)
        for page, cut, where in (
            (spans_page, spans_cut, filtered("kind = task")),
            (traces_page, traces_cut, All()),
            (traces_page, traces_cut, filtered("kind = task")),
        ):
            short = rows_of(store, page(scope, limit=2, where=where))
            assert len(short) == 1
            question = cut(scope, limit=2, where=where)
            assert question is not None
            assert rows_of(store, question)
            whole = rows_of(store, page(scope, limit=2, where=where, exact=True))
            assert [row["span_id"] for row in whole] == [busy.span_id, roots[-2].span_id]
            behind = NEWEST.key(whole[0])
            question = cut(scope, limit=2, where=where, after=behind)
            assert question is not None
            assert not rows_of(store, question)
    finally:
        store.engine.run("SYSTEM START MERGES spans")


def test_most_lists_cannot_be_cut() -> None:
    assert spans_cut(SCOPE, limit=2) is None
    assert spans_cut(BEFORE, limit=2, where=filtered("kind = task")) is None
    assert traces_cut(SCOPE, limit=2, order=SpanOrder(SortBy.COST)) is None


def test_a_trace_is_listed_by_its_root(store: TraceStore) -> None:
    rows = rows_of(store, traces_page(SCOPE, limit=50))
    assert [row["trace_id"] for row in rows] == [f"{number:032x}" for number in reversed(range(10))]
    some = rows_of(store, traces_page(SCOPE, limit=50, where=filtered("duration = 5ms")))
    assert [row["trace_id"] for row in some] == [f"{1:032x}"]
    assert some[0]["span_id"] == stored_span(4).span_id
    (summary,) = rows_of(store, trace_summaries(SCOPE, [f"{1:032x}"]))
    assert summary["spans"] == 4
    assert summary["sum_cost"] == 50
    assert summary["unknown_costs"] == 1


def test_sessions_are_paged(store: TraceStore) -> None:
    first = rows_of(store, sessions_page(SCOPE, limit=3))
    rest = rows_of(store, sessions_page(SCOPE, limit=9, after=session_key(first[-1])))
    names = [str(row["session_id"]) for row in [*first, *rest]]
    assert names == [f"session-{number}" for number in reversed(range(5))]
    assert first[0]["traces"] == 2
    assert first[0]["spans"] == 8


def test_a_time_series_counts_every_span_in_its_step(store: TraceStore) -> None:
    time = TimeRange(START, START + 40_000_000)
    rows = rows_of(store, aggregates(SCOPE, time=time, bucket=Bucket.MINUTE))
    width = Bucket.MINUTE.value
    expected = Counter((START + n * 1_000_000) // width * width for n in range(40))
    assert {row["bucket"]: row["spans"] for row in rows} == expected
    (total,) = rows_of(store, aggregates(SCOPE))
    assert total["errors"] == 8
    assert total["sum_cost"] == sum(stored_span(n).cost or 0 for n in range(40))
    assert total["unknown_costs"] == 10
    (nothing,) = rows_of(store, aggregates(SCOPE, where=filtered("name = never")))
    assert nothing["sum_cost"] is None
    assert nothing["duration_p50"] is None


def test_percentiles_are_those_of_the_latencies(store: TraceStore) -> None:
    durations = sorted(stored_span(number).duration for number in range(40) if number != 3)
    (row,) = rows_of(store, aggregates(SCOPE, where=filtered("name != changed")))
    for percent in (50, 90, 95, 99):
        place = (len(durations) - 1) * percent / 100  # between two ranks, in proportion
        below, above = durations[int(place)], durations[int(place) + 1]
        expected = below + (above - below) * (place % 1)
        assert row[f"duration_p{percent}"] == pytest.approx(expected, abs=1)


def test_groups_are_the_most_frequent_and_the_others(store: TraceStore) -> None:
    rows = rows_of(store, aggregates(SCOPE, group_by='attributes["customer.id"]', top=2))
    assert [(row["is_other"], row["group_value"], row["spans"]) for row in rows] == [
        (0, "c0", 6),
        (0, "c1", 6),
        (1, "", 28),
    ]
    for name in ("model", "cost", "root", "metadata.a.b", "attributes.none", "duration"):
        counted = rows_of(store, aggregates(SCOPE, group_by=name))
        assert sum(int(str(row["spans"])) for row in counted) == 40


@pytest.mark.parametrize("name", ["scores.quality", "tags", "started_at", "nothing", "model x"])
def test_what_cannot_be_grouped_by_is_refused(name: str) -> None:
    with pytest.raises(QueryInvalid):
        aggregates(SCOPE, group_by=name)


def test_a_time_series_is_bounded() -> None:
    with pytest.raises(QueryInvalid):
        aggregates(SCOPE, bucket=Bucket.MINUTE)
    with pytest.raises(QueryInvalid):
        aggregates(SCOPE, bucket=Bucket.MINUTE, time=TimeRange(0, START))


@pytest.mark.parametrize("after", [("x", "a", "b"), ("1' OR 1", "a", "b")])
def test_a_cursor_that_no_list_gave_is_refused(after: tuple[str, ...]) -> None:
    with pytest.raises(CursorInvalid):
        spans_page(SCOPE, limit=1, after=after)
    with pytest.raises(CursorInvalid):
        sessions_page(SCOPE, limit=1, after=after)


def test_sql_can_be_pinned_too(store: TraceStore) -> None:
    text = "SELECT count() FROM spans WHERE name = {name:String}"
    for scope, count in ((SCOPE, 1), (BEFORE, 0)):
        query = scoped_query(text, scope, {"name": "changed"})
        answer = store.select_for_user(query.statement.sql, query.statement.parameters)
        assert answer.rows[0][0] == count


def test_a_pinned_read_has_no_state_twice_while_it_is_replaced(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, counts = "018f0000-0000-7000-8000-0000000000a3", []
    scope = Scope(organization_id=OURS, project_ids=(project,), at=2_000)
    rows = [stored_span(number, project_id=project) for number in range(4)]
    put(store, rows, xact_id=2_000)
    count = scoped_query("SELECT count() FROM spans", scope)
    insert = store.engine.insert

    def insert_and_look(table: str, columns: pa.Table) -> None:
        insert(table, columns)
        listed = rows_of(store, spans_page(scope, limit=50))
        tree = store.reader.trace(OURS, project, rows[0].trace_id, at=2_000)
        counted = store.select_for_user(count.statement.sql, count.statement.parameters)
        counts.append((len(listed), len(tree.rows), counted.rows[0][0]))

    monkeypatch.setattr(store.engine, "insert", insert_and_look)
    put(store, [stored_span(1, project_id=project, ended_at=START + 9_000_000)], xact_id=2_010)
    assert counts == [(4, 4, 4)] * 3
