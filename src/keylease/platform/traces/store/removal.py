"""Removes for good: from rows, superseded versions, keys and large texts.

Removed rows are hidden at once, and their bytes leave the disk when ``purge`` has written the parts
that held them again; files that nothing reads any more are deleted within a minute after that.
A removal touches only what was written up to its transaction, so that its replay spares what came
later. It leaves rows in ``removals``, before anything is removed: who removed what, and which
traces a user had; no content. By them a replay knows what was removed, also when the removal was
interrupted and what led to a trace is gone already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from keylease.errors import TraceBatchRefused, TraceStoreUnavailable
from keylease.platform.traces.interfaces import RemoveSpans, WriteBatch
from keylease.platform.traces.store.columns import REMOVAL_COLUMNS, columns_of
from keylease.platform.traces.store.engine import Engine
from keylease.platform.traces.store.schema import Layout

HOLDING: Final = ("span_versions", "spans", "payloads", "span_keys")
"""Every table that holds what was sent, in the order in which it is removed."""
_AT_ONCE: Final = 1_000
"""Traces that one statement removes."""
_PROJECT: Final = "organization_id = {organization_id:String} AND project_id = {project_id:String}"
_ANY: Final = "SELECT 1 FROM @table WHERE @which LIMIT 1"
_DELETE: Final = "DELETE FROM @table WHERE @which"
_LOCAL: Final = tuple(f"{table}_local" for table in HOLDING)
_OUTDATED: Final = """
    SELECT 1 FROM system.parts
    WHERE database = {database:String} AND table IN {tables:Array(String)}
      AND (has_lightweight_delete OR (NOT active AND remove_time < now() - 2))
    LIMIT 1
"""
_REMOVED: Final = """
    SELECT 1 FROM system.parts
    WHERE database = {database:String} AND table IN {tables:Array(String)}
      AND active AND has_lightweight_delete
    LIMIT 1
"""
_DELETED_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.25
_TRACES_OF_USER: Final = """
    SELECT DISTINCT trace_id FROM (
      SELECT trace_id FROM @spans
      WHERE @project AND user_id = {user_id:String} AND xact_id <= {xact_id:Int64}
      UNION ALL
      SELECT trace_id FROM @span_versions
      WHERE @project AND user_id = {user_id:String} AND xact_id <= {xact_id:Int64})
"""
_NOTED_TRACES: Final = """
    SELECT DISTINCT trace_id FROM @removals
    WHERE @project AND xact_id = {xact_id:Int64} AND user_id = {user_id:String} AND trace_id != ''
"""
_LAST: Final = "SELECT max(xact_id) FROM @removals"
_AFTER: Final = """
    SELECT organization_id, project_id, trace_id, span_id, max(xact_id) FROM @removals
    WHERE organization_id IN {organizations:Array(String)}
      AND project_id IN {projects:Array(String)} AND xact_id > {xact_id:Int64}
      AND (everything OR trace_id IN {traces:Array(String)})
    GROUP BY organization_id, project_id, trace_id, span_id
