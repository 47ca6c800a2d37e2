"""A platform to sign in to."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.databases import hurried
from tests.support.manual_clock import ManualClock
from tests.support.sign_in_kit import House, house_of

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate


@pytest.fixture
async def house(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    async with house_of(database, clock, tmp_path / "platform", monkeypatch) as made:
        yield made


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of today's version, to copy: quicker than to migrate each time."""
    file = tmp_path_factory.mktemp("migrated") / "platform.sqlite"

    async def prepare() -> None:
        database = Database(sqlite_url(file), clock=ManualClock())
        await migrate(database)
        await database.close()

    asyncio.run(prepare())
    return file


@pytest.fixture
async def quick_house(
    migrated: Path, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """On SQLite alone: for what the kind of database has no part in."""
    file = shutil.copy(migrated, tmp_path / "platform.sqlite")
    database = hurried(Database(sqlite_url(Path(file)), clock=clock))
    async with house_of(database, clock, tmp_path / "platform", monkeypatch) as made:
        yield made
    await database.close()
