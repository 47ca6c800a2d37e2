"""Migrations on filled data, step by step, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, insert, select, text
from sqlalchemy.exc import DBAPIError
from tests.support.manual_clock import ManualClock

from keylease.errors import DatabaseTooNew, DatabaseUnavailable
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import _configuration, current_version, migrate, newest_version

VERSIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(_configuration()).walk_revisions()))
]
SAMPLES: dict[type, Any] = {str: "x", int: 7, bool: True, bytes: b"\x00\xff", float: 0.5}
OURS = "alembic_version"
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


async def test_each_step_keeps_what_was_there(empty: Database) -> None:
    seen: Rows = {}
    for version in VERSIONS:
        await migrate(empty, target=version)
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
    with pytest.raises((DatabaseUnavailable, DBAPIError)):
        await migrate(empty)
    assert await current_version(empty) == VERSIONS[-2]
    async with empty.transaction() as tx:
        await tx.execute(text(f"DROP TABLE {wanted}"))
    assert (await migrate(empty))[1] == newest_version()
    async with empty.reading() as tx:
        now = await tx.connection.run_sync(rows)
    assert {table: now[table] for table in before} == before
    await empty.close()


async def test_sqlite_is_copied_before_it_is_changed(empty: Database) -> None:
    await migrate(empty, target=VERSIONS[-2])
    async with empty.transaction() as tx:
        await tx.connection.run_sync(fill_new)
        before = await tx.connection.run_sync(rows)
    await migrate(empty)
    file = empty.engine.url.database
    if empty.is_sqlite:
        with contextlib.closing(sqlite3.connect(f"{file}.backup-{VERSIONS[-2]}")) as copy:
            for table, kept in before.items():
                (count,) = copy.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608 - our own table
                assert count == len(kept) == 1
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await empty.close()
