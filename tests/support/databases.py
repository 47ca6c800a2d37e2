"""Fixtures that run a test on SQLite and on PostgreSQL. Import what you use into a conftest.py.

    from tests.support.databases import *  # what __all__ names

``database`` is migrated and empty. ``postgres`` is the server, for tests that stop it.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.support.emptied import EmptiedDatabase
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer, postgres_server

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate

__all__ = [
    "clock",
    "database",
    "database_url",
    "hurried",
    "migrated_postgres",
    "migrated_sqlite",
    "migrated_url",
    "postgres",
]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
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
    asyncio.run(_migrated(postgres.create_database("migrated")))
    return EmptiedDatabase(postgres, template="migrated")


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
    opened = hurried(Database(migrated_url, clock=clock))
    yield opened
    await opened.close()


def hurried(database: Database) -> Database:
    """Let SQLite commit without waiting for the disk: no test pulls the plug on this database."""
    if database.is_sqlite:

        @event.listens_for(database.engine.sync_engine, "connect")
        def _hurry(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's adapter
            cursor = connection.cursor()
            cursor.execute("PRAGMA synchronous=OFF")
            cursor.close()

    return database
