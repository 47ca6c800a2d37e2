"""The database of a platform's directory: SQLite in it, or PostgreSQL when a whole run is on that.

    pytest -p tests.support.on_postgresql tests/integration tests/promises

runs what starts whole servers on PostgreSQL. In a run of everything they are on SQLite, because
each takes seconds and does much besides SQL; statements and services are on both there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keylease.platform.db.database import sqlite_url

_elsewhere: list[Callable[[Path], str]] = []
"""At most one: gives the address of the database of a directory."""


def database_of(directory: Path) -> str:
    """The address of the database that belongs to a platform's directory."""
    return _elsewhere[0](directory) if _elsewhere else sqlite_url(directory / "platform.sqlite")


def told_of(directory: Path) -> dict[str, str]:
    """What a server has to be told: nothing for SQLite, which it finds in its directory."""
    return {"database_url": database_of(directory)} if _elsewhere else {}


def is_on_sqlite() -> bool:
    """Whether directories have their database in them."""
    return not _elsewhere


def use(where: Callable[[Path], str]) -> None:
    """Keep the databases of directories elsewhere from now on."""
    _elsewhere[:] = [where]
