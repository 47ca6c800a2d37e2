"""Sums over one trace, made by the engine: for a trace whose rows nobody wants to see at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keylease.platform.traces.query.scope import Scope, rows_sql, select_sql
from keylease.platform.traces.query.statement import Parameters, Statement
from keylease.platform.traces.query.twins import BELOW, CALLS, counted_once_sql
from keylease.platform.traces.store.reading import MOST_MINUTES

_IS_CALL: Final = f"kind IN ({', '.join(repr(kind.value) for kind in sorted(CALLS))})"
_COSTS: Final = (
    f"sumIf(input_tokens, {_IS_CALL}) AS kl_input_tokens, "
    f"sumIf(output_tokens, {_IS_CALL}) AS kl_output_tokens, "
    f"sumIf(cost, {_IS_CALL}) AS kl_cost, "
    f"countIf({_IS_CALL} AND isNull(cost)) AS kl_cost_unknown"
)
_TOTALS: Final = (
    "count() AS kl_spans, countIf(status = 'error') AS kl_errors, "
    "toUnixTimestamp64Micro(min(started_at)) AS kl_started_at, "
    "max(toUnixTimestamp64Micro(started_at) + duration) AS kl_ended_at, "
    f"max(xact_id) AS kl_last, countIf({BELOW}) AS kl_below, {_COSTS}"
)


def trace_totals(scope: Scope, trace_id: str, minutes: Sequence[int]) -> Statement:
    """One row: what ``TraceSummary`` has, the last transaction, and ``kl_below``.

    That counts records of gateways that may be twins; ``trace_costs_once`` leaves these out.
    ``minutes`` (seconds UTC) are those in which rows of the trace lie.
    """
    parameters = Parameters()
    rows = rows_sql(scope, [], parameters, fixed=_of_trace(trace_id, minutes, parameters))
    return Statement(select_sql(_TOTALS, rows), parameters.values())


def trace_costs_once(scope: Scope, trace_id: str, minutes: Sequence[int]) -> Statement:
    """One row: tokens and cost of the calls of models, each once (``twins``)."""
    parameters = Parameters()
    fixed = _of_trace(trace_id, minutes, parameters)
    once = counted_once_sql(scope, (), parameters, fixed=fixed)
    return Statement(
        select_sql(_COSTS, rows_sql(scope, [once], parameters, fixed=fixed)), parameters.values()
    )


def _of_trace(trace_id: str, minutes: Sequence[int], parameters: Parameters) -> list[str]:
    named = parameters.text(trace_id)
    kind = "DateTime('UTC')"
    if len(minutes) <= MOST_MINUTES:
        within = f"IN {parameters.bind(list(minutes), f'Array({kind})')}"
    else:
        first, last = (parameters.bind(edge(minutes), kind) for edge in (min, max))
        within = f"BETWEEN {first} AND {last}"
    return [
        f"toStartOfMinute(sort_at) {within}",
        f"cityHash64(trace_id) = cityHash64({named})",
        f"trace_id = {named}",
    ]
