"""Spans as Parquet: each row once, large texts whole."""

from __future__ import annotations

import hashlib
import io

import pyarrow.parquet as pq
import pytest
from tests.support.trace_stores import FIRST, NOW, ORGANIZATION, Writes, a_span, applied, new_id

from keylease.platform.traces.interfaces import Payload
from keylease.platform.traces.store import export
from keylease.platform.traces.store.store import TraceStore


def test_an_export_has_each_row_once_and_large_texts_whole(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    text = "large " * 1000
    payload = Payload(hashlib.sha256(text.encode()).hexdigest(), text)
    writes = Writes(FIRST + 100, project_id="exported")
    started = [NOW + minute * 60_000_000 for minute in (0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3, 9)]
    rows = [a_span(trace_id=new_id(), started_at=at, cost=None) for at in started]
    large = a_span(
        trace_id=new_id(),
        started_at=NOW + 1,
        input="large",
        input_payload=payload.digest,
        scores={"a": 0.5},
        tags=["t"],
    )
    for row in rows:
        writes.put(row)
    writes.put(large, payload)
    store.apply(*applied(writes))
    store.apply(*applied(Writes(FIRST + 101, project_id="exported").put(rows[0])))
    sink, seen = io.BytesIO(), list[tuple[int, int]]()
    count = export.export_spans(
        store,
        sink,
        organization_id=ORGANIZATION,
        project_id="exported",
        since=NOW,
        until=NOW + 9 * 60_000_000,
        progress=lambda done, total: seen.append((done, total)),
    )
    table = pq.read_table(io.BytesIO(sink.getvalue())).to_pylist()
    assert count == len(table) == 12
    assert seen[-1] == (12, 12)
    assert len({row["trace_id"] for row in table}) == 12
    whole = next(row for row in table if row["trace_id"] == large.trace_id)
    assert whole["input"] == text
    assert (dict(whole["scores"]), whole["tags"], whole["cost"]) == ({"a": 0.5}, ["t"], None)
