"""A database that goes away under a running server: 503, nothing half done, and back by itself."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from tests.support.databases import postgres
from tests.support.furnished import bearer, first_tenant, founded
from tests.support.platform_process import running_platform
from tests.support.postgres import PostgresServer

from keylease.platform.db.database import Database, sqlite_url
from keylease.primitives.clock import SystemClock

__all__ = ["postgres"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def owner_of(url: str, directory: Path) -> str:
    """Found the first organization; gives its Owner's bearer."""
    clock = SystemClock()
    database = Database(url, clock=clock)
    try:
        async with founded(database, clock, directory) as services:
            await services.identity.first_start.sign_in_link()
            return await bearer(services, await first_tenant(services))
    finally:
        await database.close()


def create(api: httpx.Client, name: str) -> httpx.Response:
    body = {"name": name, "description": "x" * 200}
    return api.post("/v1/projects", json=body, headers={"idempotency-key": name})


def names(api: httpx.Client) -> set[str]:
    found: set[str] = set()
    cursor = ""
    while True:
        page = api.get("/v1/projects", params={"limit": 100, "cursor": cursor}).json()
        found |= {item["name"] for item in page["items"]}
        cursor = page["next_cursor"]
        if not cursor:
            return found


def assert_unavailable(answer: httpx.Response, *codes: str) -> None:
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
    said = answer.json()
    assert said["code"] in {"database_unavailable", *codes}
    assert said["advice"].startswith("Nothing was changed.")
    assert answer.headers["content-type"] == "application/problem+json"


def test_postgresql_is_stopped_and_started(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.create_database("away")
    directory = tmp_path / "platform"
    authorization = asyncio.run(owner_of(url, directory))
    with (
        running_platform(directory, database_url=url) as platform,
        httpx.Client(
            base_url=platform.url, headers={"authorization": authorization}, timeout=60
        ) as api,
    ):
        assert create(api, "before").status_code == httpx.codes.CREATED
        postgres.stop(mode="immediate")
        try:
            for _ in range(3):
                assert_unavailable(create(api, "meanwhile"))
                assert_unavailable(api.get("/v1/projects"))
            assert api.get("/healthz").status_code == httpx.codes.OK, "the process is well"
            assert api.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
        finally:
            postgres.start()
        until(lambda: api.get("/readyz").status_code == httpx.codes.OK)
        assert names(api) == {"default", "before"}, "nothing is half done"
        assert create(api, "meanwhile").status_code == httpx.codes.CREATED
        assert names(api) == {"default", "before", "meanwhile"}
        assert platform.stop() == 0


def test_sqlite_cannot_write(tmp_path: Path) -> None:
    """As on a full disk: the kernel lets no file of the process grow."""
    directory = tmp_path / "platform"
    directory.mkdir(mode=0o700)
    authorization = asyncio.run(owner_of(sqlite_url(directory / "platform.sqlite"), directory))
    with (
        running_platform(directory, database_url="") as platform,
        httpx.Client(
            base_url=platform.url, headers={"authorization": authorization}, timeout=60
        ) as api,
    ):
        assert create(api, "before").status_code == httpx.codes.CREATED
        usual = resource.prlimit(platform.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(platform.process.pid, resource.RLIMIT_FSIZE, (1, usual[1]))
        try:
            for _ in range(3):
                # What waited for the audit log is sequenced beside this, and may notice first.
                assert_unavailable(create(api, "meanwhile"), "audit_log_unavailable")
            assert names(api) == {"default", "before"}, "what was written is still read"
        finally:
            resource.prlimit(platform.process.pid, resource.RLIMIT_FSIZE, usual)
        until(lambda: create(api, "meanwhile").status_code == httpx.codes.CREATED)
        assert names(api) == {"default", "before", "meanwhile"}
        assert platform.stop() == 0
