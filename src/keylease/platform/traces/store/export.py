"""Writes the spans of a project into a Parquet file, some thousand rows at a time.

The file has the columns of ``Span``. Large inputs and outputs are whole in it; what ``attributes``
names by a digest stays named. What is written to the store meanwhile may or may not be in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from keylease.platform.traces.store.columns import SPAN_COLUMNS, kind_of
from keylease.platform.traces.store.store import TraceStore

ROWS_AT_ONCE: Final = 10_000
_WHICH: Final = (
    "organization_id = {organization_id:String} AND project_id = {project_id:String} "
    "AND sort_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') "
    "AND sort_at < fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
)
_MINUTES: Final = """
    SELECT toUnixTimestamp(toStartOfMinute(sort_at)) AS minute, count() AS rows
    FROM @spans PREWHERE @which GROUP BY minute ORDER BY minute
"""
_ROWS: Final = """
    SELECT @columns FROM @spans FINAL
    PREWHERE @which AND cityHash64(trace_id, span_id) % {parts:UInt64} = {part:UInt64}
"""
_TEXTS: Final = """
    SELECT digest, any(text) FROM @payloads
    WHERE organization_id = {organization_id:String} AND project_id = {project_id:String}
      AND trace_id IN {traces:Array(String)} AND digest IN {digests:Array(String)}
    GROUP BY digest
"""
_TEXTS_AT_ONCE: Final = 50
_MINUTE: Final = 60_000_000


def export_spans(
    store: TraceStore,
    sink: IO[bytes],
    *,
    organization_id: str,
    project_id: str,
    since: int,
    until: int,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the spans that began from ``since`` and before ``until``; gives how many.

    Both are microseconds. ``progress`` is told how many rows are written, and how many there are
    about. Raises as ``TraceStore.select`` does.
    """
    owner: dict[str, object] = {"organization_id": organization_id, "project_id": project_id}
    names = owner | {"since": since, "until": until}
    minutes = store.select(
        store.layout.sql(_MINUTES, which=_WHICH), names, settings={"max_result_rows": 0}
    )
    counts = [(int(str(minute)) * 1_000_000, int(str(rows))) for minute, rows in minutes.rows]
    total, done = sum(rows for _, rows in counts), 0
    schema = pa.schema([(name, kind_of(name)) for name in SPAN_COLUMNS])
    chosen = ", ".join(f"`{name}`" for name in SPAN_COLUMNS)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for first, last, rows in _stretches(counts):
            parts = 1 + rows // (2 * ROWS_AT_ONCE)
            for part in range(parts):
                table = store.engine.columns(
                    store.layout.sql(_ROWS, columns=chosen, which=_WHICH),
                    owner
                    | {"since": max(since, first), "until": min(until, last + _MINUTE)}
                    | {"parts": parts, "part": part},
                )
                writer.write_table(_whole(store, owner, table).cast(schema))
                done += table.num_rows
                if progress is not None:
                    progress(done, max(total, done))
    return done


def _stretches(counts: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Minutes together that have about as many rows as are read at once."""
    first, rows = 0, 0
    for position, (minute, there) in enumerate(counts):
        first = first if rows else minute
        rows += there
        if rows >= ROWS_AT_ONCE or position == len(counts) - 1:
            yield first, minute, rows
            rows = 0


def _whole(store: TraceStore, owner: dict[str, object], table: pa.Table) -> pa.Table:
    """The rows with their large texts in their places."""
    for name in ("input", "output"):
        digests = table[f"{name}_payload"].to_pylist()
        named = [position for position, digest in enumerate(digests) if digest]
        if not named:
            continue
        texts = table[name].to_pylist()
        traces = table["trace_id"].to_pylist()
        for start in range(0, len(named), _TEXTS_AT_ONCE):
            some = named[start : start + _TEXTS_AT_ONCE]
            answer = store.select(
                store.layout.sql(_TEXTS),
                owner
                | {"traces": [traces[position] for position in some]}
                | {"digests": [digests[position] for position in some]},
            )
            found = {str(digest): str(text) for digest, text in answer.rows}
            for position in some:
                texts[position] = found.get(digests[position], texts[position])
        column = table.schema.get_field_index(name)
        table = table.set_column(column, name, pa.array(texts, type=pa.string()))
    order = pc.sort_indices(table, sort_keys=[("sort_at", "ascending"), ("span_id", "ascending")])
    return table.take(order)
