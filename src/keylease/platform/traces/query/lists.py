"""Pages of spans, traces and sessions: the statements, and where the next page begins.

Ask for one row more than a page has; ``SpanOrder.key`` of the last row shown is the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from keylease.errors import CursorInvalid
from keylease.platform.traces.query.conditions_sql import condition_sql
from keylease.platform.traces.query.newest import Places, places_statement
from keylease.platform.traces.query.scope import (
    Scope,
    TimeRange,
    keys_of_traces_sql,
    last_minute_sql,
    minutes_of_traces_sql,
    range_sql,
    rows_sql,
    select_sql,
)
from keylease.platform.traces.query.statement import Parameters, Statement
from keylease.platform.traces.query.syntax import All, Expression
from keylease.platform.traces.query.twins import BELOW, counted_once_sql

LIST_COLUMNS: Final = (
    "project_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "xact_id",
    "name",
    "kind",
    "source",
    "status",
    "error",
    "sort_at",
    "started_at",
    "duration",
    "service",
    "environment",
    "input_preview",
    "output_preview",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cost",
    "session_id",
    "user_id",
    "tags",
    "scores",
)
"""What lists show of a span; larger texts are loaded with the span."""
EVERYTHING: Final = All()


class SortBy(StrEnum):
    """What a list is ordered by. Unknown values come last when the greatest come first."""

    TIME = "time"
    DURATION = "duration"
    COST = "cost"
    TOKENS = "tokens"


_VALUES: Final = {
    SortBy.DURATION: "duration",
    SortBy.COST: "ifNull(cost, -1)",
    SortBy.TOKENS: "ifNull(input_tokens, 0) + ifNull(output_tokens, 0)",
}


class SpanOrder(msgspec.Struct, frozen=True):
    """An order of spans in which no two are equal."""

    by: SortBy = SortBy.TIME
    ascending: bool = False

    @property
    def places(self) -> int:
        """How many texts a cursor of this order has."""
        return 3 if self.by is SortBy.TIME else 4

    def key(self, row: Mapping[str, object]) -> tuple[str, ...]:
        """The cursor behind this row of the list."""
        place = (str(row["sort_at"]), str(row["trace_id"]), str(row["span_id"]))
        if self.by is SortBy.TIME:
            return place
        if self.by is SortBy.DURATION:
            value = row["duration"]
        elif self.by is SortBy.COST:
            value = -1 if row["cost"] is None else row["cost"]
        else:
            value = sum(int(str(row[name] or 0)) for name in ("input_tokens", "output_tokens"))
        return (str(value), *place)

    def order_sql(self) -> str:
        """What follows ORDER BY."""
        way = "ASC" if self.ascending else "DESC"
        first = ["toStartOfMinute(sort_at)"] if self.by is SortBy.TIME else [_VALUES[self.by]]
        return ", ".join(f"{part} {way}" for part in (*first, "sort_at", "trace_id", "span_id"))

    def after_sql(self, after: Sequence[str], parameters: Parameters) -> list[str]:
        """The conditions of a row behind the cursor. Raises ``CursorInvalid``."""
        sign = ">" if self.ascending else "<"
        *numbers, trace_id, span_id = after
        try:
            *value, sort_at = (int(number) for number in numbers)
        except ValueError as error:
            raise CursorInvalid(
                "The cursor is not one that this list gave.",
                advice="Start again without a cursor.",
            ) from error
        at = parameters.time(sort_at)
        columns = ["sort_at", "trace_id", "span_id"]
        bounds = [at, parameters.text(trace_id), parameters.text(span_id)]
        if value:
            columns.insert(0, _VALUES[self.by])
            bounds.insert(0, parameters.bind(value[0], "Int64"))
            return [f"({', '.join(columns)}) {sign} ({', '.join(bounds)})"]
        # The first condition lets the engine skip what the second would compare.
        return [
            f"sort_at {sign}= {at}",
            f"({', '.join(columns)}) {sign} ({', '.join(bounds)})",
        ]


NEWEST: Final = SpanOrder()


def found_by_places(
    scope: Scope, order: SpanOrder, where: Expression = EVERYTHING, *, roots: bool = False
) -> bool:
    """Whether a page is found faster by ``newest_rows``: of ``traces_page`` with ``roots``."""
    return order == NEWEST and scope.at is None and (roots or where != EVERYTHING)


def spans_page(
    scope: Scope,
    *,
    limit: int,
    where: Expression = EVERYTHING,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    order: SpanOrder = NEWEST,
    after: Sequence[str] | None = None,
    among: Places | None = None,
) -> Statement:
    """Spans that the filter selects, ``limit`` at most, with ``LIST_COLUMNS``."""
    parameters = Parameters()
    fixed, conditions = _spans_sql(where, time, order, after, parameters)
    if among is not None:
        fixed += among.conditions(parameters)
    elif order == NEWEST and scope.at is None and where == EVERYTHING:
        minute = last_minute_sql(scope, fixed, parameters, count=limit)
        fixed = [*fixed, f"sort_at >= {minute}"]
    rows = rows_sql(scope, conditions, parameters, fixed=fixed)
    return Statement(
        select_sql(
            ", ".join(LIST_COLUMNS),
            rows,
            f"ORDER BY {order.order_sql()}",
            f"LIMIT {parameters.bind(limit, 'UInt32')}",
        ),
        parameters.values(),
    )


def spans_places(
    scope: Scope,
    *,
    count: int,
    minute: int | None = None,
    where: Expression = EVERYTHING,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    after: Sequence[str] | None = None,
) -> Statement:
    """Where the newest spans of ``spans_page`` are, as ``places_statement``."""
    parameters = Parameters()
    fixed, conditions = _spans_sql(where, time, NEWEST, after, parameters)
    return places_statement(scope, fixed, conditions, parameters, count=count, minute=minute)


def _spans_sql(
    where: Expression,
    time: TimeRange,
    order: SpanOrder,
    after: Sequence[str] | None,
    parameters: Parameters,
) -> tuple[list[str], list[str]]:
    """Conditions on columns that no version changes, and the others."""
    fixed = range_sql(time, parameters)
    conditions: list[str] = []
    if after is not None:
        # Of the order by time, places are columns that no version changes.
        (fixed if order.by is SortBy.TIME else conditions).extend(
            order.after_sql(after, parameters)
        )
    if where != EVERYTHING:
        conditions.append(condition_sql(where, parameters))
    return fixed, conditions


def traces_page(
    scope: Scope,
    *,
    limit: int,
    where: Expression = EVERYTHING,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    order: SpanOrder = NEWEST,
    after: Sequence[str] | None = None,
    among: Places | None = None,
) -> Statement:
    """Root spans of traces in which the filter selects at least one span.

    A trace whose root has not arrived is not listed; its spans are. ``trace_summaries`` says more
    about each.
    """
    parameters = Parameters()
    fixed, conditions = _roots_sql(scope, where, time, order, after, parameters)
    if among is not None:
        fixed += among.conditions(parameters)
    rows = rows_sql(scope, conditions, parameters, fixed=fixed)
    return Statement(
        select_sql(
            ", ".join(LIST_COLUMNS),
            rows,
            f"ORDER BY {order.order_sql()}",
            f"LIMIT 1 BY trace_id LIMIT {parameters.bind(limit, 'UInt32')}",
        ),
        parameters.values(),
    )


def traces_places(
    scope: Scope,
    *,
    count: int,
    minute: int | None = None,
    where: Expression = EVERYTHING,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    after: Sequence[str] | None = None,
) -> Statement:
    """Where the newest roots of ``traces_page`` are, as ``places_statement``."""
    parameters = Parameters()
    fixed, conditions = _roots_sql(scope, where, time, NEWEST, after, parameters)
    return places_statement(scope, fixed, conditions, parameters, count=count, minute=minute)


def _roots_sql(
    scope: Scope,
    where: Expression,
    time: TimeRange,
    order: SpanOrder,
    after: Sequence[str] | None,
    parameters: Parameters,
) -> tuple[list[str], list[str]]:
    fixed, conditions = _spans_sql(EVERYTHING, time, order, after, parameters)
    conditions.append("parent_span_id = ''")
    if where != EVERYTHING:
        selected = rows_sql(
            scope,
            [condition_sql(where, parameters)],
            parameters,
            fixed=range_sql(time, parameters),
        )
        conditions.append(f"trace_id IN ({select_sql('trace_id', selected)})")
    return fixed, conditions


def places_of_traces(scope: Scope, trace_ids: Sequence[str]) -> Statement:
    """The minutes (seconds UTC) and hashes of these traces, for ``Places``."""
    parameters = Parameters()
    traces = parameters.texts(list(trace_ids))
    return Statement(
        select_sql(
            "DISTINCT toUnixTimestamp(toStartOfMinute(sort_at)) AS kl_minute, "
            "trace_hash AS kl_hash",
            keys_of_traces_sql(scope, traces, parameters),
        ),
        parameters.values(),
    )


def trace_summaries(
    scope: Scope, trace_ids: Sequence[str], *, among: Places | None = None
) -> Statement:
    """One row for each of these traces: counts, times, tokens, cost, models.

    ``kl_below`` counts records of gateways that may be twins; ``sums_once`` leaves these out.
    ``among``: where the traces are, when it is known; as values they save most of the reading.
    """
    parameters = Parameters()
    rows = rows_sql(scope, [], parameters, fixed=_of_traces(scope, trace_ids, parameters, among))
    return Statement(
        select_sql(
            f"project_id, trace_id, {_TOTALS}, countIf({BELOW}) AS kl_below, "
            "groupUniqArrayIf(10)(model, model != '') AS models, max(xact_id) AS last_xact_id",
            rows,
            "GROUP BY project_id, trace_id",
        ),
        parameters.values(),
    )


def sums_once(scope: Scope, trace_ids: Sequence[str], *, among: Places | None = None) -> Statement:
    """One row for each of these traces: tokens and cost, each call once (``twins``)."""
    parameters = Parameters()
    fixed = _of_traces(scope, trace_ids, parameters, among)
    once = counted_once_sql(scope, (), parameters, fixed=fixed)
    rows = rows_sql(scope, [once], parameters, fixed=fixed)
    return Statement(
        select_sql(f"project_id, trace_id, {_SUMS}", rows, "GROUP BY project_id, trace_id"),
        parameters.values(),
    )


def _of_traces(
    scope: Scope, trace_ids: Sequence[str], parameters: Parameters, among: Places | None
) -> list[str]:
    traces = parameters.texts(list(trace_ids))
    named = f"trace_id IN {traces}"
    if among is not None:
        return [*among.conditions(parameters), named]
    return [minutes_of_traces_sql(scope, traces, parameters), named]


_SUMS: Final = (
    "sum(input_tokens) AS sum_input_tokens, sum(output_tokens) AS sum_output_tokens, "
    "sum(cost) AS sum_cost, countIf(model != '' AND isNull(cost)) AS unknown_costs"
)
_TOTALS: Final = (
    "count() AS spans, countIf(status = 'error') AS errors, "
    "toUnixTimestamp64Micro(min(started_at)) AS first_started_at, "
    f"toUnixTimestamp64Micro(max(ended_at)) AS last_ended_at, {_SUMS}"
)


def sessions_page(
    scope: Scope,
    *,
    limit: int,
    where: Expression = EVERYTHING,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    after: Sequence[str] | None = None,
) -> Statement:
    """Sessions, those that were active last first; ``session_key`` is the cursor."""
    parameters = Parameters()
    conditions = ["session_id != ''"]
    if where != EVERYTHING:
        conditions.append(condition_sql(where, parameters))
    behind = ""
    if after is not None:
        try:
            last, (project, session) = int(after[0]), after[1:]
        except ValueError as error:
            raise CursorInvalid(
                "The cursor is not one that this list gave.",
                advice="Start again without a cursor.",
            ) from error
        place = (
            f"{parameters.bind(last, 'Int64')}, {parameters.text(project)}, "
            f"{parameters.text(session)}"
        )
        behind = f" HAVING (last_active_at, project_id, session_id) < ({place})"
    rows = rows_sql(scope, conditions, parameters, fixed=range_sql(time, parameters))
    return Statement(
        select_sql(
            "project_id, session_id, uniqExact(trace_id) AS traces, "
            "groupUniqArrayIf(10)(user_id, user_id != '') AS users, "
            f"toUnixTimestamp64Micro(max(sort_at)) AS last_active_at, {_TOTALS}",
            rows,
            f"GROUP BY project_id, session_id{behind}",
            "ORDER BY last_active_at DESC, project_id DESC, session_id DESC",
            f"LIMIT {parameters.bind(limit, 'UInt32')}",
        ),
        parameters.values(),
    )


def session_key(row: Mapping[str, object]) -> tuple[str, ...]:
    """The cursor behind this row of ``sessions_page``."""
    return (str(row["last_active_at"]), str(row["project_id"]), str(row["session_id"]))
