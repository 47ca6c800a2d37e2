"""Brings the schema of a database to the version this program knows.

1. Refuse a database that a newer program has written.
2. When there is something to change and something to lose, make a back-up first, or refuse.
3. Take the lock, so that two servers that start together do not both change the schema.
4. Run the missing steps in one transaction, with time-outs: a step that waits for a lock somebody
   holds gives up and has changed nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from keylease.errors import DatabaseNotUpgraded, DatabaseTooNew
from keylease.platform.db.backups import BackUps, back_up, cleaned
from keylease.platform.db.database import Database, is_passing

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


async def migrate(
    database: Database, *, target: str = "head", backups: BackUps | None = None
) -> tuple[str, str]:
    """Bring the schema up to ``target``; gives the versions before and after ("" is empty).

    Without ``backups`` SQLite is copied beside itself, and a PostgreSQL that has data is refused.
    Raises ``DatabaseTooNew``, ``DatabaseNotBackedUp``, ``DatabaseNotUpgraded`` when a step does not
    work on this database, or ``DatabaseUnavailable`` when the lock or a step took too long.
    """
    before = await current_version(database)
    copy = None
    if before and before != newest_version():
        copy = await back_up(database, before, backups)
    async with database.transaction() as transaction:
        if not database.is_sqlite:
            await transaction.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            await transaction.execute(text(f"SET LOCAL statement_timeout = '{_STEP_SECONDS}s'"))
            await transaction.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        try:
            return await transaction.connection.run_sync(_migrate, target)
        except DBAPIError as error:
            if is_passing(error):  # whoever tries again may well succeed: said so by the caller
                raise
            raise DatabaseNotUpgraded(
                f"The schema could not be brought from version {before or 'none'} to "
                f"{newest_version()}: {cleaned(str(error.orig), first=True)}.",
                advice="Nothing was changed. Start the program of before again"
                + (f"; {copy} is a copy of the database as it is." if copy else "."),
            ) from error


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
