"""The statements for a cluster, as far as the embedded engine can tell.

It reads all of them. It makes and uses the Distributed tables of a cluster whose only node is
itself. It has no Keeper, so that ``ON CLUSTER`` and replication are taken out before it runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest
from tests.support.trace_stores import (
    FIRST,
    NOW,
    ORGANIZATION,
    SMALL,
    Writes,
    a_span,
    applied,
    new_id,
)

from keylease.errors import TraceError
from keylease.platform.traces.interfaces import Payload
from keylease.platform.traces.query.aggregates import aggregates
from keylease.platform.traces.query.lists import (
    sessions_page,
    spans_page,
    sums_once,
    trace_summaries,
    traces_page,
)
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.query.sql.scoping import scoped_query
from keylease.platform.traces.query.statement import Statement
from keylease.platform.traces.store import loading
from keylease.platform.traces.store.engine import EmbeddedEngine
from keylease.platform.traces.store.migrate import migrate
from keylease.platform.traces.store.schema import Layout
from keylease.platform.traces.store.store import TraceStore

CLUSTER = Layout(cluster="main")
PROJECT = "project"
SPAN = "b" * 16
_ONE_NODE = """
<clickhouse>
  <tcp_port>9000</tcp_port>
  <remote_servers><main><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
  </main></remote_servers>
  <profiles><default>
    <distributed_product_mode>local</distributed_product_mode>
    <distributed_foreground_insert>1</distributed_foreground_insert>
  </default></profiles>
</clickhouse>
"""
"""By its address and port the engine knows itself, and opens no connection."""
_REPLICATED = re.compile(r"ReplicatedReplacingMergeTree\('[^']+', '[^']+'(?:, )?")


class Run(Protocol):
    """As ``Engine.run``."""

    def __call__(self, sql: str, parameters: Mapping[str, object] | None = None) -> None: ...


class Node:
    """What a store of a cluster says to its engine, and what of it a node without Keeper can do."""

    def __init__(self, engine: EmbeddedEngine, patched: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[str, Mapping[str, object] | None]] = []
        self.read: Run = engine.run
        """Asks the engine itself."""
        for name in ("run", "maintain"):
            patched.setattr(engine, name, self._alone(getattr(engine, name)))

    def _alone(self, run: Run) -> Run:
        def alone(sql: str, parameters: Mapping[str, object] | None = None) -> None:
            self.said.append((sql, parameters))
            sql = sql.replace(CLUSTER.on_cluster, "")
            run(_REPLICATED.sub("ReplacingMergeTree(", sql), parameters)

        return alone


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TraceStore, Node]]:
    directory = tmp_path_factory.mktemp("cluster")
    incoming = directory / "incoming"
    incoming.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loading, "CONFIGURATION", _ONE_NODE)
        engine = EmbeddedEngine(directory / "engine", incoming=incoming, limits=SMALL)
        try:
            node = Node(engine, patched)
            store_id = migrate(engine, CLUSTER, store_id="cluster")
            yield TraceStore(engine, CLUSTER, store_id=store_id), node
        finally:
            engine.close()


def rows(store: TraceStore, asked: Statement | None) -> list[dict[str, object]]:
    assert asked is not None
    return store.select(asked.sql, asked.parameters).dicts()


def test_rows_are_written_merged_pinned_and_removed_in_distributed_tables(
    clustered: tuple[TraceStore, Node],
) -> None:
    store, node = clustered
    trace, other = new_id(), new_id()
    text = Payload("d" * 64, "a large text")
    put = Writes(FIRST + 1).put(a_span(trace_id=trace, session_id="talk", cost=3), text)
    put.put(a_span(trace_id=other, user_id="ann"))
    merge = Writes(FIRST + 2).merge(trace, SPAN, tags=["seen"])
    for writes in (put, merge, put):
        store.apply(*applied(writes))
    made = store.select("SELECT name, engine FROM system.tables WHERE database = 'keylease'").rows
    assert {name for name, engine in made if engine == "Distributed"} == {
        *("spans", "span_versions", "span_keys", "payloads", "removals", "schema_versions")
    }
    # one row, and what is around it
    reader, project = store.reader, PROJECT
    now = reader.span(ORGANIZATION, project, trace, SPAN)
    assert now is not None
    assert (now.xact_id, now.tags) == (FIRST + 2, ["seen"])
    assert reader.span(ORGANIZATION, project, trace, SPAN, at=FIRST + 1) == put.rows[0].span
    assert len(reader.history(ORGANIZATION, project, trace, SPAN)) == 2
    assert len(reader.trace(ORGANIZATION, project, trace, at=FIRST + 1).rows) == 1
    assert reader.payload(ORGANIZATION, project, trace, text.digest) == text.text
    # lists and sums
    scope = Scope(organization_id=ORGANIZATION, project_ids=(project,))
    where = parse_filter('tags has "seen" and text:"chat"', now=NOW)
    assert len(rows(store, spans_page(scope, limit=5))) == 2
    assert len(rows(store, spans_page(scope, limit=5, where=where))) == 1
    assert len(rows(store, traces_page(scope, limit=5, where=where))) == 1
    assert len(rows(store, trace_summaries(scope, [trace, other]))) == 2
    assert len(rows(store, sums_once(scope, [trace, other]))) == 2
    assert rows(store, sessions_page(scope, limit=5))[0]["sum_cost"] == 3
    assert rows(store, aggregates(scope, count_twins=False))[0]["spans"] == 2
    groups = rows(store, aggregates(scope, group_by="user_id", top=1))
    assert [(row["is_other"], row["group_value"]) for row in groups] == [(0, ""), (1, "")]
    pinned = Scope(organization_id=ORGANIZATION, project_ids=(project,), at=FIRST + 1)
    assert not rows(store, spans_page(pinned, limit=5, where=where))
    asked = scoped_query("SELECT count() FROM spans", scope).statement
    assert store.select_for_user(asked.sql, asked.parameters).rows == [(2,)]
    # and away
    store.apply(*applied(Writes(FIRST + 3).remove(user_id="ann")))
    store.apply(*applied(put, merge))
    assert reader.span(ORGANIZATION, project, other, SPAN) is None
    store.removal.expire(ORGANIZATION, project, before=NOW + 1)
    store.removal.purge()
    assert reader.span(ORGANIZATION, project, trace, SPAN) is None
    # what it said is ClickHouse's language, with all that a single node cannot do
    said = "\n".join(sql for sql, _ in node.said)
    for words in ("ReplicatedReplacingMergeTree", "ON CLUSTER `main`", "APPLY DELETED MASK"):
        assert words in said
    for sql, parameters in node.said:
        node.read(f"EXPLAIN AST {sql}", parameters)
    with pytest.raises(TraceError):
        node.read("EXPLAIN AST CREATE TABLE x ON CLUSTER ()")
