"""Whether this directory and this database belong together, looked at before anything is served.

The database is shared by whoever can reach it; the keys that sign lie in one directory. A server
that was started with another directory, or with an empty one, would make keys of its own: gateways
and verifiers have pinned the old ones, and the audit log of this database could not be continued.

Protects: such a server does not start, and changes nothing; one message says which keys are missed.
    Where only the key of second factors is another one, it starts and its log says so: people set
    their factors up again, which must not need the key that is lost.
Does not protect: files that are damaged or set back although their key is the right one. The audit
    log's own checks find that, and stop changes of that organization alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import select

from keylease.errors import DataDirectoryForeign, NoteInvalid, StorageError
from keylease.platform.audit import repository
from keylease.platform.audit.log_files import LogFiles
from keylease.platform.audit.repository import KnownLog, StoredCheckpoint
from keylease.platform.db.database import Database
from keylease.platform.identity.outside.tables import ISSUERS
from keylease.platform.identity.sealing import KEY_BYTES, KEY_FILE, Sealer
from keylease.platform.identity.sign_in.tables import ONE_TIME_CODES
from keylease.primitives.files import read_bounded
from keylease.primitives.transparency.log_keys import key_before
from keylease.primitives.transparency.notes import NoteKey, open_note

AUDIT: Final = "audit"
_SHOWN: Final = 3


async def check_belonging(database: Database, directory: Path) -> None:
    """Raise ``DataDirectoryForeign`` unless the keys of the database's audit logs are here.

    What was signed last is in the database; the key in the directory must have signed it.
    """
    async with database.reading() as tx:
        logs = [
            (log, await repository.checkpoint(tx, log.log_id, log.head.size))
            for log in await repository.known_logs(tx)
            if log.head.size
        ]
    missed = await asyncio.to_thread(_missed, directory / AUDIT, logs) if logs else []
    if not missed:
        if count := await sealed_otherwise(database, directory):
            structlog.stdlib.get_logger().warning(
                "sign_in_key_differs",
                secrets=count,
                message=f"{KEY_FILE} is not the key that sealed them: restore it, or let second "
                "factors and client secrets be set up again.",
            )
        return
    named = ", ".join(missed[:_SHOWN]) + (", ..." if len(missed) > _SHOWN else "")
    raise DataDirectoryForeign(
        f"{directory} does not belong to this database: the database's audit log was signed with "
        f"other keys than there are ({named}).",
        advice="Start the server with the directory that this database was used with, or restore "
        "that directory from its back-up. docs/guides/postgresql.md says what is in it.",
    )


async def sealed_otherwise(database: Database, directory: Path) -> int:
    """How many second factors and client secrets the sign-in key that is here cannot open."""
    async with database.reading() as tx:
        sealed = [
            bytes(row["sealed"])
            for column in (ONE_TIME_CODES.c.sealed_secret, ISSUERS.c.sealed_client_secret)
            for row in await tx.rows(select(column.label("sealed")).where(column.is_not(None)))
        ]
    if not sealed:
        return 0
    try:
        key = await asyncio.to_thread(read_bounded, directory / KEY_FILE, maximum=KEY_BYTES)
    except OSError:  # absent: another one is about to be made
        return len(sealed)
    here = Sealer(key) if len(key) == KEY_BYTES else None
    return sum(here is None or not here.has_sealed(one) for one in sealed)


def _missed(directory: Path, logs: list[tuple[KnownLog, StoredCheckpoint | None]]) -> list[str]:
    if not directory.is_dir():
        return [f"keys/{log.log_id}.key" for log, _ in logs]
    files = LogFiles(directory)
    return [
        f"keys/{log.log_id}.key"
        for log, last in logs
        if not _is_ours(files, log.log_id, last.note if last is not None else None)
    ]


def _is_ours(files: LogFiles, log_id: str, note: bytes | None) -> bool:
    try:
        key, rotations = files.keys(log_id)
    except StorageError:  # gone, damaged, or not to be read: the message names the file
        return False
    if note is None:
        return True
    # Right after a rotation the last checkpoint may still be the one of the key before.
    before: NoteKey | None = key_before(rotations[-1], key) if rotations else None
    try:
        open_note(note, [key, *([before] if before else [])])
    except NoteInvalid:
        return False
    return True
