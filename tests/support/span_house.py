"""The door for spans, with a trace store in memory and two organizations.

``house`` is a fixture: a conftest imports it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.support.furnished import Tenant, founded, tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of
from tests.support.trace_kit import MemoryStore, export, plainly

from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.identity.directory.shelf import Content
from keylease.platform.server.ingest_access import span_door
from keylease.platform.server.services import Services
from keylease.platform.traces.ingest.intake import Intake, opened
from keylease.primitives.segments import Files

PROTOBUF = "application/x-protobuf"


class Disk(Files):
    """A disk that can be full."""

    full = False

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(descriptor, data)


class House:
    """The platform with a trace store in memory, and two organizations."""

    services: Services
    store: MemoryStore
    disk: Disk
    intake: Intake
    api: httpx.AsyncClient
    acme: Tenant
    zebra: Tenant

    async def project(self, of: Tenant, name: str) -> str:
        made = await self.services.directory.projects.create(of.owner, Content(name=name))
        return made.id

    async def key(
        self, of: Tenant, *permissions: str, project_id: str = "", ingest: bool = True
    ) -> str:
        wanted = NewApiKey(
            name="sender",
            permissions=permissions or ("trace:ingest",),
            kind=ApiKeyKind.INGEST if ingest else ApiKeyKind.API,
            project_id=project_id,
        )
        return (await self.services.identity.api_keys.create(of.owner, wanted)).text

    async def send(
        self, key: str, content: bytes | None = None, path: str = "/v1/traces", **headers: str
    ) -> httpx.Response:
        body = export("chat").SerializeToString() if content is None else content
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"content-type": PROTOBUF, "authorization": f"Bearer {key}", **named}
        return await self.api.post(path, content=body, headers=sent)

    async def settled(self) -> None:
        await self.intake.settled(self.intake.log.last_logged)

    def found(self) -> set[tuple[str, str]]:
        """Project and name of every row."""
        return {(row.project_id, row.name) for row in self.store.rows.values()}


@pytest.fixture
async def house(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[House]:
    made = House()
    made.store, made.disk = MemoryStore(), Disk()
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(founded(database, clock, tmp_path / "platform"))
        made.acme, made.zebra = await tenant(services, "Acme"), await tenant(services, "Zebra")
        made.intake = await stack.enter_async_context(
            opened(
                tmp_path / "traces",
                store=made.store,
                understanding=plainly,
                clock=clock,
                gather_seconds=0.01,
                maximum_bytes=100_000,
                disk=made.disk,
            )
        )

        async def keeping() -> Any:  # noqa: ANN401 - what the door uses of it
            return SimpleNamespace(intake=made.intake)

        door = span_door(
            services.authenticator,
            services.access,
            projects=services.traces.projects,
            keeping=keeping,
            database=database,
            clock=clock,
        )
        made.services = dataclasses.replace(services, spans=door)
        made.api = await stack.enter_async_context(client_of(server_of(made.services)))
        yield made
