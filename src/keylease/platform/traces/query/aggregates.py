"""Counts, errors, latencies, tokens and costs: in total, over time, by anything a filter can name.

Quantiles are exact up to 8,192 spans of a row and of a sample of so many beyond. A sum of costs or
tokens is NULL when all of them are unknown; ``unknown_costs`` counts calls without a price.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from keylease.errors import QueryInvalid
from keylease.platform.traces.query.conditions_sql import condition_sql, document_sql
from keylease.platform.traces.query.fields import FieldType
from keylease.platform.traces.query.parser import parse_target
from keylease.platform.traces.query.scope import Scope, TimeRange, range_sql, rows_sql, select_sql
from keylease.platform.traces.query.statement import Parameters, Statement
from keylease.platform.traces.query.syntax import (
    All,
    Expression,
    FieldTarget,
    ScoreTarget,
    Target,
)
from keylease.platform.traces.query.twins import counted_once_sql

MAXIMUM_BUCKETS: Final = 2_000
MAXIMUM_GROUPS: Final = 100
MEASURES: Final = (
    "spans",
    "errors",
    "duration_p50",
    "duration_p90",
    "duration_p95",
    "duration_p99",
    "sum_input_tokens",
    "sum_output_tokens",
    "sum_cost",
    "unknown_costs",
)
_MEASURES: Final = (
    "count() AS spans, countIf(status = 'error') AS errors, "
    "quantiles(0.5, 0.9, 0.95, 0.99)(duration) AS kl_quantiles, "
    "sum(input_tokens) AS sum_input_tokens, sum(output_tokens) AS sum_output_tokens, "
    "sum(cost) AS sum_cost, countIf(model != '' AND isNull(cost)) AS unknown_costs"
)
_IN_PARALLEL: Final = (
    "SETTINGS group_by_two_level_threshold = 1, group_by_two_level_threshold_bytes = 1"
)
"""Quantiles of many rows are sorted at the end: in several threads only of tables in two levels."""
_SHOWN: Final = ", ".join(
    (
        "spans, errors",
        # Without spans a quantile is no number, and unknown.
        *(
            f"accurateCastOrNull(round(kl_quantiles[{place}]), 'Int64') AS {name}"
            for place, name in enumerate(MEASURES[2:6], start=1)
        ),
        "sum_input_tokens, sum_output_tokens, sum_cost, unknown_costs",
    )
)


class Bucket(Enum):
    """The width of a step of a time series, in microseconds; steps begin at whole UTC times."""

    MINUTE = 60_000_000
    FIVE_MINUTES = 300_000_000
    QUARTER = 900_000_000
    HOUR = 3_600_000_000
    SIX_HOURS = 21_600_000_000
    DAY = 86_400_000_000


def aggregates(
    scope: Scope,
    *,
    where: Expression = All(),  # noqa: B008 - frozen
    time: TimeRange = TimeRange(),  # noqa: B008 - frozen
    bucket: Bucket | None = None,
    group_by: str = "",
    top: int = 10,
    count_twins: bool = True,
) -> Statement:
    """Rows of ``bucket`` (microseconds), ``is_other``, ``group_value`` and ``MEASURES``.

    ``bucket`` is there with a bucket only; ``is_other`` and ``group_value`` with ``group_by`` only,
    which is a field, or a path such as ``attributes.customer``: the ``top`` most frequent values
    have rows of their own, all others share one. Steps without spans have no row. Without
    ``count_twins`` a call that its program and the gateway report counts once (``twins``).
    Raises ``QueryInvalid``.
    """
    parameters = Parameters()
    conditions = [condition_sql(where, parameters)] if where != All() else []
    fixed = range_sql(time, parameters)
    counted = rows_sql(scope, conditions, parameters, fixed=fixed)
    rows = counted
    if not count_twins:
        once = counted_once_sql(scope, conditions, parameters, time=time)
        rows = rows_sql(scope, [*conditions, once], parameters, fixed=fixed)
    columns: list[str] = []
    names: list[str] = []
    if bucket is not None:
        _check_buckets(bucket, time)
        width = parameters.bind(bucket.value, "Int64")
        columns.append(f"intDiv(toUnixTimestamp64Micro(sort_at), {width}) * {width} AS bucket")
        names.append("bucket")
    if group_by:
        value = _group_sql(parse_target(group_by), parameters)
        count = parameters.bind(_checked_top(top), "UInt32")
        # With twins: telling them apart once more would cost more than a place is worth.
        best = (
            f"({select_sql(f'{value} AS kl_value', counted, 'GROUP BY kl_value')} "
            f"ORDER BY count() DESC, kl_value LIMIT {count})"
        )
        # GLOBAL: of all shards of a cluster; each by itself has other values that are frequent.
        columns.append(f"{value} GLOBAL NOT IN {best} AS is_other")
        columns.append(f"if(is_other, '', {value}) AS group_value")
        names += ["is_other", "group_value"]
    grouped = f"GROUP BY {', '.join(names)}" if names else ""
    ordered = f"ORDER BY {', '.join(names)}" if names else ""
    inner = select_sql(", ".join([*columns, _MEASURES]), rows, grouped)
    clauses = (ordered, _IN_PARALLEL) if names else ()
    return Statement(
        select_sql(", ".join([*names, _SHOWN]), f"({inner})", *clauses), parameters.values()
    )


def _check_buckets(bucket: Bucket, time: TimeRange) -> None:
    if time.since is None or time.until is None:
        raise QueryInvalid("A time series needs a beginning and an end.")
    if (time.until - time.since) // bucket.value > MAXIMUM_BUCKETS:
        raise QueryInvalid(
            f"The time series has more than {MAXIMUM_BUCKETS:,} steps.",
            advice="Ask for wider steps or a shorter time.",
        )


def _checked_top(top: int) -> int:
    if not 1 <= top <= MAXIMUM_GROUPS:
        raise QueryInvalid(f"Between 1 and {MAXIMUM_GROUPS} groups can be asked for.")
    return top


def _group_sql(target: Target, parameters: Parameters) -> str:
    """The value as a text; the empty text is what is missing."""
    if isinstance(target, ScoreTarget):
        raise QueryInvalid("Scores are not grouped by.", position=0)
    if not isinstance(target, FieldTarget):
        return f"JSONExtractString({document_sql(target, parameters)})"
    field = target.field
    match field.type:
        case FieldType.TEXT | FieldType.CHOICE:
            return f"toString({field.name})"
        case FieldType.BOOLEAN:
            return "if(parent_span_id = '', 'true', 'false')"
        case FieldType.NUMBER | FieldType.DURATION | FieldType.MONEY:
            return f"ifNull(toString({field.name}), '')"
        case _:
            raise QueryInvalid("This field is not grouped by.", position=0)
