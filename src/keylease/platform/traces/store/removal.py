"""Removes for good: from rows, superseded versions, keys and large texts.

Removed rows are hidden at once, and their bytes leave the disk when ``purge`` has written the parts
that held them again; files that nothing reads any more are deleted within a minute after that.
A removal touches only what was written up to its transaction, so that its replay spares what came
later. It leaves a row in ``removals``: who removed what, and no content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

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
Progress = Callable[[str, int, int], None]
"""What is worked on, how much is done, and how much there is."""


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
        self._note(batch, write)
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
            traces = self._traces_of(write.user_id, owner)
            for start in range(0, len(traces), _AT_ONCE):
                some = traces[start : start + _AT_ONCE]
                which = f"{written} AND trace_id IN {{traces:Array(String)}}"
                self._delete(which, owner | {"traces": some})

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
        answer = self._engine.read(
            self._layout.sql(_TRACES_OF_USER, project=_PROJECT),
            {**owner, "user_id": user_id},
            settings={"max_result_rows": 0},
        )
        return sorted(str(row[0]) for row in answer.rows)

    def _note(self, batch: WriteBatch, write: RemoveSpans) -> None:
        row = (
            batch.organization_id,
            batch.project_id,
            batch.xact_id,
            batch.received_at,
            write.by,
            write.trace_id,
            write.span_id,
            write.user_id,
            write.everything,
        )
        self._engine.insert(self._layout.table("removals"), columns_of(REMOVAL_COLUMNS, [row]))


def _check(write: RemoveSpans) -> None:
    given = [bool(write.trace_id), bool(write.user_id), write.everything]
    if given.count(True) != 1 or (write.span_id and not write.trace_id):
        raise TraceBatchRefused("A removal names exactly one of a trace, a user and everything.")
