"""Blocks of transactions in a real engine: versions, replays, merges, removals, large texts."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping

import pyarrow as pa
import pytest
from tests.support.trace_stores import (
    FIRST,
    NOW,
    ORGANIZATION,
    Writes,
    a_span,
    applied,
    new_id,
)

from keylease.errors import (
    QueryInvalid,
    QueryNotAllowed,
    QueryTooExpensive,
    TraceBatchRefused,
    TraceStoreUnavailable,
)
from keylease.platform.traces.interfaces import Payload
from keylease.platform.traces.model import LARGE_PAYLOAD, Span
from keylease.platform.traces.store.store import TraceStore

_transactions = itertools.count(FIRST + 1)
SPAN = "b" * 16


def next_writes(project_id: str = "project") -> Writes:
    return Writes(next(_transactions), project_id=project_id)


def read(store: TraceStore, trace: str, span: str = SPAN, *, at: int | None = None) -> Span | None:
    return store.reader.span(ORGANIZATION, "project", trace, span, at=at)


def count(store: TraceStore, table: str, trace: str) -> int:
    answer = store.select(
        f"SELECT count() FROM {table} FINAL WHERE trace_id = {{t:String}}",  # noqa: S608 - ours
        {"t": trace},
    )
    return int(str(answer.rows[0][0]))


def _stopping(
    insert: Callable[[str, pa.Table], None], stop: str
) -> Callable[[str, pa.Table], None]:
    def stopping(table: str, columns: pa.Table) -> None:
        if f"`{stop}`" in table:
            raise KeyboardInterrupt
        insert(table, columns)

    return stopping


def test_a_row_comes_back_as_it_was_written(store: TraceStore) -> None:
    trace = new_id()
    row = a_span(
        trace_id=trace,
        input='[{"role":"user","content":"schön, \\u0000 \\ud83d\\ude00"}]',
        output="it's \\ a `quote` {x:String}\n",
        tags=["a", "b"],
        scores={"good": 0.5},
        attributes={"k": '"v"', "": "1"},
        resource={"service.name": '"s"'},
        input_tokens=0,
        cost=None,
    )
    writes = next_writes().put(row)
    store.apply(*applied(writes))
    assert read(store, trace) == writes.rows[0].span
    assert store.applied() == writes.xact_id


def test_the_same_again_changes_nothing_and_leaves_one_row(store: TraceStore) -> None:
    trace = new_id()
    first = next_writes().put(a_span(trace_id=trace))
    again = next_writes().put(a_span(trace_id=trace))
    store.apply(*applied(first))
    store.apply(*applied(first))
    store.apply(*applied(again, first))
    row = read(store, trace)
    assert row is not None
    assert row.xact_id == first.xact_id
    assert store.reader.history(ORGANIZATION, "project", trace, SPAN) == [row]
    assert store.applied() >= again.xact_id


def test_of_two_that_end_at_different_times_the_later_wins_whichever_came_first(
    store: TraceStore,
) -> None:
    started = a_span(name="started", ended_at=NOW, input='"asked"', tags=["early"])
    ended = a_span(name="ended", ended_at=NOW + 5_000, output='"answered"')
    states = []
    for order in ((started, ended), (ended, started)):
        trace = new_id()
        for row in order:
            named = a_span(
                trace_id=trace,
                name=row.name,
                ended_at=row.ended_at,
                input=row.input,
                output=row.output,
                tags=row.tags,
            )
            store.apply(*applied(next_writes().put(named)))
        state = read(store, trace)
        assert state is not None
        states.append(
            (state.name, state.ended_at, state.duration, state.input, state.output, state.tags)
        )
        assert count(store, "span_versions", trace) == 1
    assert (
        states[0]
        == states[1]
        == (
            "ended",
            NOW + 5_000,
            5_000,
            '"asked"',
            '"answered"',
            ["early"],
        )
    )


def test_what_says_the_same_in_another_order_changes_nothing(store: TraceStore) -> None:
    trace = new_id()
    first = next_writes().put(
        a_span(
            trace_id=trace,
            ended_at=NOW + 9,
            scores={"a": 0.5, "b": 1.0},
            attributes={"x": "1", "y": "2"},
            metadata='{"p": 1, "q": 2}',
        )
    )
    store.apply(*applied(first))
    for ended_at in (NOW + 5, NOW + 9):
        again = a_span(
            trace_id=trace,
            ended_at=ended_at,
            scores={"b": 1.0, "a": 0.5},
            attributes={"y": "2"},
            metadata='{"q":2}',
        )
        store.apply(*applied(next_writes().put(again)))
        assert store.reader.history(ORGANIZATION, "project", trace, SPAN) == [first.rows[0].span]


def test_a_row_keeps_its_place_when_it_changes(store: TraceStore) -> None:
    trace = new_id()
    first = next_writes().put(a_span(trace_id=trace, started_at=NOW))
    later = next_writes().put(
        a_span(trace_id=trace, started_at=NOW - 3_600_000_000, ended_at=NOW + 9_000, created_at=5)
    )
    store.apply(*applied(first))
    store.apply(*applied(later))
    row = read(store, trace)
    assert row is not None
    assert (row.sort_at, row.created_at) == (NOW, NOW)
    assert row.started_at == NOW - 3_600_000_000
    assert count(store, "spans", trace) == 1


def test_merges_are_deep_have_a_history_and_can_be_pinned(store: TraceStore) -> None:
    trace = new_id()
    put = next_writes().put(a_span(trace_id=trace, metadata='{"a":{"b":1,"c":2},"d":3}'))
    score = next_writes().merge(trace, SPAN, scores={"good": 1.0, "kind": 0.25}, tags=["seen"])
    edit = next_writes().merge(
        trace, SPAN, metadata={"a": {"b": None, "e": [1]}}, scores={"kind": None}, output=None
    )
    for writes in (put, score, edit):
        store.apply(*applied(writes))
    row = read(store, trace)
    assert row is not None
    assert json.loads(row.metadata) == {"a": {"c": 2, "e": [1]}, "d": 3}
    assert (row.scores, row.tags) == ({"good": 1.0}, ["seen"])
    assert row.changed_by == "user:1"
    assert json.loads(row.change)["scores"] == {"kind": None}
    history = store.reader.history(ORGANIZATION, "project", trace, SPAN)
    assert [state.xact_id for state in history] == [edit.xact_id, score.xact_id, put.xact_id]
    for state in history:
        assert read(store, trace, at=state.xact_id) == state
        pinned = store.reader.trace(
            ORGANIZATION, "project", trace, columns=("xact_id",), at=state.xact_id
        )
        assert [row["xact_id"] for row in pinned.dicts()] == [state.xact_id]
    assert read(store, trace, at=put.xact_id - 1) is None


def test_a_merge_may_come_before_its_span(store: TraceStore) -> None:
    trace = new_id()
    store.apply(*applied(next_writes().merge(trace, SPAN, scores={"good": 1.0}, name="early")))
    made = read(store, trace)
    assert made is not None
    assert (made.name, made.scores, made.source) == ("early", {"good": 1.0}, "api")
    store.apply(*applied(next_writes().put(a_span(trace_id=trace, started_at=NOW - 5_000))))
    row = read(store, trace)
    assert row is not None
    assert (row.name, row.scores, row.started_at) == ("chat", {"good": 1.0}, NOW - 5_000)


def test_what_a_merge_may_not_change_is_refused_with_its_reason(store: TraceStore) -> None:
    for fields, reason in (
        ({"organization_id": "other"}, "cannot change the field 'organization_id'"),
        ({"attributes": {}}, "cannot change the field 'attributes'"),
        ({"tags": "text"}, "'tags' of a span to what it cannot be"),
        ({"scores": {"a": "text"}}, "'scores' of a span to what it cannot be"),
        ({"metadata": [1]}, "metadata is an object"),
        ({"kind": "nothing"}, "'kind' of a span to what it cannot be"),
    ):
        trace = new_id()
        with pytest.raises(TraceBatchRefused, match=reason):
            store.apply(*applied(next_writes().merge(trace, SPAN, **fields)))
        assert read(store, trace) is None


def test_several_writes_to_a_row_in_one_block_leave_every_version(store: TraceStore) -> None:
    trace = new_id()
    one = next_writes().put(a_span(trace_id=trace, ended_at=NOW + 1))
    two = next_writes().put(a_span(trace_id=trace, ended_at=NOW + 2)).merge(trace, SPAN, tags=["x"])
    three = next_writes().merge(trace, SPAN, tags=["y"])
    store.apply(*applied(one, two, three))
    history = store.reader.history(ORGANIZATION, "project", trace, SPAN)
    assert [(state.xact_id, state.tags) for state in history] == [
        (three.xact_id, ["y"]),
        (two.xact_id, ["x"]),
        (one.xact_id, []),
    ]


def test_a_crash_between_two_inserts_is_mended_by_the_replay(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stop in ("payloads", "span_versions", "spans", "span_keys"):
        trace = new_id()
        text = Payload(hashlib.sha256(stop.encode()).hexdigest(), stop)
        first = next_writes().put(a_span(trace_id=trace), text)
        second = next_writes().put(a_span(trace_id=trace, ended_at=NOW + 7_000), text)
        third = next_writes().merge(trace, SPAN, tags=["x"])
        store.apply(*applied(first))
        with monkeypatch.context() as patched:
            patched.setattr(store.engine, "insert", _stopping(store.engine.insert, stop))
            with pytest.raises(KeyboardInterrupt):
                store.apply(*applied(second, third))
        for writes in (first, second, third):  # the log is replayed in other blocks
            store.apply(*applied(writes))
        history = store.reader.history(ORGANIZATION, "project", trace, SPAN)
        assert [state.xact_id for state in history] == [
            writes.xact_id for writes in (third, second, first)
        ]
        assert count(store, "spans", trace) == 1
        assert store.reader.payload(ORGANIZATION, "project", trace, text.digest) == stop


def test_large_texts_are_whole_also_after_a_merge(store: TraceStore) -> None:
    trace = new_id()
    text = json.dumps({"text": "word " * LARGE_PAYLOAD})
    digest = hashlib.sha256(text.encode()).hexdigest()
    row = a_span(trace_id=trace, input=text[:4096], input_payload=digest)
    store.apply(*applied(next_writes().put(row, Payload(digest, text))))
    assert store.reader.payload(ORGANIZATION, "project", trace, digest) == text
    assert store.reader.payload(ORGANIZATION, "project", new_id(), digest) is None
    assert store.reader.payload(ORGANIZATION, "other", trace, digest) is None
    store.apply(*applied(next_writes().merge(trace, SPAN, input={"more": 1})))
    merged = read(store, trace)
    assert merged is not None
    assert merged.input_payload not in {"", digest}
    whole = store.reader.payload(ORGANIZATION, "project", trace, merged.input_payload)
    assert whole is not None
    assert json.loads(whole) == json.loads(text) | {"more": 1}
    assert merged.input == whole[:4096]


def test_removals_take_what_was_written_before_them_and_spare_what_comes_later(
    store: TraceStore,
) -> None:
    trace, other, of_user = new_id(), new_id(), new_id()
    text = Payload("d" * 64, "large")
    put = (
        next_writes()
        .put(a_span(trace_id=trace), text)
        .put(a_span(trace_id=trace, span_id="c" * 16))
    )
    put.put(a_span(trace_id=other)).put(a_span(trace_id=of_user, user_id="ann"))
    put.put(a_span(trace_id=of_user, span_id="c" * 16))
    change = next_writes().merge(trace, SPAN, tags=["x"]).merge(of_user, SPAN, user_id=None)
    one = next_writes().remove(trace_id=trace, span_id=SPAN)
    user = next_writes().remove(user_id="ann")
    back = next_writes().put(a_span(trace_id=trace))
    store.apply(*applied(put, change, one, user, back))
    assert read(store, trace) == back.rows[0].span
    assert count(store, "span_versions", trace) == 0
    assert store.reader.payload(ORGANIZATION, "project", trace, text.digest) is None
    assert read(store, trace, "c" * 16) is not None
    assert read(store, other) is not None
    for table in ("spans", "span_versions", "span_keys"):
        assert count(store, table, of_user) == 0
    store.apply(*applied(one, user))
    assert read(store, trace) == back.rows[0].span


def test_a_replay_writes_nothing_again_that_was_removed_later(store: TraceStore) -> None:
    trace, other = new_id(), new_id()
    of_user = next_writes().put(a_span(trace_id=trace, user_id="bob"))
    rest = next_writes().put(a_span(trace_id=trace, span_id="c" * 16)).put(a_span(trace_id=other))
    removal = next_writes().remove(user_id="bob")
    store.apply(*applied(of_user, rest, removal))
    for writer in (store, TraceStore(store.engine, store.layout, store_id=store.store_id)):
        for again in (rest, removal):  # the log's mark is behind what names the user
            writer.apply(*applied(again))
            for table in ("spans", "span_keys"):
                assert count(store, table, trace) == 0
            assert read(store, other) is not None


def test_a_removal_that_was_interrupted_is_finished_by_the_replay(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintain = store.engine.maintain
    for stop in ("span_versions", "spans"):
        trace = new_id()
        put = next_writes().put(a_span(trace_id=trace, user_id="cleo"), Payload("f" * 64, "text"))
        put.put(a_span(trace_id=trace, span_id="c" * 16))
        change = next_writes().merge(trace, SPAN, user_id=None)
        removal = next_writes().remove(user_id="cleo")

        def stopping(sql: str, parameters: Mapping[str, object], stop: str = stop) -> None:
            maintain(sql, parameters)
            if f"`{stop}`" in sql:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(store.engine, "maintain", stopping)
            with pytest.raises(KeyboardInterrupt):
                store.apply(*applied(put, change, removal))
        store.apply(*applied(removal))
        for table in ("span_versions", "spans", "payloads", "span_keys"):
            assert count(store, table, trace) == 0


def test_what_was_sent_before_is_a_new_version_also_after_a_crash(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = new_id()
    first = next_writes().put(a_span(trace_id=trace, name="first"))
    second = next_writes().put(a_span(trace_id=trace, name="second"))
    again = next_writes().put(a_span(trace_id=trace, name="first"))
    store.apply(*applied(first))
    with monkeypatch.context() as patched:
        patched.setattr(store.engine, "insert", _stopping(store.engine.insert, "span_keys"))
        with pytest.raises(KeyboardInterrupt):
            store.apply(*applied(second))
    store.apply(*applied(second))
    store.apply(*applied(again))
    row = read(store, trace)
    assert row is not None
    assert (row.name, row.xact_id) == ("first", again.xact_id)


def test_no_state_stands_twice_in_a_history_while_it_is_replaced(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = new_id()
    store.apply(*applied(next_writes().put(a_span(trace_id=trace))))
    with monkeypatch.context() as patched:
        patched.setattr(store.engine, "insert", _stopping(store.engine.insert, "spans"))
        with pytest.raises(KeyboardInterrupt):
            store.apply(*applied(next_writes().merge(trace, SPAN, tags=["x"])))
    assert len(store.reader.history(ORGANIZATION, "project", trace, SPAN)) == 1


def test_a_removal_shares_no_transaction(store: TraceStore) -> None:
    trace = new_id()
    mixed = next_writes().put(a_span(trace_id=trace)).remove(trace_id=new_id())
    with pytest.raises(TraceBatchRefused, match="transaction of its own"):
        store.apply(*applied(mixed))
    assert read(store, trace) is None


def test_a_project_is_removed_whole_and_no_other(store: TraceStore) -> None:
    trace = new_id()
    store.apply(*applied(next_writes("gone").put(a_span(trace_id=trace))))
    store.apply(*applied(next_writes("kept").put(a_span(trace_id=trace))))
    store.apply(*applied(next_writes("gone").remove(everything=True)))
    assert store.reader.span(ORGANIZATION, "gone", trace, SPAN) is None
    assert store.reader.span(ORGANIZATION, "kept", trace, SPAN) is not None


def test_a_removal_that_names_nothing_or_two_things_is_refused(store: TraceStore) -> None:
    for writes in (
        next_writes().remove(),
        next_writes().remove(span_id=SPAN),
        next_writes().remove(trace_id="a", user_id="b"),
        next_writes().remove(trace_id="a", everything=True),
    ):
        with pytest.raises(TraceBatchRefused, match="exactly one"):
            store.apply(*applied(writes))


def test_expired_rows_go_and_purged_bytes_leave_the_disk(store: TraceStore) -> None:
    word = f"canary{new_id(12)}"
    old, young, ahead = new_id(), new_id(), new_id()
    store.apply(
        *applied(
            next_writes("ageing")
            .put(a_span(trace_id=ahead, started_at=NOW + 10**15, created_at=NOW - 10))
            .put(
                a_span(trace_id=old, input=f'"{word}"', started_at=NOW - 10),
                Payload("e" * 64, word),
            )
            .put(a_span(trace_id=young, started_at=NOW + 10))
        )
    )
    store.removal.expire(ORGANIZATION, "ageing", before=NOW)
    assert store.reader.span(ORGANIZATION, "ageing", old, SPAN) is None
    assert store.reader.span(ORGANIZATION, "ageing", ahead, SPAN) is None
    assert store.reader.span(ORGANIZATION, "ageing", young, SPAN) is not None
    assert store.reader.payload(ORGANIZATION, "ageing", old, "e" * 64) is None
    store.removal.purge()
    left = store.select(
        "SELECT sum(rows) FROM system.parts WHERE database = 'keylease' AND table = 'payloads' "
        "AND has_lightweight_delete"
    )
    assert left.rows == [(0,)]


def test_what_could_not_be_written_is_written_when_it_is_tried_again(store: TraceStore) -> None:
    trace = new_id()
    writes = next_writes().put(a_span(trace_id=trace, output="x" * 500_000))
    store.engine.run("SET max_memory_usage = 200000")
    try:
        with pytest.raises(TraceStoreUnavailable, match="could not write"):
            store.apply(*applied(writes))
    finally:
        store.engine.run("SET max_memory_usage = 0")
    assert store.applied() < writes.xact_id
    store.apply(*applied(writes))
    assert read(store, trace) == writes.rows[0].span


def test_a_full_disk_is_not_the_fault_of_the_rows(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = next_writes().put(a_span(trace_id=new_id()))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pa, "OSFile", full)
        with pytest.raises(TraceStoreUnavailable, match="could not write"):
            store.apply(*applied(writes))
    store.apply(*applied(writes))


def test_readers_have_limits_and_change_nothing(store: TraceStore) -> None:
    for sql, settings, error in (
        ("SELECT number FROM numbers(200000)", {}, QueryTooExpensive),
        ("SELECT sleepEachRow(0.1) FROM numbers(50)", {"max_execution_time": 1}, QueryTooExpensive),
        (
            "SELECT groupArray(toString(number)) FROM numbers(20000000)",
            {"max_memory_usage": 10_000_000},
            QueryTooExpensive,
        ),
        ("SELECT nothing", {}, QueryInvalid),
        ("SELECT 1 +", {}, QueryInvalid),
        ("INSERT INTO spans (name) VALUES ('x')", {}, QueryNotAllowed),
        ("TRUNCATE TABLE spans", {}, QueryNotAllowed),
    ):
        with pytest.raises(error) as refused:
            store.select(sql, settings=settings)
        assert "keylease" not in str(refused.value)
        assert "DB::" not in str(refused.value)


def test_nobody_sees_what_a_failed_query_left(store: TraceStore) -> None:
    failing = (
        "SELECT number FROM numbers(200000)",
        "SELECT number, throwIf(number = 150000) FROM numbers(200000)",
    )
    for _ in range(6):
        for sql in failing:
            with pytest.raises((QueryTooExpensive, QueryInvalid, TraceStoreUnavailable)):
                store.select(sql)
            assert store.select("SELECT trace_id FROM spans WHERE trace_id = 'none'").rows == []
            assert store.select("SELECT 'mine' AS whose").rows == [("mine",)]