"""
Progress = Callable[[str, int, int], None]
"""What is worked on, how much is done, and how much there is."""


class Removed(msgspec.Struct, frozen=True):
    """What removals took: project, trace and span, and the transaction up to which."""

    until: Mapping[tuple[str, str, str, str], int]
    """Without a span it is the trace; without a trace, everything of the project."""

    def has(self, key: tuple[str, str, str, str], *, xact_id: int) -> bool:
        """Whether a write of this row in this transaction was removed later."""
        organization_id, project_id, trace_id, _ = key
        named = (
            (organization_id, project_id, "", ""),
            (organization_id, project_id, trace_id, ""),
            key,
        )
        return any(xact_id < self.until.get(name, 0) for name in named)


class Removal:
    """Deletes rows."""

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine = engine
        self._layout = layout

    def remove(self, batch: WriteBatch, write: RemoveSpans) -> None:
        """Remove what ``write`` names and what was written up to its transaction."""
        _check(write)
        owner = {
            "organization_id": batch.organization_id,
            "project_id": batch.project_id,
            "xact_id": batch.xact_id,
        }
        traces: Sequence[str] = ()
        if write.user_id:
            traces = self._traces_of(write.user_id, owner)
        self._note(batch, write, traces)
        written = f"{_PROJECT} AND xact_id <= {{xact_id:Int64}}"
        if write.everything:
            self._delete(written, owner)
        elif write.trace_id:
            which = f"{written} AND trace_id = {{trace_id:String}}"
            names = owner | {"trace_id": write.trace_id}
            if write.span_id:
                which += " AND span_id = {span_id:String}"
                names["span_id"] = write.span_id
            self._delete(which, names)
        else:
            for start in range(0, len(traces), _AT_ONCE):
                some = traces[start : start + _AT_ONCE]
                which = f"{written} AND trace_id IN {{traces:Array(String)}}"
                self._delete(which, owner | {"traces": some})

    def last(self) -> int:
        """The transaction of the last removal; 0 when there was none."""
        answer = self._engine.read(self._layout.sql(_LAST))
        return int(str(answer.rows[0][0] or 0))

    def after(
        self, xact_id: int, projects: Collection[tuple[str, str]], traces: Sequence[str]
    ) -> Removed:
        """What was removed of these traces after a transaction."""
        until: dict[tuple[str, str, str, str], int] = {}
        names = {
            "organizations": sorted({owner[0] for owner in projects}),
            "projects": sorted({owner[1] for owner in projects}),
            "xact_id": xact_id,
        }
        for start in range(0, len(traces), _AT_ONCE):
            some = {"traces": traces[start : start + _AT_ONCE]}
            answer = self._engine.read(
                self._layout.sql(_AFTER), names | some, settings={"max_result_rows": 0}
            )
            for *key, last in answer.rows:
                organization_id, project_id, trace_id, span_id = map(str, key)
                until[organization_id, project_id, trace_id, span_id] = int(str(last))
        return Removed(until)

    def expire(self, organization_id: str, project_id: str, *, before: int) -> None:
        """Remove the rows of a project that began, or came, before a time (microseconds).

        What a sender dates into the future goes as long after it came as the rest.
        """
        early = "fromUnixTimestamp64Micro({before:Int64}, 'UTC')"
        names = {
            "organization_id": organization_id,
            "project_id": project_id,
            "before": before,
            "transaction": before * 1000,
        }
        for table in HOLDING:
            # A transaction tells when it was, in nanoseconds; payloads have no other time.
            came = (
                "xact_id < {transaction:Int64}" if table == "payloads" else f"created_at < {early}"
            )
            self._delete_from(table, f"{_PROJECT} AND (sort_at < {early} OR {came})", names)

    def purge(self, progress: Progress | None = None) -> None:
        """Write the parts again that hold removed rows, and wait until the old ones are deleted.

        Raises ``TraceStoreUnavailable`` when they are not in time: they will be, when no query
        reads them any more.
        """
        for done, table in enumerate(HOLDING):
            if progress is not None:
                progress(table, done, len(HOLDING))
            self._engine.maintain(self._layout.sql(f"ALTER TABLE @rows:{table} APPLY DELETED MASK"))
        deadline = time.monotonic() + _DELETED_SECONDS
        while self._outdated():
            if time.monotonic() > deadline:
                raise TraceStoreUnavailable(
                    "The files of removed spans are not deleted yet.",
                    advice="They are when no query reads them any more; purge again later.",
                )
            time.sleep(_POLL_SECONDS)
        if progress is not None:
            progress("", len(HOLDING), len(HOLDING))

    def is_due(self) -> bool:
        """Whether there are parts with removed rows in them, which ``purge`` would write again."""
        return self._any_part(_REMOVED)

    def _outdated(self) -> bool:
        """Whether there are files that were there before the purge and hold removed rows."""
        return self._any_part(_OUTDATED)

    def _any_part(self, sql: str) -> bool:
        tables = {"database": self._layout.database, "tables": [*HOLDING, *_LOCAL]}
        return bool(self._engine.read(sql, tables).rows)

    def _delete(self, which: str, parameters: Mapping[str, object]) -> None:
        for table in HOLDING:
            self._delete_from(table, which, parameters)

    def _delete_from(self, table: str, which: str, parameters: Mapping[str, object]) -> None:
        there = self._engine.read(
            self._layout.sql(_ANY, table=f"@{table}", which=which),
            parameters,
        )
        if there.rows:  # looking is many times cheaper than removing nothing
            sql = self._layout.sql(_DELETE, table=f"@rows:{table}", which=which)
            self._engine.maintain(sql, parameters)

    def _traces_of(self, user_id: str, owner: Mapping[str, object]) -> Sequence[str]:
        """Every trace of a user, also when this removal was interrupted after some of it."""
        names = {**owner, "user_id": user_id}
        found: set[str] = set()
        for sql in (_TRACES_OF_USER, _NOTED_TRACES):
            answer = self._engine.read(
                self._layout.sql(sql, project=_PROJECT), names, settings={"max_result_rows": 0}
            )
            found.update(str(row[0]) for row in answer.rows)
        return sorted(found)

    def _note(self, batch: WriteBatch, write: RemoveSpans, traces: Sequence[str]) -> None:
        """The removal as it was asked for, and one row for each trace of a user."""
        rows = [
            (
                batch.organization_id,
                batch.project_id,
                batch.xact_id,
                batch.received_at,
                write.by,
                trace_id,
                write.span_id,
                write.user_id,
                write.everything,
            )
            for trace_id in (write.trace_id, *traces)
        ]
        self._engine.insert(self._layout.table("removals"), columns_of(REMOVAL_COLUMNS, rows))


def _check(write: RemoveSpans) -> None:
    given = [bool(write.trace_id), bool(write.user_id), write.everything]
    if given.count(True) != 1 or (write.span_id and not write.trace_id):
        raise TraceBatchRefused("A removal names exactly one of a trace, a user and everything.")
