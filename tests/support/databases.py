"""Fixtures that run a test on SQLite and on PostgreSQL. Import what you use into a conftest.py.

    from tests.support.databases import *  # what __all__ names

``database`` is migrated and empty. ``postgres`` is the server, for tests that stop it.

What opens a SQLite database without its twin stands in ``ON_SQLITE_ALONE``, with the reason; a test
(tests/unit/platform/test_both_databases.py) fails for what does not, and for what needs not. What
starts whole servers takes ``home_databases``, by which a run can have all of them on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Dialect, MetaData, event, select
from tests.support.emptied import EmptiedDatabase
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer, postgres_server

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate

__all__ = [
    "clock",
    "compiled_once",
    "database",
    "database_url",
    "hurried",
    "migrated_postgres",
    "migrated_sqlite",
    "migrated_url",
    "postgres",
]


ON_SQLITE_ALONE = {
    "integration/platform/test_database_away.py": "SQLite's full disk, beside PostgreSQL's end",
    "promises/test_p1_platform.py": "each test has its twin in the file: a stolen file, a server",
    "promises/test_p5_through_the_platform.py": "SQLite's full disk, a copied file; the rest is "
    "on both",
    "support/audit_writer.py": "a program that is killed; PostgreSQL's commits are PostgreSQL's",
    "support/home_databases.py": "what starts whole servers, unless the run is on PostgreSQL",
    "unit/platform/db/test_migrations.py": "the copy of a SQLite file, beside PostgreSQL's dump",
}
"""File below tests/ -> why what it opens is SQLite and nothing else."""


class _OneServer:
    """One server for the whole test process, however many files import the fixture.

    To pytest an imported fixture is another one in each file, session or not.
    """

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        self._server: PostgresServer | None = None
        self._users = 0
        self._emptied: EmptiedDatabase | None = None

    @contextlib.contextmanager
    def used(self) -> Iterator[PostgresServer]:
        if self._server is None:
            self._server = self._running.enter_context(postgres_server())
        self._users += 1
        try:
            yield self._server
        finally:
            self._users -= 1
            if not self._users:
                self._server = self._emptied = None
                self._running.close()

    def emptied(self, server: PostgresServer) -> EmptiedDatabase:
        if self._emptied is None:
            asyncio.run(_migrated(server.create_database("migrated")))
            self._emptied = EmptiedDatabase(server, template="migrated")
        return self._emptied


ONE_SERVER = _OneServer()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with ONE_SERVER.used() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database of its own."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "platform.sqlite")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that migrations have run on, to be copied: a test should not pay for them."""
    file = tmp_path_factory.mktemp("template") / "platform.sqlite"
    asyncio.run(_migrated(sqlite_url(file)))
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> EmptiedDatabase:
    """A database that migrations have run on, emptied for each test."""
    return ONE_SERVER.emptied(postgres)


async def _migrated(url: str) -> None:
    database = Database(url, clock=ManualClock())
    await migrate(database)
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated, empty database of its own."""
    if request.param == "sqlite":
        file = tmp_path / "platform.sqlite"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), file)
        yield sqlite_url(file)
        return
    emptied: EmptiedDatabase = request.getfixturevalue("migrated_postgres")
    yield emptied.for_next()


@pytest.fixture
async def database(migrated_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    opened = compiled_once(hurried(Database(migrated_url, clock=clock)))
    yield opened
    await opened.close()


async def everything_in(database: Database) -> bytes:
    """Every cell of every table; of SQLite the files too, with what was deleted in them."""
    cells: list[bytes] = []
    async with database.reading() as tx:
        found = MetaData()
        await tx.connection.run_sync(found.reflect)
        for table in found.sorted_tables:
            for row in await tx.rows(select(table)):
                cells += (v if isinstance(v, bytes) else str(v).encode() for v in row.values())
    file = database.engine.url.database
    if database.is_sqlite and file:
        cells += (part.read_bytes() for part in Path(file).parent.glob(f"{Path(file).name}*"))
    return b"\n".join(cells)


def hurried(database: Database) -> Database:
    """Let SQLite commit without waiting for the disk: no test pulls the plug on this database."""
    if database.is_sqlite:

        @event.listens_for(database.engine.sync_engine, "connect")
        def _hurry(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's adapter
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous=OFF")
            cursor.close()

    return database


_COMPILED: dict[str, tuple[Dialect, Any]] = {}
"""By the kind of database: what statements are compiled for, and those that have been."""


def compiled_once(database: Database) -> Database:
    """Let statements be compiled once per test process, not once per test: that took a sixth of it.

    SQLAlchemy keeps them by engine and dialect. A dialect learns from the first server that it
    meets, so the one of an engine that is connected is taken over; servers are all the same here.
    """
    engine = database.engine.sync_engine
    known = _COMPILED.get(engine.name)
    if known is not None:
        engine.dialect, engine._compiled_cache = known
        return database

    @event.listens_for(engine, "first_connect")
    def _remember(_connection: object, _record: object) -> None:
        _COMPILED.setdefault(engine.name, (engine.dialect, engine._compiled_cache))

    return database
