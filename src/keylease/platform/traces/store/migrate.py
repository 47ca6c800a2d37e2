"""Brings the tables to the schema this program knows.

1. Refuse a store that a newer program has written, or one from before the first release.
2. Run the missing steps in order; each statement is harmless when it is repeated, so that a step
   that was interrupted is run again whole.
3. Note each step when all of it has run.

An embedded store is locked by its directory. On a server the lock is a table of its own: making a
table is atomic there, and whoever made it holds the lock.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Final

from keylease.errors import TraceStoreTooNew, TraceStoreTooOld, TraceStoreUnavailable
from keylease.platform.traces.store.engine import Engine
from keylease.platform.traces.store.schema import Layout, Step, Table
from keylease.platform.traces.store.versions import v0002_spans

STEPS: Final[tuple[Step, ...]] = (v0002_spans.STEP,)
"""Number 1 was never part of a release."""
_NOTES: Final = Table(
    name="schema_versions",
    columns=(
        ("number", "UInt32"),
        ("name", "String"),
        ("store_id", "String"),
        ("applied_at", "DateTime64(6, 'UTC') DEFAULT now64(6)"),
    ),
    order_by="number",
    shard_by="0",
)
_LOCK: Final = "schema_lock"
_LOCK_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2


def migrate(
    engine: Engine, layout: Layout, *, store_id: str = "", steps: tuple[Step, ...] = STEPS
) -> str:
    """Bring the tables up to the last of ``steps``; gives the identifier of the store.

    Raises ``TraceStoreTooNew``, ``TraceStoreTooOld`` and ``TraceStoreUnavailable``.
    """
    engine.run(f"CREATE DATABASE IF NOT EXISTS `{layout.database}`{layout.on_cluster}")
    for statement in _NOTES.statements(layout):
        engine.run(statement)
    number, known = applied_step(engine, layout)
    if number > steps[-1].number:
        raise TraceStoreTooNew(
            f"The trace store has schema {number}; this program knows {steps[-1].number}.",
            advice="Start the newer program again, or restore an older back-up.",
        )
    if 0 < number < steps[0].number:
        raise TraceStoreTooOld(
            f"The trace store has schema {number}, from before the first release.",
            advice="Export its traces with the program that wrote it, and start an empty store.",
        )
    if number == steps[-1].number:
        return known
    with _locked(engine, layout):
        number, known = applied_step(engine, layout)
        known = known or store_id or str(uuid.uuid4())
        for step in steps:
            if step.number <= number:
                continue
            for statement in step.statements(layout):
                engine.run(statement)
            engine.run(
                layout.sql(
                    "INSERT INTO @schema_versions (number, name, store_id) "
                    "VALUES ({number:UInt32}, {name:String}, {store_id:String})"
                ),
                {"number": step.number, "name": step.name, "store_id": known},
            )
    return known


def applied_step(engine: Engine, layout: Layout) -> tuple[int, str]:
    """The number of the last step that ran whole (0: none), and the store's identifier."""
    rows = engine.read(
        layout.sql("SELECT number, store_id FROM @schema_versions ORDER BY number DESC LIMIT 1")
    ).rows
    if not rows:
        return 0, ""
    return int(str(rows[0][0])), str(rows[0][1])


@contextlib.contextmanager
def _locked(engine: Engine, layout: Layout) -> Iterator[None]:
    lock = layout.table(_LOCK)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            engine.run(f"CREATE TABLE {lock} (holder UInt8) ENGINE = Memory")
            break
        except TraceStoreUnavailable:
            if time.monotonic() > deadline:
                raise TraceStoreUnavailable(
                    "Another server has been changing the schema of the trace store for too long.",
                    advice=f"When none does, remove the table {lock} and start again.",
                ) from None
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        engine.run(f"DROP TABLE IF EXISTS {lock}")
