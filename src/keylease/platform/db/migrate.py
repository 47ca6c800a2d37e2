"""Brings the schema of a database to the version this program knows.

1. Refuse a database that a newer program has written.
2. When there is something to change and something to lose, make a back-up first.
3. Take the lock, so that two servers that start together do not both change the schema.
4. Run the missing steps in one transaction, with time-outs: a step that waits for a lock somebody
   holds gives up and has changed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from keylease.errors import DatabaseTooNew
from keylease.platform.db.database import Database

_LOCK: Final = 0x6B65796C  # "keyl": names our advisory lock among all of the database
_LOCK_SECONDS: Final = 30
_STEP_SECONDS: Final = 600
_FOLDER: Final = Path(__file__).parent / "migrations"


def _configuration(connection: Connection | None = None) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    if connection is not None:
        configuration.attributes["connection"] = connection
    return configuration


def newest_version() -> str:
    """The version this program knows."""
    return str(ScriptDirectory.from_config(_configuration()).get_current_head())


async def migrate(database: Database, *, target: str = "head") -> tuple[str, str]:
    """Bring the schema up to ``target``; gives the versions before and after ("" is empty).

    Raises ``DatabaseTooNew``, or ``DatabaseUnavailable`` when the lock or a step took too long.
    """
    before = await current_version(database)
    if before and before != newest_version():
        await asyncio.to_thread(_back_up, database, before)
    async with database.transaction() as transaction:
        if not database.is_sqlite:
            await transaction.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            await transaction.execute(text(f"SET LOCAL statement_timeout = '{_STEP_SECONDS}s'"))
            await transaction.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        return await transaction.connection.run_sync(_migrate, target)


async def current_version(database: Database) -> str:
    """The version of the schema; empty when there is none. Raises ``DatabaseTooNew``."""
    async with database.reading() as transaction:
        return await transaction.connection.run_sync(_current)


def _current(connection: Connection) -> str:
    version = MigrationContext.configure(connection).get_current_revision() or ""
    scripts = ScriptDirectory.from_config(_configuration()).walk_revisions()
    if version and version not in {script.revision for script in scripts}:
        raise DatabaseTooNew(
            f"The database has version {version[:32]}; this program knows {newest_version()}.",
            advice="Start the newer program again, or restore the back-up that it made.",
        )
    return version


def _migrate(connection: Connection, target: str) -> tuple[str, str]:
    before = _current(connection)
    command.upgrade(_configuration(connection), target)
    return before, _current(connection)


def _back_up(database: Database, version: str) -> None:
    """Copy a SQLite database beside itself, by SQLite's own online copy."""
    file = database.engine.url.database
    if not database.is_sqlite or not file:
        return
    backup = Path(f"{file}.backup-{version}")
    backup.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(file)) as source,
        contextlib.closing(sqlite3.connect(backup)) as copy,
    ):
        source.backup(copy)
