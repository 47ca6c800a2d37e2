"""Calls that stand twice in a project: once more, as the gateway's record, below a program's span.

A gateway's record is the **twin** of a program's span when that span is its parent, or the parent
of a plain request (``kind`` other: what instruments an HTTP client) that is its parent, and

1. is a span of a model (``CALLS``), of the program, which says its tokens itself, and
2. knows its cost, unless the record does not know it either.

The link is sure: the gateway goes on with the trace that comes with the request, and a span of a
model with tokens of its own does not stand for what others below it did (see ``understanding``).
It is told when it is read, so that it does not matter which of the two came first.

Sums count the program's span, which says for whom and in which session the call was, and leave out
its twins, as long as the span is among what is summed: a filter that only the gateway's records
meet counts these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from keylease.platform.traces.model import SpanKind
from keylease.platform.traces.query.scope import (
    Scope,
    TimeRange,
    owner_sql,
    range_sql,
    rows_sql,
    select_sql,
)
from keylease.platform.traces.query.statement import Parameters, Statement

CALLS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER})
"""Kinds of spans that are calls of models."""
GATEWAY: Final = "gateway"
NEEDED: Final = ("span_id", "parent_span_id", "kind", "source", "input_tokens", "output_tokens",
                 "cost")  # fmt: skip
"""Columns that ``twins`` looks at."""
_RECORD: Final = f"source = '{GATEWAY}'"
_BELOW: Final = "parent_span_id != ''"
BELOW: Final = f"({_RECORD} AND {_BELOW})"
"""The condition of a record that may be a twin."""
_APART: Final = 3_600_000_000
"""Microseconds that the beginnings of two twins may be apart: clocks differ, and calls wait."""
_OWN: Final = "sipHash64(span_id)"
_ABOVE: Final = "sipHash64(parent_span_id)"
_KEY: Final = "sipHash64(project_id, trace_id, {span})"
_KINDS: Final = ", ".join(f"'{kind.value}'" for kind in sorted(CALLS))
_CALL: Final = (
    f"source != '{GATEWAY}' AND kind IN ({_KINDS}) "
    "AND (isNotNull(input_tokens) OR isNotNull(output_tokens))"
)
_REQUEST: Final = f"source != '{GATEWAY}' AND kind = 'other' AND parent_span_id != ''"


def any_below(scope: Scope, *, time: TimeRange) -> Statement:
    """One row when there is a record that may be a twin: most projects and times have none.

    Any version will do, so that it stops at the first.
    """
    parameters = Parameters()
    records = _records_sql("1", scope, range_sql(time, parameters), parameters)
    return Statement(f"{records} LIMIT 1", parameters.values())


def counted_once_sql(
    scope: Scope,
    conditions: Sequence[str],
    parameters: Parameters,
    *,
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    fixed: Sequence[str] = (),
) -> str:
    """The condition that a row is no twin of a span for which ``conditions`` hold.

    ``fixed`` narrows the rows that are looked at; conditions on columns that no version changes.
    """
    near = [*fixed, *range_sql(_widened(time), parameters)]
    with_records = f"trace_id IN ({_records_sql('trace_id', scope, near, parameters)})"
    # One row for each trace, so that rows are read once: hashes of spans instead of joins.
    call = " AND ".join([_CALL, *conditions])
    traces = select_sql(
        "project_id, trace_id, "
        f"groupArrayIf(({_OWN}, {_ABOVE}, isNotNull(cost)), {BELOW}) AS kl_records, "
        f"groupArrayIf({_OWN}, {call}) AS kl_calls, "
        f"groupArrayIf({_OWN}, {call} AND isNotNull(cost)) AS kl_priced, "
        f"groupArrayIf(({_OWN}, {_ABOVE}), {_REQUEST}) AS kl_requests",
        rows_sql(scope, [], parameters, fixed=[*near, with_records]),
        "GROUP BY project_id, trace_id",
    )
    calls = "if(kl_r.3, kl_priced, kl_calls)"
    through = "kl_requests.2[indexOf(kl_requests.1, kl_r.2)]"
    found = f"arrayFilter(kl_r -> has({calls}, kl_r.2) OR has({calls}, {through}), kl_records)"
    keys = select_sql(_KEY.format(span=f"arrayJoin({found}).1"), f"({traces})")
    return f"NOT ({BELOW} AND {_KEY.format(span=_OWN)} IN ({keys}))"


def twins(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Callable[[Sequence[Any]], bool]:
    """Tells the twins among the rows of one trace; ``columns`` has all of ``NEEDED``."""
    span, parent, kind, source, asked, answered, cost = (columns.index(name) for name in NEEDED)
    spans = {row[span]: row for row in rows if row[source] != GATEWAY}

    def covers(row: Sequence[Any], record: Sequence[Any]) -> bool:
        return (
            row[kind] in CALLS
            and not (row[asked] is None and row[answered] is None)
            and (row[cost] is not None or record[cost] is None)
        )

    def is_twin(row: Sequence[Any]) -> bool:
        if row[source] != GATEWAY or (above := spans.get(row[parent])) is None:
            return False
        if above[kind] == SpanKind.OTHER:
            above = spans.get(above[parent])
        return above is not None and covers(above, row)

    return is_twin


def _records_sql(column: str, scope: Scope, fixed: Sequence[str], parameters: Parameters) -> str:
    """Records that may be twins, in any of their versions: few are left before more is read."""
    early = " AND ".join([owner_sql(scope, parameters), *fixed, _RECORD])
    return select_sql(column, "spans PREWHERE", early, f"WHERE {_BELOW}")


def _widened(time: TimeRange) -> TimeRange:
    return TimeRange(
        since=None if time.since is None else time.since - _APART,
        until=None if time.until is None else time.until + _APART,
    )
