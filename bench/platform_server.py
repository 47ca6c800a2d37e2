"""The server's own numbers: ready, at rest, one object read.

    python bench/platform_server.py

A real process on SQLite, asked over loopback by one client that keeps its connection.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.furnished import bearer, first_tenant, founded
from tests.support.platform_process import running_platform

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.primitives.clock import SystemClock

READS = 500
READY_SECONDS, IDLE_MEGABYTES, READ_MILLISECONDS = 3.0, 200.0, 5.0


async def prepared(directory: Path) -> str:
    clock = SystemClock()
    database = Database(sqlite_url(directory / "platform.sqlite"), clock=clock)
    await migrate(database)
    try:
        async with founded(database, clock, directory) as services:
            return await bearer(services, await first_tenant(services))
    finally:
        await database.close()


def resident_megabytes(pid: int) -> float:
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "platform"
        directory.mkdir(mode=0o700)
        authorization = asyncio.run(prepared(directory))
        started = time.monotonic()
        with running_platform(directory) as platform:
            ready = time.monotonic() - started
            with httpx.Client(
                base_url=platform.url, headers={"authorization": authorization}
            ) as api:
                made = api.post("/v1/vendors", json={"name": "measured"})
                made.raise_for_status()
                times = []
                for _ in range(READS):
                    began = time.perf_counter()
                    api.get("/v1/vendors/measured").raise_for_status()
                    times.append((time.perf_counter() - began) * 1000)
            time.sleep(2)
            idle = resident_megabytes(platform.process.pid)
    read = statistics.median(times[50:])
    rows = [
        ("ready after, seconds", ready, READY_SECONDS),
        ("resident at rest, MB", idle, IDLE_MEGABYTES),
        ("one object read, p50 ms", read, READ_MILLISECONDS),
    ]
    print(f"{'the server':<28}{'measured':>10}{'wanted':>10}")
    for name, measured, wanted in rows:
        print(f"{name:<28}{measured:>10.2f}{'< ' + format(wanted, 'g'):>10}")
    return int(any(measured >= wanted for _, measured, wanted in rows))


if __name__ == "__main__":
    sys.exit(main())
