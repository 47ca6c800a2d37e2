"""Commits changes with their audit entries and sequences them, until it is killed.

A program of its own: ``python -m tests.support.audit_writer DIRECTORY NAME``. Prints a line for
each commit; what is on a line was acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.support.audit_kit import record

from keylease.platform.audit.interfaces import opened
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.primitives.clock import SystemClock


async def write(directory: Path, name: str) -> None:
    clock = SystemClock()
    database = Database(sqlite_url(directory / "platform.sqlite"), clock=clock)
    await migrate(database)
    async with opened(database, directory=directory / "audit", clock=clock):
        number = 0
        while True:
            subject = f"{name}-{number}"
            await record(database, subject)
            sys.stdout.write(subject + "\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
