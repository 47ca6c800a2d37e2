"""A copy of the database before its schema is changed: no upgrade without a way back.

SQLite is copied by its own online copy, beside itself. PostgreSQL is dumped by ``pg_dump``, in its
custom format (``pg_restore`` reads it), into the data directory. Both are mode 0600, durable, and
named only when they are whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.engine import URL

from keylease import detectors
from keylease.errors import DatabaseNotBackedUp
from keylease.platform.db.database import Database
from keylease.primitives.files import sync_directory

_SECONDS: Final = 3600
"""For a dump; an upgrade that waits longer should be planned by somebody."""
_PLACES: Final = (
    "/usr/lib/postgresql/*/bin/pg_dump",
    "/usr/pgsql-*/bin/pg_dump",
    "/usr/local/bin/pg_dump",
    "/usr/bin/pg_dump",
    "/opt/homebrew/opt/libpq/bin/pg_dump",
    "/opt/homebrew/bin/pg_dump",
)
"""Where packages put it; the first are the programs themselves, behind Debian's wrapper."""
_ADVICE: Final = (
    "Make a back-up yourself and start once with --without-backup; or install the pg_dump of the "
    "server's version."
)


class BackUps(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is backed up before an upgrade."""

    directory: Path
    """Gets the dumps of PostgreSQL."""
    pg_dump: str = ""
    """The program; empty is the newest in the usual places."""
    waived: bool = False
    """Somebody has said that there is one already."""


def find_pg_dump() -> str:
    """The newest ``pg_dump`` in the usual places; empty when there is none."""
    for pattern in _PLACES:
        found = [path for path in Path("/").glob(pattern.lstrip("/")) if os.access(path, os.X_OK)]
        if found:
            return str(max(found, key=_version))
    return ""


async def back_up(database: Database, version: str, plan: BackUps | None) -> Path | None:
    """Copy the database, which is at ``version``; gives where the copy is.

    ``None`` when it was waived, or when the database is in memory. Raises ``DatabaseNotBackedUp``.
    """
    if plan is not None and plan.waived:
        return None
    url = database.url
    if not database.is_sqlite:
        if plan is None:
            raise DatabaseNotBackedUp("There is no place for a back-up of it.", advice=_ADVICE)
        copy = plan.directory / f"postgresql.backup-{version}.dump"
        await _dump(plan.pg_dump or find_pg_dump(), url, copy)
        return copy
    if not url.database or url.database == ":memory:":
        return None
    copy = Path(f"{url.database}.backup-{version}")
    await asyncio.to_thread(_copy_sqlite, url.database, copy)
    return copy


def _copy_sqlite(file: str, copy: Path) -> None:
    try:
        with (
            _whole(copy) as (partial, _),
            contextlib.closing(sqlite3.connect(file)) as source,
            contextlib.closing(sqlite3.connect(partial)) as target,
        ):
            source.backup(target)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseNotBackedUp(
            f"The database could not be copied to {copy}: {cleaned(str(error))}",
            advice="Make room, or make a back-up yourself and start once with --without-backup.",
        ) from error


async def _dump(program: str, url: URL, copy: Path) -> None:
    if not program:
        raise DatabaseNotBackedUp(
            "The schema of the database must be changed, and there is no pg_dump here to make a "
            "back-up of it first.",
            advice=_ADVICE,
        )
    try:
        with _whole(copy) as (_, descriptor):
            await _run(program, url, descriptor)
    except OSError as error:
        raise DatabaseNotBackedUp(
            f"The back-up of the database could not be made: {error.strerror}.", advice=_ADVICE
        ) from error


async def _run(program: str, url: URL, descriptor: int) -> None:
    # The address without a password: it stands in the list of processes.
    plain = url.set(drivername="postgresql", password=None).difference_update_query(["ssl"])
    if "ssl" in url.query:  # as our driver calls what PostgreSQL's own programs call sslmode
        plain = plain.update_query_dict({"sslmode": url.query["ssl"]})
    elif "sslrootcert" in url.query:  # verified, as by our driver
        plain = plain.update_query_dict({"sslmode": "verify-full"})
    address = plain.render_as_string()
    environment = {"LC_ALL": "C", "PATH": os.defpath}
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    process = await asyncio.create_subprocess_exec(
        *(program, "--format=custom", "--no-password", f"--dbname={address}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=descriptor,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        said = b"it took longer than an hour"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DatabaseNotBackedUp(
            f"pg_dump could not make a back-up: {cleaned(said.decode('utf-8', 'replace'))}",
            advice=_ADVICE,
        )


@contextlib.contextmanager
def _whole(copy: Path) -> Iterator[tuple[Path, int]]:
    """A file that gets its name when everything is in it; an earlier one is replaced then."""
    partial = copy.with_name(f"{copy.name}.partial-{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield partial, descriptor
        os.fsync(descriptor)
        partial.rename(copy)
        sync_directory(copy.parent)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _version(path: Path) -> tuple[int, ...]:
    """The numbers in the folder's name: 15 in /usr/lib/postgresql/15/bin/pg_dump."""
    digits = "".join(character if character.isdigit() else " " for character in str(path.parent))
    return tuple(map(int, digits.split()))


def cleaned(text: str, *, first: bool = False) -> str:
    """The last line of foreign text, or the first, so that it may be shown."""
    lines = [line for line in text.splitlines() if line.strip()] or ["it did not say why"]
    shown = "".join(filter(str.isprintable, lines[0 if first else -1]))
    return detectors.mask(shown)[0][:300]
