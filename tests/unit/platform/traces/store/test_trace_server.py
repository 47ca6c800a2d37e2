"""The store on a ClickHouse server: the same writes and reads, over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from tests.support.clickhouse_server import ClickHouseServer, running_clickhouse
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port
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

from keylease.errors import QueryInvalid, QueryNotAllowed, TraceStoreUnavailable
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.traces.interfaces import Payload, Rows
from keylease.platform.traces.model import Span
from keylease.platform.traces.query.lists import NEWEST
from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.searching import Asked, TraceSearch
from keylease.platform.traces.store.address import StorePassword, StoreServer, server_address
from keylease.platform.traces.store.columns import (
    KEY_COLUMNS,
    columns_of,
    kind_of,
    spans_table,
)
from keylease.platform.traces.store.states import digest_of
from keylease.platform.traces.store.store import TraceStore, open_server
from keylease.platform.traces.trees import read_tree
from keylease.platform.traces.wire import TraceLine

SPAN = "b" * 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="module")
def server_store(server: ClickHouseServer) -> Iterator[TraceStore]:
    store = open_server(server.place, limits=SMALL)
    assert open_server(server.place, limits=SMALL).store_id == store.store_id
    yield store
    store.close()


def test_rows_are_written_merged_pinned_and_removed_over_http(server_store: TraceStore) -> None:
    store, trace = server_store, new_id()
    text = "large " * 100_000
    payload = Payload(hashlib.sha256(text.encode()).hexdigest(), text)
    row = a_span(
        trace_id=trace,
        input="it's `ours`, {a:String}\n\t\\",
        output="schön \u0001",
        tags=["a'b"],
        scores={"good": 0.5},
        attributes={"k": '"v"'},
        input_payload=payload.digest,
    )
    put = Writes(FIRST + 1).put(row, payload)
    merge = Writes(FIRST + 2).merge(trace, SPAN, tags=["seen"])
    store.apply(*applied(put))
    store.apply(*applied(merge))
    store.apply(*applied(put))
    reader = store.reader
    assert reader.span(ORGANIZATION, "project", trace, SPAN, at=FIRST + 1) == put.rows[0].span
    now = reader.span(ORGANIZATION, "project", trace, SPAN)
    assert now is not None
    assert (now.tags, now.xact_id) == (["seen"], FIRST + 2)
    assert reader.payload(ORGANIZATION, "project", trace, payload.digest) == text
    assert store.applied() >= FIRST + 2
    store.apply(*applied(Writes(FIRST + 3).remove(trace_id=trace)))
    assert reader.span(ORGANIZATION, "project", trace, SPAN) is None


def test_a_block_of_many_traces_is_looked_up(server_store: TraceStore) -> None:
    writes = Writes(FIRST + 10)
    for number in range(4_000):  # too many for one parameter
        writes.put(a_span(trace_id=new_id(), started_at=NOW + number))
    server_store.apply(*applied(writes))
    server_store.apply(*applied(writes))
    answer = server_store.select(
        "SELECT count(), max(started_at) FROM spans FINAL WHERE xact_id = {x:Int64}",
        {"x": writes.xact_id},
    )
    assert answer.rows == [(4_000, NOW + 3_999)]


def test_a_trace_of_many_days_is_read(server_store: TraceStore) -> None:
    """A span in each of more minutes than one parameter could name."""
    trace, count = new_id(), 12_500
    rows = [
        a_span(
            trace_id=trace,
            span_id=f"{number + 1:016x}",
            parent_span_id=f"{1:016x}" if number else "",
            started_at=NOW + number * 60_000_000,
            project_id="days",
        )
        for number in range(count)
    ]
    store = server_store
    store.apply(*applied(Writes(FIRST + 20).put(a_span(trace_id=new_id()))))  # after these rows
    store.engine.insert(store.layout.table("spans"), spans_table(rows))
    keys = [
        (*_place(row), row.sort_at, row.created_at, row.xact_id, digest_of(row)) for row in rows
    ]
    kinds = {"digest": kind_of("digest_bytes")}
    table = columns_of(KEY_COLUMNS, keys, kinds=kinds)
    store.engine.insert(store.layout.table("span_keys"), table)
    scope = Scope(organization_id=ORGANIZATION, project_ids=("days",))
    tree = read_tree(store, scope, trace, offset=count - 3, limit=2)
    assert tree is not None
    assert [row[0] for row in tree.rows] == [f"{count - 2:016x}", f"{count - 1:016x}"]
    assert (tree.summary.spans, tree.next_offset) == (count, count - 1)
    last = store.reader.span(ORGANIZATION, "days", trace, f"{count:016x}")
    assert last is not None
    assert last.started_at == rows[-1].started_at
    (line,) = asyncio.run(_listed(store))
    assert line.trace is not None
    assert (line.trace_id, line.trace.spans) == (trace, count)


async def _listed(store: TraceStore) -> Sequence[TraceLine]:
    class Open:
        def __init__(self) -> None:
            self.store = store

        async def read(self, job: Callable[[], Rows]) -> Rows:
            return job()

    async def keeping() -> Open:
        return Open()

    search = TraceSearch(keeping, ManualClock())  # type: ignore[arg-type]  # as far as it is needed
    caller = Caller(principal=None, organization_id=ORGANIZATION)
    asked = Asked(project_id="days")
    page = await search.traces(caller, asked, PageRequest(limit=5), order=NEWEST)
    return page.items


def _place(row: Span) -> tuple[str, ...]:
    return row.organization_id, row.project_id, row.trace_id, row.span_id


def test_errors_of_the_engine_are_told_apart(server_store: TraceStore) -> None:
    with pytest.raises(QueryInvalid, match="Unknown expression identifier `nothing`"):
        server_store.select("SELECT nothing FROM spans")
    with pytest.raises(QueryNotAllowed):
        server_store.select("DROP TABLE spans")


def test_a_server_that_is_not_there_is_named() -> None:
    address = server_address(f"clickhouse://nobody@127.0.0.1:{free_port()}/")
    with pytest.raises(TraceStoreUnavailable, match=f"at {address.authority} does not answer"):
        open_server(StoreServer(address=address), limits=SMALL)


def test_a_wrong_password_is_told_apart_from_a_server_that_is_away(
    server: ClickHouseServer,
) -> None:
    wrong = msgspec.structs.replace(server.place, password=StorePassword(secrets.token_hex(8)))
    with pytest.raises(TraceStoreUnavailable, match="does not let this user in") as caught:
        open_server(wrong, limits=SMALL)
    assert wrong.password.reveal(why="look for it") not in repr(caught.value.__cause__)


def test_statements_of_users_are_strictly_read_only_over_http(server_store: TraceStore) -> None:
    assert server_store.select_for_user("SELECT {a:String}", {"a": "it's"}).rows == [("it's",)]
    for text in ("SELECT * FROM file('/etc/passwd')", "SELECT 1 SETTINGS max_execution_time = 0"):
        with pytest.raises(QueryNotAllowed):
            server_store.select_for_user(text, {})
