"""P1 for the platform: whoever steals it whole finds no key, no session and no API key in it.

Canaries go through the API of a real process: a session, an API key, and provider keys that people
paste where they do not belong. Then its directory and a back-up of its database are searched; with
PostgreSQL the server's own files (heap, write-ahead log), and every row as the database gives it,
which undoes TOAST's compression. Each has a control: a search that is blind fails.

Memory, passwords, leases and pushed records: test_p1_platform_doors.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sqlite3
from pathlib import Path

import httpx
from sqlalchemy import text
from tests.support.canaries import Family, plant, search_files
from tests.support.databases import postgres
from tests.support.furnished import bearer, first_tenant, founded
from tests.support.platform_process import running_platform
from tests.support.postgres import PostgresServer

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.primitives.clock import SystemClock

__all__ = ["postgres"]
MARK = "name-that-is-kept"
"""Stored on purpose, so it is found wherever the search is not blind."""


async def signed_in(directory: Path, url: str = "") -> str:
    clock = SystemClock()
    database = Database(url or sqlite_url(directory / "platform.sqlite"), clock=clock)
    try:
        async with founded(database, clock, directory) as services:
            await services.identity.first_start.sign_in_link()
            return await bearer(services, await first_tenant(services))
    finally:
        await database.close()


def pasted_everywhere(api: httpx.Client, key: str) -> None:
    """Where somebody might paste a provider key: each is refused, and does not repeat it."""
    body = {"name": "x", "provider": "openai", "reference": key, "purposes": ["development"]}
    answers = [
        api.post("/v1/credentials", json=body),
        api.post("/v1/projects", json={"name": "x", "description": key}),
        api.post("/v1/policy-grants", json={"name": key}),
        api.get("/v1/calls", params={"model": key}),
        api.get("/v1/audit/entries", params={"object": key}),
        api.put("/v1/vendors/helper", json={"note": key}, headers={"if-match": '"0"'}),
    ]
    for answer in answers:
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
        assert key not in answer.text


def test_a_platform_that_is_stolen_whole_holds_nothing_to_use(tmp_path: Path) -> None:
    directory, backup = tmp_path / "platform", tmp_path / "backup"
    directory.mkdir(mode=0o700)
    backup.mkdir()
    session = asyncio.run(signed_in(directory))
    family = Family()
    pasted = family.key("sk-proj-").decode()
    with running_platform(directory, database_url="") as platform:
        with httpx.Client(base_url=platform.url, headers={"authorization": session}) as api:
            assert api.post("/v1/projects", json={"name": MARK}).is_success
            made = api.post("/v1/api-keys", json={"name": "x", "permissions": ["project:read"]})
            api_key = made.json()["text"]
            pasted_everywhere(api, pasted)
        header = {"authorization": f"Bearer {api_key}"}
        assert httpx.get(f"{platform.url}/v1/projects", headers=header).is_success
        texts = [session.removeprefix("Bearer ").encode(), api_key.encode(), family.core]
        # While it runs: files, the write-ahead log among them. Then a back-up of the database.
        assert search_files(directory, secrets=texts) == []
        assert search_files(directory, secrets=[MARK.encode()])
        source = sqlite3.connect(directory / "platform.sqlite")
        copy = sqlite3.connect(backup / "copy.sqlite")
        with contextlib.closing(source), contextlib.closing(copy):
            source.backup(copy)
        assert search_files(backup, secrets=texts) == []
        assert search_files(backup, secrets=[MARK.encode()])
        assert platform.stop() == 0
    assert search_files(directory, secrets=texts) == []


async def written_out(url: str, folder: Path) -> None:
    """Every row of every table, decoded, each table in a file of its own."""
    database = Database(url, clock=SystemClock())
    try:
        async with database.reading() as tx:
            names = await tx.rows(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            )
            for name in (row["tablename"] for row in names):
                rows = await tx.rows(text(f'SELECT * FROM "{name}"'))  # noqa: S608 - a name of the catalogue
                cells = (bytes(v) if isinstance(v, bytes) else str(v).encode()
                         for row in rows for v in row.values())  # fmt: skip
                (folder / name).write_bytes(b"\n".join(cells))
    finally:
        await database.close()


async def flushed(url: str) -> None:
    """Let PostgreSQL write everything into its files."""
    database = Database(url, clock=SystemClock())
    try:
        async with database.engine.connect() as connection:
            outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await outside.execute(text("CHECKPOINT"))
    finally:
        await database.close()


def test_postgresql_that_is_stolen_whole_holds_nothing_to_use(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    directory, rows = tmp_path / "platform", tmp_path / "rows"
    directory.mkdir(mode=0o700)
    rows.mkdir()
    url = postgres.create_database(f"p1_{secrets.token_hex(4)}")
    session = asyncio.run(migrated_and_signed_in(directory, url))
    family = Family()
    pasted = family.key("sk-proj-").decode()
    with running_platform(directory, database_url=url) as platform:
        with httpx.Client(base_url=platform.url, headers={"authorization": session}) as api:
            assert api.post("/v1/projects", json={"name": MARK}).is_success
            # Long and repetitive, so that TOAST compresses it.
            note = f"{MARK} " * 90
            assert api.post("/v1/vendors", json={"name": "helper", "note": note}).is_success
            made = api.post("/v1/api-keys", json={"name": "x", "permissions": ["project:read"]})
            api_key = made.json()["text"]
            pasted_everywhere(api, pasted)
        asyncio.run(flushed(url))
        asyncio.run(written_out(url, rows))
        assert platform.stop() == 0
    texts = [session.removeprefix("Bearer ").encode(), api_key.encode(), family.core]
    for place in (postgres.data, rows):
        assert search_files(place, secrets=[MARK.encode()]), "the search is blind"
        assert search_files(place, secrets=texts) == []
    assert search_files(directory, secrets=texts) == []


async def migrated_and_signed_in(directory: Path, url: str) -> str:
    database = Database(url, clock=SystemClock())
    await migrate(database)
    await database.close()
    return await signed_in(directory, url)


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    secret = Family().key()
    planted = plant(tmp_path, secret)
    found = {finding.place for finding in search_files(tmp_path, secrets=[secret])}
    assert all(any(place.startswith(str(path)) for place in found) for path in planted)
    shutil.rmtree(tmp_path)
