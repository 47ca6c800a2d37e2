"""The newest rows for which a filter holds, found without looking at all rows.

FINAL cannot stop after some rows, and uses the order of the table for values only, not for what a
sub-select gives. So a list asks first, without FINAL, where the newest versions are for which the
filter holds: the engine stops when it has enough. A row for which the filter holds now is among
them, because its current version is a version.

Then it asks, with these places as values, which rows are there now. A row of a version that was
found is one of the page, and the filter is not asked for again. Another version there was written
since, or the filter does not hold for it: then the places are asked with FINAL and the filter. When
versions have taken the places of rows, more places are looked at, and in the end all rows.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, Protocol

import msgspec

from keylease.platform.traces.query.scope import Scope, owner_sql, select_sql
from keylease.platform.traces.query.statement import Parameters, Statement

LOOKED_AT: Final = (1, 4, 20)
"""How many places are looked at for one row of a page: at first, and while these are too few."""
MOST_PLACES: Final = 4_000
"""So that 21 bytes for each hash stay under the 128 KiB that a server takes for one
parameter (``http_max_field_value_size``)."""
_MINUTE: Final = "toStartOfMinute(sort_at)"
_PLACE: Final = f"toUnixTimestamp({_MINUTE}) AS kl_minute, trace_hash AS kl_hash, span_id, xact_id"
_MINUTES: Final = "Array(DateTime('UTC'))"
_SECOND: Final = 1_000_000
_SPARE: Final = 8
"""Places more than are wanted: without those of the last minute, which may have more, there are
mostly enough when few rows of a minute are selected, and that minute is not asked for."""
Row = dict[str, Any]


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look for rows."""

    minutes: tuple[int, ...]
    """Seconds UTC."""
    hashes: tuple[int, ...]
    span_ids: tuple[str, ...] = ()
    """Empty: all spans of the traces."""
    versions: frozenset[tuple[int, str, int]] = frozenset()
    """Hash, span and transaction of what was found; without any, these are not known."""
    oldest: tuple[int, str, str] | None = None
    """``sort_at``, trace and span before which there may be more; ``None``: these are all."""

    def conditions(self, parameters: Parameters) -> list[str]:
        """On columns that no version changes. Rows between these places are let in, too."""
        found = [
            f"{_MINUTE} IN {parameters.bind(list(self.minutes), _MINUTES)}",
            f"trace_hash IN {parameters.bind(list(self.hashes), 'Array(UInt64)')}",
        ]
        if self.span_ids:
            found.append(f"span_id IN {parameters.texts(list(self.span_ids))}")
        if self.oldest is not None:
            sort_at, trace_id, span_id = self.oldest
            at = parameters.time(sort_at)
            place = f"({at}, {parameters.text(trace_id)}, {parameters.text(span_id)})"
            found.append(f"(sort_at, trace_id, span_id) >= {place}")
        return found


class PlacesQuestion(Protocol):
    """Asks for the newest places of a list."""

    def __call__(self, *, count: int, minute: int | None = None) -> Statement:
        """See ``places_statement``."""


class PageQuestion(Protocol):
    """Asks for a page of a list."""

    def __call__(self, *, among: Places | None = None) -> Statement:
        """Of all rows, or of those at some places."""


class RowsQuestion(Protocol):
    """Asks for what is at some places now, whatever the filter says."""

    def __call__(self, *, among: Places) -> Statement:
        """See ``rows_statement``."""


def places_statement(
    scope: Scope,
    fixed: Sequence[str],
    conditions: Sequence[str],
    parameters: Parameters,
    *,
    count: int,
    minute: int | None,
) -> Statement:
    """The places of the newest versions for which ``conditions`` hold.

    Of several minutes in the order of minutes only, which is the table's: of a table in several
    parts the engine reads much more for any other. ``minute`` (seconds UTC) asks for one, in the
    order of a page.
    """
    owner = [owner_sql(scope, parameters), *fixed]
    columns, order = _PLACE, f"{_MINUTE} DESC"
    if minute is not None:
        owner.append(f"{_MINUTE} = toDateTime({parameters.bind(minute, 'Int64')}, 'UTC')")
        columns = f"{_PLACE}, toUnixTimestamp64Micro(sort_at) AS kl_sort_at, trace_id"
        order = "sort_at DESC, trace_id DESC, span_id DESC, xact_id DESC"
    sql = select_sql(
        columns,
        "spans PREWHERE",
        " AND ".join(owner),
        f"WHERE {' AND '.join(conditions)}",
        f"ORDER BY {order} LIMIT {parameters.bind(count, 'UInt32')}",
    )
    return Statement(sql, parameters.values())


