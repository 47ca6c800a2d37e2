"""Pages of a trace: together they are the trace, each with the same sums, and repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.trace_stores import (
    FIRST,
    NOW,
    ORGANIZATION,
    Writes,
    a_span,
    applied,
    new_id,
    opened_store,
)

from keylease.platform.traces.model import Source, SpanKind, Status
from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.store.store import TraceStore
from keylease.platform.traces.trees import TREE_COLUMNS, read_tree
from keylease.platform.traces.wire import Tree

SPANS = 23


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    yield from opened_store(tmp_path_factory.mktemp("traces"))


def tree(store: TraceStore, trace: str, *, at: int | None = None, **page: int) -> Tree | None:
    scope = Scope(organization_id=ORGANIZATION, project_ids=("project",), at=at)
    return read_tree(store, scope, trace, **{"offset": 0, "limit": 1000, **page})


def found(store: TraceStore, trace: str, *, at: int | None = None, **page: int) -> Tree:
    part = tree(store, trace, at=at, **page)
    assert part is not None
    return part


def names(part: Tree) -> list[str]:
    return [row[TREE_COLUMNS.index("name")] for row in part.rows]


def pages(store: TraceStore, trace: str, limit: int) -> list[Tree]:
    parts = [found(store, trace, limit=limit)]
    while (offset := parts[-1].next_offset) is not None:
        parts.append(found(store, trace, at=int(parts[0].at), limit=limit, offset=offset))
    return parts


def calls(trace: str) -> list[Any]:
    """A program's calls; the fourth of each five is the gateway's record of the third."""
    spans = []
    for number in range(SPANS):
        kind = (SpanKind.AGENT, SpanKind.LLM, SpanKind.LLM, SpanKind.LLM, SpanKind.TOOL)[number % 5]
        is_record = number % 5 == 3
        spans.append(
            a_span(
                trace_id=trace,
                span_id=f"{number + 1:016x}",
                parent_span_id=f"{number:016x}" if is_record else "",
                name=f"span {number}",
                kind=kind,
                source=Source.GATEWAY if is_record else Source.OTLP,
                status=Status.ERROR if number % 7 == 0 else Status.OK,
                started_at=NOW + number * 30_000_000,
                ended_at=NOW + number * 30_000_000 + 100_000_000 - number,
                input_tokens=None if kind is SpanKind.TOOL else 10 + number,
                output_tokens=number,
                cost=None if number % 5 == 1 else 100 + number,
            )
        )
    return spans


def test_pages_are_the_trace_with_the_sums_of_the_trace(store: TraceStore) -> None:
    trace = new_id()
    batch = Writes(FIRST + 1)
    for span in calls(trace):
        batch.put(span)
    store.apply(*applied(batch))
    whole = found(store, trace)
    assert (whole.summary.spans, whole.next_offset) == (SPANS, None)
    assert whole.summary.cost_unknown == 5
    for limit in (1, 5, SPANS - 1, SPANS):
        parts = pages(store, trace, limit)
        assert [name for part in parts for name in names(part)] == names(whole)
        assert {part.summary for part in parts} == {whole.summary}
        assert len(parts) == -(-SPANS // limit)
    behind = found(store, trace, offset=SPANS + 5)
    assert (behind.rows, behind.summary, behind.next_offset) == ([], whole.summary, None)
    assert tree(store, new_id()) is None
    assert tree(store, new_id(), offset=3) is None
    assert tree(store, trace, at=FIRST) is None


def test_pages_of_one_transaction_stay_what_they_are(store: TraceStore) -> None:
    trace = new_id()
    batch = Writes(FIRST + 11)
    for span in calls(trace):
        batch.put(span)
    store.apply(*applied(batch))
    first = found(store, trace, limit=5)
    at = int(first.at)
    rest = found(store, trace, at=at, offset=5)
    later = a_span(trace_id=trace, span_id="f" * 16, name="early", started_at=NOW - 1)
    store.apply(*applied(Writes(at + 1).put(later)))
    changed = a_span(trace_id=trace, span_id=f"{1:016x}", name="renamed", ended_at=NOW + 10**9)
    store.apply(*applied(Writes(at + 2).put(changed)))
    assert found(store, trace, at=at, limit=5) == first
    assert found(store, trace, at=at, offset=5) == rest
    assert names(found(store, trace, limit=2)) == ["early", "renamed"]
    assert found(store, trace, limit=2).summary == found(store, trace).summary


def test_what_is_written_between_rows_and_sums_is_in_neither(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = new_id()
    batch = Writes(FIRST + 21)
    for span in calls(trace):
        batch.put(span)
    store.apply(*applied(batch))
    before = found(store, trace, limit=5)
    read, late = store.reader.trace, iter([int(before.at) + 1])

    def meanwhile(*asked: Any, **more: Any) -> Any:  # noqa: ANN401 - as it is called
        answer = read(*asked, **more)
        for xact_id in late:
            store.apply(*applied(Writes(xact_id).put(a_span(trace_id=trace, span_id="e" * 16))))
        return answer

    monkeypatch.setattr(store.reader, "trace", meanwhile)
    assert found(store, trace, limit=5) == before
    assert found(store, trace, limit=5).summary.spans == SPANS + 1


def test_sums_of_what_nobody_knows_are_unknown_and_not_zero(store: TraceStore) -> None:
    for kind, known in ((SpanKind.TOOL, None), (SpanKind.LLM, None), (SpanKind.LLM, 0)):
        trace = new_id()
        batch = Writes(store.applied() + 1)
        for number in range(3):
            span = a_span(trace_id=trace, span_id=f"{number + 1:016x}", kind=kind, cost=known)
            batch.put(span)
        store.apply(*applied(batch))
        summary = found(store, trace).summary
        assert (summary.cost, summary.input_tokens) == (known, None)
        assert summary.cost_unknown == (3 if kind is SpanKind.LLM and known is None else 0)
        assert found(store, trace, limit=1).summary == summary
