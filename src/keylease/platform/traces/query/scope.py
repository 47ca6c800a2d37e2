"""Whose spans a statement reads: the organization and its projects, in every statement, first.

Protects: a statement can name no other organization's rows, because what follows FROM is made here,
    with the owner bound as parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.platform.traces.model import Span
from keylease.platform.traces.query.statement import Parameters

SPAN_COLUMNS: Final = Span.__struct_fields__
_VERSIONS: Final = 20
"""How many rows of the table are looked at for one row of a page of the newest."""
ONCE: Final = "LIMIT 1 BY project_id, trace_id, span_id"
"""Of pinned reads: while a later version is written, and after a crash until its entry of the log
is applied again, a state is in ``span_versions`` and still in ``spans``."""
ALL_OF_IT: Final = ", ".join(f"`{name}`" for name in SPAN_COLUMNS)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may read, and as of when."""

    organization_id: str
    project_ids: tuple[str, ...]
    """Without a project nothing is read."""
    at: int | None = None
    """A transaction: read what was there after it, repeatably."""


class TimeRange(msgspec.Struct, frozen=True):
    """Of ``sort_at``, in microseconds UTC: from ``since``, before ``until``."""

    since: int | None = None
    until: int | None = None


def owner_sql(scope: Scope, parameters: Parameters, *, alias: str = "") -> str:
    """The condition that a row belongs to the scope."""
    prefix = f"{alias}." if alias else ""
    owner = f"{prefix}organization_id = {parameters.text(scope.organization_id)}"
    if len(scope.project_ids) == 1:
        return f"{owner} AND {prefix}project_id = {parameters.text(scope.project_ids[0])}"
    return f"{owner} AND {prefix}project_id IN {parameters.texts(list(scope.project_ids))}"


def range_sql(time: TimeRange, parameters: Parameters) -> list[str]:
    """The conditions of a range of time."""
    conditions = []
    if time.since is not None:
        conditions.append(f"sort_at >= {parameters.time(time.since)}")
    if time.until is not None:
        conditions.append(f"sort_at < {parameters.time(time.until)}")
    return conditions


def select_sql(columns: str, rows: str, *clauses: str) -> str:
    """A SELECT, from its parts; none of them holds text of a caller."""
    return " ".join(("SELECT", columns, "FROM", rows, *clauses))


def rows_sql(
    scope: Scope, conditions: list[str], parameters: Parameters, *, fixed: Sequence[str] = ()
) -> str:
    """What follows FROM: the rows of the scope for which all conditions hold, one for each span.

    ``fixed`` are conditions on columns of the order of ``spans``, which no version of a row
    changes: they may decide before FINAL tells the versions apart, and save most of the reading.
    """
    before = " AND ".join([owner_sql(scope, parameters), *fixed])
    if scope.at is None:
        return _table("spans", before, conditions)
    at = parameters.bind(scope.at, "Int64")
    # FINAL decides before WHERE: what was written after ``at`` hides its older state in ``spans``,
    # and that state is found in ``span_versions``.
    current = _table("spans", before, [*conditions, f"xact_id <= {at}"])
    superseded = _table(
        "span_versions", before, [*conditions, f"xact_id <= {at}", f"superseded_by > {at}"]
    )
    both = f"{select_sql(ALL_OF_IT, current)} UNION ALL {select_sql(ALL_OF_IT, superseded)}"
    return f"({select_sql(ALL_OF_IT, f'({both})', ONCE)})"


def _table(name: str, before: str, conditions: list[str]) -> str:
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{name} FINAL PREWHERE {before}{where}"


def keys_of_traces_sql(scope: Scope, traces: str, parameters: Parameters) -> str:
    """What follows FROM: the keys of some traces' rows.

    ``traces`` is an expression for the list of their identifiers.
    """
    return (
        f"span_keys PREWHERE {owner_sql(scope, parameters)} "
        f"AND trace_hash IN (SELECT cityHash64(arrayJoin({traces}))) AND trace_id IN {traces}"
    )


def minutes_of_traces_sql(scope: Scope, traces: str, parameters: Parameters) -> str:
    """By which the rows of some traces are found without reading all minutes."""
    keys = keys_of_traces_sql(scope, traces, parameters)
    return f"toStartOfMinute(sort_at) IN ({select_sql('toStartOfMinute(sort_at)', keys)})"


def last_minute_sql(
    scope: Scope, fixed: Sequence[str], parameters: Parameters, *, count: int
) -> str:
    """The minute before which none of the ``count`` newest spans lies, or the beginning of time.

    Without FINAL, which cannot stop after some rows, the engine reads these few only. Versions of
    one row count once, and all lie in one minute: when there are too few different rows among
    them, nothing is cut off.
    """
    keys = select_sql(
        "toStartOfMinute(sort_at) AS kl_minute, trace_hash, span_hash",
        "spans PREWHERE",
        " AND ".join([owner_sql(scope, parameters), *fixed]),
        f"ORDER BY kl_minute DESC LIMIT {parameters.bind(_VERSIONS * count, 'UInt32')}",
    )
    different = select_sql(
        "kl_minute, uniqExact(trace_hash, span_hash) AS kl_rows", f"({keys})", "GROUP BY kl_minute"
    )
    newer = select_sql(
        "kl_minute, sum(kl_rows) OVER (ORDER BY kl_minute DESC) AS kl_newer", f"({different})"
    )
    enough = f"kl_newer >= {parameters.bind(count, 'UInt32')}"
    return f"({select_sql(f'maxIf(kl_minute, {enough})', f'({newer})')})"
