"""A trace as a table of light rows, page by page, with sums over all of it.

The engine gives no other rows than those of the page, and makes the sums of a trace that does not
fit in one. What was read once is read again by its transaction (``at``); as long as nothing of the
trace is newer, that is its current state, which is read without looking at versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.query.statement import Statement
from keylease.platform.traces.query.totals import trace_costs_once, trace_totals
from keylease.platform.traces.query.twins import CALLS, twins
from keylease.platform.traces.wire import TraceSummary, Tree

if TYPE_CHECKING:
    from keylease.platform.traces.store.store import TraceStore

TREE_COLUMNS: Final = (
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "source",
    "status",
    "started_at",
    "duration",
    "model",
    "input_tokens",
    "output_tokens",
    "cost",
    "error",
)
_COLUMNS: Final = (*TREE_COLUMNS, "xact_id")
_POSITION: Final = {name: number for number, name in enumerate(_COLUMNS)}


def read_tree(
    store: TraceStore, scope: Scope, trace_id: str, *, offset: int, limit: int
) -> Tree | None:
    """Rows of a trace from ``offset`` on; ``None`` when there is no such trace. Blocks."""
    read_at = store.applied() if scope.at is None else scope.at
    asked = _Asked(scope, trace_id, offset, limit)
    minutes = store.reader.minutes_of(*asked.key)
    found = _read(store, asked, minutes, at=None)
    if found.last > read_at:
        # Written after it. Where nothing is newer, this is the state at ``read_at`` already.
        found = _read(store, asked, minutes, at=read_at)
    if not found.summary.spans:
        return None
    end = offset + limit
    return Tree(
        trace_id=trace_id,
        summary=found.summary,
        columns=TREE_COLUMNS,
        rows=[row[:-1] for row in found.rows[:limit]],
        next_offset=end if len(found.rows) > limit else None,
        at=str(read_at),
    )


class _Asked(msgspec.Struct, frozen=True):
    scope: Scope
    trace_id: str
    offset: int
    limit: int

    @property
    def key(self) -> tuple[str, str, str]:
        (project_id,) = self.scope.project_ids
        return self.scope.organization_id, project_id, self.trace_id


class _Found(msgspec.Struct, frozen=True):
    """Some rows of a trace (one more than was asked for, if there is one), and its sums."""

    rows: Sequence[tuple[Any, ...]]
    summary: TraceSummary
    last: int
    """The newest transaction of the trace."""


def _read(store: TraceStore, asked: _Asked, minutes: list[int], *, at: int | None) -> _Found:
    """As it is now, or as it was at a transaction."""
    rows: Sequence[tuple[Any, ...]] = store.reader.trace(
        *asked.key,
        columns=_COLUMNS,
        at=at,
        offset=asked.offset,
        limit=asked.limit + 1,
        minutes=minutes,
    ).rows
    if asked.offset == 0 and len(rows) <= asked.limit:
        return _Found(rows, _summary(rows), max((row[-1] for row in rows), default=0))
    # After the rows: what they have seen, the sums have seen too, and ``last`` tells of it.
    scope = msgspec.structs.replace(asked.scope, at=at)
    sums = _first(store, trace_totals(scope, asked.trace_id, minutes))
    last, below = sums.pop("last") or 0, sums.pop("below")
    if below:
        sums |= _first(store, trace_costs_once(scope, asked.trace_id, minutes))
    return _Found(rows, msgspec.convert(sums, TraceSummary), last)


def _first(store: TraceStore, statement: Statement) -> dict[str, int | None]:
    (row,) = store.select(statement.sql, statement.parameters).dicts()
    return {
        name.removeprefix("kl_"): None if value is None else int(str(value))
        for name, value in row.items()
    }


def _sum(values: Iterable[int | None]) -> int | None:
    """Of what is known; ``None`` where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _summary(rows: Sequence[tuple[Any, ...]]) -> TraceSummary:
    """The sums of a trace whose rows are all here."""
    kind, status, cost = (_POSITION[name] for name in ("kind", "status", "cost"))
    asked, answered = _POSITION["input_tokens"], _POSITION["output_tokens"]
    started, duration = _POSITION["started_at"], _POSITION["duration"]
    is_twin = twins(_COLUMNS, rows)
    calls = [row for row in rows if row[kind] in CALLS and not is_twin(row)]
    return TraceSummary(
        spans=len(rows),
        errors=sum(row[status] == "error" for row in rows),
        started_at=min((row[started] for row in rows), default=0),
        ended_at=max((row[started] + row[duration] for row in rows), default=0),
        input_tokens=_sum(row[asked] for row in calls),
        output_tokens=_sum(row[answered] for row in calls),
        cost=_sum(row[cost] for row in calls),
        cost_unknown=sum(row[cost] is None for row in calls),
    )
