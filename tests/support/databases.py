"""Fixtures that run a test on SQLite and on PostgreSQL. Import what you use into a conftest.py.

    from tests.support.databases import database, database_url, postgres

``database`` is migrated and empty. ``postgres`` is the server, for tests that stop it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer, postgres_server

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate

__all__ = ["clock", "database", "database_url", "postgres"]


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


@pytest.fixture
async def database(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    opened = Database(database_url, clock=clock)
    await migrate(opened)
    yield opened
    await opened.close()
