"""Damage that shows when rows are read: named as damage, for who asks and for who writes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.trace_stores import FIRST, SMALL, Writes, a_span, applied, new_id

from keylease.errors import TraceStoreUnavailable
from keylease.platform.traces.store.store import open_embedded

WIDE = "ALTER TABLE `keylease`.`spans` MODIFY SETTING min_bytes_for_wide_part = 0"


def test_a_block_that_is_not_what_was_written_is_called_damaged(tmp_path: Path) -> None:
    trace = new_id()
    with contextlib.closing(open_embedded(tmp_path / "store", limits=SMALL)) as store:
        store.engine.run(WIDE)
        row = a_span(trace_id=trace, input="a long text " * 500)
        store.apply(*applied(Writes(FIRST + 1).put(row)))
    (column,) = (tmp_path / "store" / "engine").rglob("input.bin")
    content = bytearray(column.read_bytes())
    content[len(content) // 2] ^= 1
    column.write_bytes(content)
    with contextlib.closing(open_embedded(tmp_path / "store", limits=SMALL)) as store:
        with (
            capture_logs() as log,
            pytest.raises(TraceStoreUnavailable, match="Files of the trace store are damaged"),
        ):
            store.select("SELECT input FROM spans")
        assert log == [
            {
                "event": "trace_engine_failed",
                "engine_code": 40,
                "error": "DatabaseError",
                "log_level": "error",
            }
        ]
        # Columns that are whole are read; a change of the row, which needs all, is not made up.
        assert store.select("SELECT trace_id FROM spans").rows == [(trace,)]
        with pytest.raises(TraceStoreUnavailable, match="are damaged"):
            store.apply(*applied(Writes(FIRST + 2).merge(trace, "b" * 16, tags=["x"])))
