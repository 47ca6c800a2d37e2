"""A plugin of pytest: servers that tests start keep their databases in PostgreSQL."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from tests.support import home_databases
from tests.support.databases import ONE_SERVER
from tests.support.postgres import PostgresServer


class OnPostgresql:
    """A database for each directory, made when it is first asked for."""

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        self._server: PostgresServer | None = None
        self._made: dict[str, str] = {}

    def address(self, directory: Path) -> str:
        if self._server is None:
            self._server = self._running.enter_context(ONE_SERVER.used())
        place = str(directory.resolve())
        if place not in self._made:
            name = f"home_{hashlib.sha256(place.encode()).hexdigest()[:24]}"
            self._made[place] = self._server.create_database(name)
        return self._made[place]

    def pytest_sessionfinish(self) -> None:
        self._running.close()


def pytest_configure(config: pytest.Config) -> None:
    plugin = OnPostgresql()
    config.pluginmanager.register(plugin, "databases-on-postgresql")
    home_databases.use(plugin.address)
