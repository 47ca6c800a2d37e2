"""Pages, sessions and aggregates, compared with the rows they are made of."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from functools import partial

import msgspec
import pyarrow as pa
import pytest
from tests.support.queried_spans import OURS, PROJECT, SCOPE, START, put, rows_of, stored_span

from keylease.errors import CursorInvalid, QueryInvalid
from keylease.platform.traces.query import newest
from keylease.platform.traces.query.aggregates import Bucket, aggregates
from keylease.platform.traces.query.lists import (
    LIST_COLUMNS,
    NEWEST,
    SortBy,
    SpanOrder,
    found_by_places,
    places_of_traces,
    session_key,
    sessions_page,
    spans_page,
    spans_places,
    trace_summaries,
    traces_page,
    traces_places,
)
from keylease.platform.traces.query.newest import Places, newest_rows, rows_statement
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope, TimeRange
from keylease.platform.traces.query.sql.scoping import scoped_query
from keylease.platform.traces.query.statement import Statement
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


def searched(
    store: TraceStore,
    scope: Scope,
    where: Expression,
    *,
    limit: int,
    traces: bool = False,
    after: Sequence[str] | None = None,
) -> tuple[list[str], int]:
    """Names of the spans that a search for the newest gives, and after how many questions."""
    asked, page = (traces_places, traces_page) if traces else (spans_places, spans_page)
    search = newest_rows(
        limit,
        partial(asked, scope, where=where, after=after),
        partial(rows_statement, scope, LIST_COLUMNS),
        partial(page, scope, limit=limit, where=where, after=after),
        one_of="trace_id" if traces else "",
    )
    statement, count = next(search), 1
    while True:
        try:
            statement = search.send(rows_of(store, statement))
        except StopIteration as found:
            return [str(row["span_id"]) for row in found.value], count
        count += 1


def test_a_list_is_whole_however_many_versions_its_rows_have(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "LOOKED_AT", (1, 2))
    project = "018f0000-0000-7000-8000-0000000000a4"
    scope = Scope(organization_id=OURS, project_ids=(project,))
    roots = [stored_span(4 * number, project_id=project) for number in range(3)]
    put(store, roots, xact_id=20_000)
    busy = roots[-1]
    store.engine.run("SYSTEM STOP MERGES spans")
    try:
        for number in range(1, 20):  # more than are looked at for two rows of a page
            later = msgspec.structs.replace(busy, ended_at=START + number * 10**9)
            put(store, [later], xact_id=20_000 + 10 * number)
        for traces, where in (
            (False, filtered("kind = task")),
            (True, All()),
            (True, filtered("kind = task")),
        ):
            whole, questions = searched(store, scope, where, limit=2, traces=traces)
            assert whole == [busy.span_id, roots[-2].span_id]
            assert questions == 7  # twice two for places and one for rows; then all rows
    finally:
        store.engine.run("SYSTEM START MERGES spans")


@pytest.mark.parametrize(("name", "is_found"), [("kept", True), ("another", False)])
def test_a_row_that_is_written_during_a_search_is_asked_for_again(
    store: TraceStore, name: str, *, is_found: bool
) -> None:
    project = f"018f0000-0000-7000-8000-0000000000{'b1' if is_found else 'b2'}"
    scope = Scope(organization_id=OURS, project_ids=(project,))
    spans = [stored_span(number, project_id=project, name="kept") for number in range(3)]
    put(store, spans, xact_id=40_000)
    where = filtered("name = kept")
    search = newest_rows(
        5,
        partial(spans_places, scope, where=where),
        partial(rows_statement, scope, LIST_COLUMNS),
        partial(spans_page, scope, limit=5, where=where),
    )
    statement = search.send(rows_of(store, next(search)))
    later = msgspec.structs.replace(spans[1], name=name, ended_at=START + 10**12)
    put(store, [later], xact_id=41_000)
    statement = search.send(rows_of(store, statement))
    with pytest.raises(StopIteration) as found:
        search.send(rows_of(store, statement))
    seen = {row["span_id"]: row["xact_id"] for row in found.value.value}
    assert (seen.get(later.span_id) == 41_000) == is_found
    assert seen.keys() >= {spans[0].span_id, spans[2].span_id}


@pytest.mark.parametrize("where", ["kind = llm", "kind = task", "duration >= 0s", "name = never"])
@pytest.mark.parametrize("traces", [False, True])
def test_a_search_for_the_newest_gives_what_a_look_at_all_rows_gives(
    store: TraceStore, where: str, *, traces: bool
) -> None:
    expression, after, order = filtered(where), None, NEWEST
    page = traces_page if traces else spans_page
    for _ in range(50):
        exact = rows_of(store, page(SCOPE, limit=3, where=expression, after=after))
        names, _ = searched(store, SCOPE, expression, limit=3, traces=traces, after=after)
        assert names == [row["span_id"] for row in exact]
        if not exact:
            return
        after = order.key(exact[-1])
    pytest.fail("the list does not end")


def test_rows_of_one_instant_are_searched_in_the_order_of_a_page(store: TraceStore) -> None:
    project = "018f0000-0000-7000-8000-0000000000a5"
    scope = Scope(organization_id=OURS, project_ids=(project,))
    spans = [
        stored_span(number, project_id=project, started_at=START, name="same")
        for number in range(30)
    ]
    put(store, spans, xact_id=30_000)
    where = filtered("name = same")
    (first, *_), _ = searched(store, scope, where, limit=4)
    exact = rows_of(store, spans_page(scope, limit=30, where=where))
    assert first == exact[0]["span_id"]
    seen, after = [], None
    for _ in range(8):
        rows, _ = searched(store, scope, where, limit=4, after=after)
        seen += rows
        place = next(row for row in exact if row["span_id"] == seen[-1])
        after = NEWEST.key(place)
    assert seen == [row["span_id"] for row in exact]


def test_no_more_places_are_named_than_a_server_takes() -> None:
    asked: list[int] = []

    def places(*, count: int, minute: int | None = None) -> Statement:
        asked.append(count)
        del minute
        return Statement("", {})

    def rows_of_places(*, among: Places | None = None) -> Statement:
        return Statement("", {"among": among})

    search = newest_rows(501, places, rows_of_places, rows_of_places)
    statement = next(search)
    with contextlib.suppress(StopIteration):
        while True:
            # As many versions as were asked for, all of one row of a minute of its own.
            among = statement.parameters.get("among", asked[-1])
            if isinstance(among, Places):
                longest = max(map(len, (str(among.hashes), str(among.span_ids))))
                assert longest < 128 * 1024
            rows: list[dict[str, object]] = [
                {
                    "kl_minute": 10**9 + 60 * number,
                    "kl_hash": 2**64 - 1 - number,
                    "span_id": f"{number:016x}",
                    "kl_sort_at": 10**15,
                    "sort_at": 10**15,
                    "trace_id": "a" * 32,
                    "xact_id": 1,
                }
                for number in range(asked[-1] if isinstance(among, int) else 1)
            ]
            statement = search.send(rows)
    assert max(asked) == 4_000


def test_only_lists_of_the_newest_are_found_by_places() -> None:
    where = filtered("kind = task")
    assert found_by_places(SCOPE, NEWEST, where)
    assert found_by_places(SCOPE, NEWEST, roots=True)
    assert not found_by_places(SCOPE, NEWEST)
    assert not found_by_places(BEFORE, NEWEST, where)
    assert not found_by_places(SCOPE, SpanOrder(SortBy.COST), where, roots=True)


def test_a_trace_is_listed_by_its_root(store: TraceStore) -> None:
    rows = rows_of(store, traces_page(SCOPE, limit=50))
    assert [row["trace_id"] for row in rows] == [f"{number:032x}" for number in reversed(range(10))]
    some = rows_of(store, traces_page(SCOPE, limit=50, where=filtered("duration = 5ms")))
    assert [row["trace_id"] for row in some] == [f"{1:032x}"]
    assert some[0]["span_id"] == stored_span(4).span_id
    (summary,) = rows_of(store, trace_summaries(SCOPE, [f"{1:032x}"]))
    places = rows_of(store, places_of_traces(SCOPE, [f"{1:032x}"]))
    among = Places(
        minutes=tuple(int(str(row["kl_minute"])) for row in places),
        hashes=tuple(int(str(row["kl_hash"])) for row in places),
    )
    assert rows_of(store, trace_summaries(SCOPE, [f"{1:032x}"], among=among)) == [summary]
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