def rows_statement(scope: Scope, columns: Sequence[str], among: Places) -> Statement:
    """The current rows at these places, and others between them; ``kl_hash`` with ``columns``.

    Without FINAL, which would tell versions apart by one thread: these rows are few.
    """
    parameters = Parameters()
    where = [owner_sql(scope, parameters), *among.conditions(parameters)]
    sql = select_sql(
        f"{', '.join(columns)}, trace_hash AS kl_hash",
        "spans PREWHERE",
        " AND ".join(where),
        "ORDER BY xact_id DESC LIMIT 1 BY project_id, trace_id, span_id",
    )
    return Statement(sql, parameters.values())


def newest_rows(
    limit: int, places: PlacesQuestion, now: RowsQuestion, page: PageQuestion, *, one_of: str = ""
) -> Generator[Statement, list[Row], list[Row]]:
    """Yields statements, takes their rows, and gives the rows of the page.

    ``one_of`` is a column of which a page shows one row for each value, the newest.
    """
    for each in LOOKED_AT:
        among = yield from _places(min(limit * each, MOST_PLACES - _SPARE), places)
        if not among.minutes:
            return []
        rows = yield now(among=among)
        current = _found(rows, among)
        rows = (yield page(among=among)) if current is None else _page(current, limit, one_of)
        if len(rows) >= limit or among.oldest is None:
            return rows
    return (yield page())


def _found(rows: list[Row], among: Places) -> list[Row] | None:
    """Those that were found; ``None`` when one of them has another version now."""
    spans = {(kl_hash, span_id) for kl_hash, span_id, _ in among.versions}
    found = [row for row in rows if (row["kl_hash"], row["span_id"]) in spans]
    if any((row["kl_hash"], row["span_id"], row["xact_id"]) not in among.versions for row in found):
        return None
    return found


def _page(rows: list[Row], limit: int, one_of: str) -> list[Row]:
    rows.sort(key=lambda row: (row["sort_at"], row["trace_id"], row["span_id"]), reverse=True)
    if one_of:
        newest = {row[one_of]: row for row in reversed(rows)}
        rows = [row for row in rows if newest[row[one_of]] is row]
    for row in rows:
        del row["kl_hash"]
    return rows[:limit]


def _places(count: int, ask: PlacesQuestion) -> Generator[Statement, list[Row], Places]:
    rows = yield ask(count=count + _SPARE)
    oldest = None
    if len(rows) >= count + _SPARE:
        # Of the last minute these are any; which of it are the newest is asked for.
        last = rows[-1]["kl_minute"]
        rows = [row for row in rows if row["kl_minute"] != last]
        if (wanted := count - len(rows)) > 0:
            of_last = yield ask(count=wanted, minute=last)
            rows += of_last
            oldest = (last * _SECOND, "", "")
            if len(of_last) >= wanted:
                end = of_last[-1]
                oldest = (end["kl_sort_at"], end["trace_id"], end["span_id"])
        else:
            minute = rows[count - 1]["kl_minute"]
            rows = [row for row in rows if row["kl_minute"] >= minute]
            oldest = (minute * _SECOND, "", "")
    return Places(
        minutes=tuple(sorted({row["kl_minute"] for row in rows})),
        hashes=tuple(sorted({row["kl_hash"] for row in rows})),
        span_ids=tuple(sorted({row["span_id"] for row in rows})),
        versions=frozenset((row["kl_hash"], row["span_id"], row["xact_id"]) for row in rows),
        oldest=oldest,
    )
