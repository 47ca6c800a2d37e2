"""P1 for the platform, door by door: keys and leases that somebody pastes, passwords, one-time
links, and records that a gateway should have masked. Not in its files, its database, a back-up, its
log, nor in the memory of its process once the requests are answered.

Memory is looked at while the allocator overwrites what is freed, so that a finding means that
something still holds the text. Without that, what a request carried stays in freed memory until the
block is used again; the process is not dumpable, and a key that was pasted is to be replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.canaries import memory_of, search_files, search_memory
from tests.support.databases import everything_in
from tests.support.eventually import eventually
from tests.support.home_databases import database_of, is_on_sqlite
from tests.support.platform_doors import SCRUBBING, Doors
from tests.support.platform_process import RunningPlatform, running_platform

from keylease.platform.db.database import Database
from keylease.primitives.clock import SystemClock

MARK = "name-that-is-kept"
"""Stored on purpose, so it is found wherever the search is not blind."""

into_memory = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"),
    reason="looks into the memory of a process that is not dumpable, which takes root on Linux",
)


class Used:
    """A platform through whose every door something went."""

    def __init__(self, directory: Path, platform: RunningPlatform, doors: Doors) -> None:
        self.directory = directory
        self.platform = platform
        self.doors = doors


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    directory = tmp_path_factory.mktemp("doors")
    data = directory / "platform"
    data.mkdir(mode=0o700)
    with running_platform(
        data, environment=SCRUBBING, log=directory / "log", log_level="debug"
    ) as platform:
        doors = Doors(platform.url)
        with doors.api:
            doors.set_up(platform.ready.sign_in_link)
            doors.ask("POST", "/v1/projects", {"name": MARK})
            doors.paste_everywhere()
            doors.push_as_gateway()
            yield Used(directory, platform, doors)


async def rows_of(data: Path) -> bytes:
    database = Database(database_of(data), clock=SystemClock())
    try:
        return await everything_in(database)
    finally:
        await database.close()


def test_files_and_log_hold_none_of_it(used: Used) -> None:
    assert search_files(used.directory, secrets=used.doors.secrets) == []
    seen = search_files(used.directory, secrets=[MARK.encode()])
    assert seen or not is_on_sqlite(), "the search is blind"


def test_the_database_and_a_back_up_hold_none_of_it(used: Used, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(asyncio.run(rows_of(used.platform.data)))
    if is_on_sqlite():
        source = sqlite3.connect(used.platform.data / "platform.sqlite")
        copy = sqlite3.connect(tmp_path / "copy.sqlite")
        with contextlib.closing(source), contextlib.closing(copy):
            source.backup(copy)
    assert search_files(tmp_path, secrets=used.doors.secrets) == []
    assert search_files(tmp_path, secrets=[MARK.encode()]), "the search is blind"


@into_memory
async def test_memory_holds_none_of_it_when_the_requests_are_answered(used: Used) -> None:
    pid, core = used.platform.process.pid, used.doors.family.core
    used.doors.wash()

    def held() -> bool:
        if any(text in data for data in memory_of(pid) for text in used.doors.texts):
            return True
        return bool(search_memory(pid, [core]))

    # A control that is held: where the server keeps its data.
    assert any(bytes(used.platform.data) in data for data in memory_of(pid)), "the search is blind"
    # The server ends its tasks and its connections after the answers.
    await eventually(lambda: not held(), seconds=60)
