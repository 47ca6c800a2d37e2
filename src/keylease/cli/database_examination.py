"""What `keylease doctor` looks at of the platform's database: how it is reached, and backed up."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from keylease.cli.examination import Area, Finding, State
from keylease.settings import Settings

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def examine_database(settings: Settings) -> Iterator[Finding]:
    """Nothing for SQLite, which lies in the data directory and is copied with it."""
    if not settings.database_url.startswith("postgresql"):
        return
    try:
        from keylease.platform.db.backups import find_pg_dump  # noqa: PLC0415 - of keylease[server]
        from keylease.platform.db.database import database_url  # noqa: PLC0415 - as above
        from keylease.platform.trust.platform_secrets import (  # noqa: PLC0415 - as above
            database_in_words,
            database_weaknesses,
        )
    except ImportError:
        yield _finding("place", State.NOTE, "The server is not installed here.")
        return
    url = database_url(settings.database_url)
    yield _finding("place", State.NOTE, database_in_words(url))
    for weakness in database_weaknesses(url):
        yield _finding("transport", State.WARNING, weakness.what, weakness.advice)
    found = find_pg_dump()
    if found:
        yield _finding("pg_dump", State.GOOD, found)
    else:
        yield _finding(
            "pg_dump",
            State.WARNING,
            "There is none in the usual places, so an upgrade that changes the schema is refused.",
            "Install the one of the server's version, name it with `keylease server --pg-dump`, or "
            "make a back-up yourself and start once with --without-backup.",
        )
    passfile = url.query.get("passfile")
    if passfile:
        yield _password_file(Path(str(passfile)))


def _password_file(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return _finding(
            "passfile",
            State.WARNING,
            f"{path} cannot be looked at: {error.strerror}.",
            "The server's own user must be able to read it.",
        )
    if mode & _OTHERS:
        return _finding(
            "passfile",
            State.PROBLEM,
            f"{path} may be read by others, so PostgreSQL's programs do not use it.",
            f"chmod 600 {path}",
        )
    return _finding("passfile", State.GOOD, f"{path}, mode 0600")


def _finding(name: str, state: State, detail: str, advice: str = "") -> Finding:
    return Finding(area=Area.DATABASE, name=name, state=state, detail=detail, advice=advice)
