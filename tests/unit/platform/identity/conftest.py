"""A platform to sign in to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
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


@pytest.fixture
async def quick_house(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """On SQLite alone: for what the kind of database has no part in."""
    database = Database(sqlite_url(tmp_path / "platform.sqlite"), clock=clock)
    await migrate(database)
    async with house_of(database, clock, tmp_path / "platform", monkeypatch) as made:
        yield made
    await database.close()
