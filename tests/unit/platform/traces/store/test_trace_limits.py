"""What the engine, and what a statement of a user may take."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from tests.support.trace_stores import SMALL, opened_store

from keylease.errors import QueryTooExpensive
from keylease.platform.traces.store.engine import MEBIBYTE
from keylease.platform.traces.store.store import TraceStore

TIGHT = msgspec.structs.replace(
    SMALL, user_seconds=1.0, user_memory=20 * MEBIBYTE, user_rows=100, memory=250 * MEBIBYTE
)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    yield from opened_store(tmp_path_factory.mktemp("tight"), limits=TIGHT)


def test_the_engine_has_a_bound_of_its_memory_and_small_caches(tight: TraceStore) -> None:
    answer = tight.select(
        "SELECT name, toUInt64(value) FROM system.server_settings WHERE name IN "
        "('max_server_memory_usage', 'mark_cache_size', 'background_pool_size', "
        "'memory_worker_use_cgroup')"
    )
    assert {row[0]: row[1] for row in answer.rows} == {
        "max_server_memory_usage": 250 * MEBIBYTE,
        "mark_cache_size": 32 * MEBIBYTE,
        "background_pool_size": 2,
        "memory_worker_use_cgroup": 0,
    }


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT number FROM numbers(101)",
        "SELECT sleepEachRow(0.1) FROM numbers(50)",
        "SELECT length(groupArray(toString(number))) FROM numbers(5000000)",
    ],
    ids=["rows", "seconds", "memory"],
)
def test_a_statement_of_a_user_is_bounded(tight: TraceStore, statement: str) -> None:
    with pytest.raises(QueryTooExpensive):
        tight.select_for_user(statement, {})
    assert len(tight.select_for_user("SELECT number FROM numbers(100)", {}).rows) == 100
