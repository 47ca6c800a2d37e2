"""P9, the platform: what is missing or broken refuses; nothing is guessed, nothing happens unsaid.

Each fault is made on a server that worked a moment before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.support.databases import (
    clock,
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
    postgres,
)
from tests.support.furnished import Tenant, bearer, client, tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

from keylease.errors import AuditLogUnavailable, ConfigurationError
from keylease.platform.db.database import Database
from keylease.platform.identity.sealing import KEY_FILE
from keylease.platform.server.services import Services

__all__ = ["clock", "database", "migrated_postgres", "migrated_sqlite", "migrated_url", "postgres"]

REFUSE = "AS $$ BEGIN RAISE EXCEPTION 'shut'; END $$"
CLOSED_OUTBOX = {
    "sqlite": (
        ["CREATE TRIGGER closed BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'shut'); END"],
        ["DROP TRIGGER closed"],
    ),
    "postgresql": (
        [
            f"CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql {REFUSE}",
            "CREATE TRIGGER closed BEFORE INSERT ON outbox EXECUTE FUNCTION closed()",
        ],
        ["DROP TRIGGER closed ON outbox", "DROP FUNCTION closed()"],
    ),
}
"""How the table takes nothing, and how it does again, by dialect."""


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as opened:
        yield opened


@pytest.fixture
async def acme(services: Services) -> Tenant:
    return await tenant(services, "Acme")


async def projects(api: httpx.AsyncClient) -> set[str]:
    answer = await api.get("/v1/projects")
    assert answer.status_code == httpx.codes.OK, answer.text
    return {item["name"] for item in answer.json()["items"]}


async def test_without_an_audit_entry_nothing_happens(services: Services, acme: Tenant) -> None:
    async with client(services, await bearer(services, acme)) as api:
        assert (await api.post("/v1/projects", json={"name": "before"})).is_success
        usual = services.database.before_recording

        def refuse(organization_id: str) -> None:
            assert organization_id == acme.organization_id
            raise AuditLogUnavailable("The audit log cannot be written.")

        services.database.before_recording = refuse
        refused = await api.post("/v1/projects", json={"name": "meanwhile"})
        services.database.before_recording = usual
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert await projects(api) == {"default", "before"}


async def test_without_its_outbox_nothing_happens(services: Services, acme: Tenant) -> None:
    """The table that entries go through takes none: the change goes with it."""
    async with client(services, await bearer(services, acme)) as api:
        async with services.database.transaction() as tx:
            close, reopen = CLOSED_OUTBOX[tx.connection.dialect.name]
            for statement in close:
                await tx.connection.exec_driver_sql(statement)
        try:
            refused = await api.post("/v1/projects", json={"name": "meanwhile"})
        finally:
            async with services.database.transaction() as tx:
                for statement in reopen:
                    await tx.connection.exec_driver_sql(statement)
        assert refused.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        assert await projects(api) == {"default"}


async def test_a_clock_that_jumps_ahead_ends_what_is_limited_in_time(
    services: Services, acme: Tenant, clock: ManualClock
) -> None:
    async with client(services, await bearer(services, acme)) as api:
        made = await api.post("/v1/api-keys", json={"name": "x", "permissions": ["project:read"]})
        key = made.json()["text"]
        assert await projects(api) == {"default"}
        clock.advance(400 * 24 * 3600)
        assert (await api.get("/v1/projects")).status_code == httpx.codes.UNAUTHORIZED
    async with client(services, f"Bearer {key}") as program:
        assert (await program.get("/v1/projects")).status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
async def test_a_sign_in_key_that_others_may_read_stops_the_start(
    database: Database, clock: ManualClock, tmp_path: Path, mode: int
) -> None:
    async with services_for(database, clock, tmp_path):
        pass
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(BaseExceptionGroup) as raised:
        async with services_for(database, clock, tmp_path):
            pytest.fail("it started")
    wrong = raised.value.split(ConfigurationError)
    assert wrong[0] is not None
    assert wrong[1] is None, "nothing else went wrong"
