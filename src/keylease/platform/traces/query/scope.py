"""Whose spans a statement reads: the organization and its projects, in every statement, first.

Protects: a statement can name no other organization's rows, because what follows FROM is made here,
    with the owner bound as parameters.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.platform.traces.model import Span
from keylease.platform.traces.query.statement import Parameters

SPAN_COLUMNS: Final = Span.__struct_fields__
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


def rows_sql(scope: Scope, conditions: list[str], parameters: Parameters) -> str:
    """What follows FROM: the rows of the scope for which all conditions hold, one for each span."""
    which = " AND ".join([owner_sql(scope, parameters), *conditions])
    current = f"spans FINAL WHERE {which}"
    if scope.at is None:
        return current
    at = parameters.bind(scope.at, "Int64")
    superseded = f"span_versions FINAL WHERE {which}"
    # FINAL decides before WHERE: what was written after ``at`` hides its older state in ``spans``,
    # and that state is found in ``span_versions``.
    return (
        f"({select_sql(ALL_OF_IT, current, f'AND xact_id <= {at}')} UNION ALL "
        + select_sql(ALL_OF_IT, superseded, f"AND xact_id <= {at} AND superseded_by > {at}")
        + ")"
    )


def minutes_of_traces_sql(scope: Scope, traces: str, parameters: Parameters) -> str:
    """By which the rows of some traces are found without reading all minutes.

    ``traces`` is an expression for the list of their identifiers.
    """
    minutes = select_sql(
        "toStartOfMinute(sort_at)",
        "span_keys WHERE",
        owner_sql(scope, parameters),
        f"AND trace_hash IN (SELECT cityHash64(arrayJoin({traces}))) AND trace_id IN {traces}",
    )
    return f"toStartOfMinute(sort_at) IN ({minutes})"
