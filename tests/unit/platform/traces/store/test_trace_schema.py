"""Definitions of tables on one engine and on a cluster, and the steps of the schema."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from keylease.errors import TraceStoreTooNew, TraceStoreTooOld, TraceStoreUnavailable
from keylease.platform.traces.model import Span
from keylease.platform.traces.store import columns
from keylease.platform.traces.store.migrate import STEPS, applied_step, migrate
from keylease.platform.traces.store.schema import Layout, Step, Table
from keylease.platform.traces.store.store import TraceStore

CLUSTER = Layout(database="keylease", cluster="main")


def test_the_steps_are_numbered_without_gaps() -> None:
    first = STEPS[0].number
    assert [step.number for step in STEPS] == list(range(first, first + len(STEPS)))


def test_the_tables_have_the_columns_that_are_written_and_read(store: TraceStore) -> None:
    def stored(table: str) -> list[str]:
        answer = store.select(
            "SELECT name FROM system.columns WHERE database = 'keylease' AND table = {t:String} "
            "AND default_kind = '' ORDER BY position",
            {"t": table},
        )
        return [str(row[0]) for row in answer.rows]

    assert stored("spans") == list(Span.__struct_fields__)
    assert stored("span_versions") == list(columns.VERSION_COLUMNS)
    assert stored("span_keys") == list(columns.KEY_COLUMNS)
    assert stored("payloads") == list(columns.PAYLOAD_COLUMNS)
    assert stored("removals") == list(columns.REMOVAL_COLUMNS)


def test_on_a_cluster_a_table_is_replicated_and_distributed() -> None:
    statements = [text for step in STEPS for text in step.statements(CLUSTER)]
    made = {text.split("EXISTS ")[1].split(" ")[0]: text for text in statements}
    for table in STEPS[0].tables:
        local = made[f"`keylease`.`{table.name}_local`"]
        assert " ON CLUSTER `main` (" in local
        place = f"/clickhouse/tables/{{shard}}/keylease/{table.name}_local"
        assert f"ReplicatedReplacingMergeTree('{place}', '{{replica}}'" in local
        spread = made[f"`keylease`.`{table.name}`"]
        assert f"Distributed(`main`, `keylease`, `{table.name}_local`, " in spread
    assert made["`keylease`.`spans`"].endswith("cityHash64(trace_id))")
    assert "fsync_after_insert = 1" in made["`keylease`.`spans_local`"]


def test_places_in_statements_become_tables_and_parts() -> None:
    alone = Layout()
    text = "DELETE FROM @rows:spans WHERE @which AND x = {at:Int64}"
    assert alone.sql(text, which="y") == "DELETE FROM `keylease`.`spans` WHERE y AND x = {at:Int64}"
    assert CLUSTER.sql(text, which="y").startswith(
        "DELETE FROM `keylease`.`spans_local` ON CLUSTER `main` WHERE"
    )
    for name in ("a`b", "a b", "1a", "a" * 65):
        with pytest.raises(ValueError, match="is no name"):
            Layout(database=name)


def test_steps_run_once_in_order_and_again_whole_when_interrupted(
    store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Step(number=1, name="a", tables=(_table("one"), _table("two")))
    second = Step(
        number=2, name="b", alterations=(("one", "ADD COLUMN IF NOT EXISTS more String"),)
    )
    engine, layout = store.engine, Layout(database="steps")
    run = engine.run

    def failing(sql: str, parameters: Mapping[str, object] | None = None) -> None:
        if "`two`" in sql:
            raise TraceStoreUnavailable("Stopped.")
        run(sql, parameters)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "run", failing)
        with pytest.raises(TraceStoreUnavailable, match="Stopped"):
            migrate(engine, layout, steps=(first,))
    assert applied_step(engine, layout) == (0, "")

    assert migrate(engine, layout, store_id="mine", steps=(first,)) == "mine"
    assert applied_step(engine, layout) == (1, "mine")
    assert migrate(engine, layout, store_id="other", steps=(first, second)) == "mine"
    engine.read("SELECT more FROM steps.one")
    with pytest.raises(TraceStoreTooNew, match="schema 2; this program knows 1"):
        migrate(engine, layout, steps=(first,))
    with pytest.raises(TraceStoreTooOld, match="schema 2, from before"):
        migrate(engine, layout, steps=(Step(number=3, name="c"),))


def _table(name: str) -> Table:
    return Table(name=name, columns=(("x", "String"),), order_by="x", shard_by="0")
