"""Reads rows: one span, the light rows of a trace, a large text, the versions of a row.

Every statement names the organization and the project first, by parameters. ``at`` pins a read to a
transaction: it then sees what was there after this transaction, and sees the same again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from keylease.platform.traces.interfaces import Rows
from keylease.platform.traces.model import Span
from keylease.platform.traces.store.columns import SPAN_COLUMNS, span_of
from keylease.platform.traces.store.engine import Engine
from keylease.platform.traces.store.schema import Layout

TREE: Final = (
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "status",
    "started_at",
    "duration",
    "model",
    "input_tokens",
    "output_tokens",
    "cost",
    "error",
)
"""What a tree shows of each span before one is opened."""
_ROW: Final = {
    "project": "organization_id = {organization_id:String} AND project_id = {project_id:String}",
    "trace": "@project AND trace_hash = cityHash64({trace_id:String}) "
    "AND trace_id = {trace_id:String}",
    # Finds the rows of a trace without reading other minutes. As values: the engine does not use
    # the order of the table for what a sub-select gives when versions are told apart.
    "minutes": "toStartOfMinute(sort_at) IN {minutes:Array(DateTime('UTC'))}",
}
# PREWHERE with FINAL looks at rows before versions are told apart: only for columns of the order,
# which are the same in every version of a row.
_CURRENT: Final = """
    SELECT * FROM @spans FINAL
    PREWHERE @trace AND @minutes AND span_id = {span_id:String} LIMIT 1
"""
_MINUTES: Final = """
    SELECT DISTINCT toUnixTimestamp(toStartOfMinute(sort_at)) FROM @span_keys
    WHERE @project AND trace_hash = cityHash64({trace_id:String}) AND trace_id = {trace_id:String}
"""
_SUPERSEDED: Final = """
    SELECT * FROM @span_versions FINAL
    WHERE @trace AND span_id = {span_id:String}
      AND xact_id <= {at:Int64} AND superseded_by > {at:Int64} LIMIT 1
"""
_HISTORY: Final = """
    SELECT * FROM @span_versions FINAL
    WHERE @trace AND span_id = {span_id:String} ORDER BY xact_id DESC LIMIT {limit:UInt32}
"""
_TREE: Final = """
    SELECT @columns FROM @spans FINAL PREWHERE @trace AND @minutes
    ORDER BY started_at, span_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}
"""
_PINNED_TREE: Final = """
    SELECT @columns FROM (
      SELECT @columns FROM @spans FINAL PREWHERE @trace AND @minutes
      WHERE xact_id <= {at:Int64}
      UNION ALL
      SELECT @columns FROM @span_versions FINAL
      WHERE @trace AND xact_id <= {at:Int64} AND superseded_by > {at:Int64})
    ORDER BY started_at, span_id LIMIT 1 BY span_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}
"""
_PAYLOAD: Final = """
    SELECT text FROM @payloads
    WHERE @project AND trace_id = {trace_id:String} AND digest = {digest:String} LIMIT 1
"""
_BETWEEN: Final = (
    "toStartOfMinute(sort_at) BETWEEN {first:DateTime('UTC')} AND {last:DateTime('UTC')}"
)
MOST_MINUTES: Final = 5_000
"""That are named one by one, 11 bytes each: a server takes 128 KiB for one parameter
(``http_max_field_value_size``). Of a trace in more of them all between are looked at."""
_LONGEST_HISTORY: Final = 1_000
_WIDEST_TRACE: Final = 200_000


class Reader:
    """Reads for many threads."""

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine = engine
        self._layout = layout

    def span(
        self,
        organization_id: str,
        project_id: str,
        trace_id: str,
        span_id: str,
        *,
        at: int | None = None,
    ) -> Span | None:
        """One row, whole; None when there is none (at that transaction)."""
        row, within = _within(self.minutes_of(organization_id, project_id, trace_id))
        names = _names(organization_id, project_id, trace_id) | {"span_id": span_id}
        current = self._first(_CURRENT, names | within, row)
        if at is None or current is None or current.xact_id <= at:
            return current
        return self._first(_SUPERSEDED, names | {"at": at})

    def trace(  # noqa: PLR0913 - which rows, and what of them
        self,
        organization_id: str,
        project_id: str,
        trace_id: str,
        *,
        columns: Sequence[str] = TREE,
        at: int | None = None,
        offset: int = 0,
        limit: int = _WIDEST_TRACE,
        minutes: Sequence[int] | None = None,
    ) -> Rows:
        """The light rows of a trace, in the order in which its spans began.

        ``minutes``: what ``minutes_of`` gave, when somebody has asked already.
        """
        if minutes is None:
            minutes = self.minutes_of(organization_id, project_id, trace_id)
        row, within = _within(minutes)
        names = _names(organization_id, project_id, trace_id) | within
        names |= {"offset": offset, "limit": limit}
        if at is not None:
            names["at"] = at
        wanted = dict.fromkeys((*columns, "started_at", "span_id"))
        chosen = ", ".join(f"`{name}`" for name in wanted if name in SPAN_COLUMNS)
        sql = _TREE if at is None else _PINNED_TREE
        return self._engine.read(
            self._layout.sql(sql, columns=chosen, **row),
            names,
            settings={"max_result_rows": limit},
        )

    def history(
        self, organization_id: str, project_id: str, trace_id: str, span_id: str
    ) -> list[Span]:
        """Every state of a row, the newest first."""
        current = self.span(organization_id, project_id, trace_id, span_id)
        if current is None:
            return []
        names = _names(organization_id, project_id, trace_id)
        answer = self._engine.read(
            self._layout.sql(_HISTORY, **_ROW),
            names | {"span_id": span_id, "limit": _LONGEST_HISTORY},
        )
        # While a version is written, the state before it is in both tables.
        return [
            current,
            *(state for row in answer.dicts() if (state := span_of(row)).xact_id < current.xact_id),
        ]

    def payload(
        self, organization_id: str, project_id: str, trace_id: str, digest: str
    ) -> str | None:
        """A large text, whole; None when the trace has none of this digest."""
        names = _names(organization_id, project_id, trace_id)
        answer = self._engine.read(self._layout.sql(_PAYLOAD, **_ROW), names | {"digest": digest})
        return str(answer.rows[0][0]) if answer.rows else None

    def minutes_of(self, organization_id: str, project_id: str, trace_id: str) -> list[int]:
        """The minutes in which the rows of a trace lie, as seconds UTC."""
        names = _names(organization_id, project_id, trace_id)
        answer = self._engine.read(self._layout.sql(_MINUTES, **_ROW), names)
        return [int(str(row[0])) for row in answer.rows]

    def _first(
        self, sql: str, names: dict[str, object], row: Mapping[str, str] = _ROW
    ) -> Span | None:
        rows = self._engine.read(self._layout.sql(sql, **row), names).dicts()
        return span_of(rows[0]) if rows else None


def _within(minutes: Sequence[int]) -> tuple[Mapping[str, str], dict[str, object]]:
    """The parts of a statement about rows in these minutes, and its parameters."""
    if len(minutes) <= MOST_MINUTES:
        return _ROW, {"minutes": minutes}
    return {**_ROW, "minutes": _BETWEEN}, {"first": min(minutes), "last": max(minutes)}


def _names(organization_id: str, project_id: str, trace_id: str) -> dict[str, object]:
    return {
        "organization_id": organization_id,
        "project_id": project_id,
        "trace_id": trace_id,
    }
