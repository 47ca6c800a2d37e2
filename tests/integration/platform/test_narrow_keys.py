"""A key does what it was made for, at every route: one that pushes, one of a single project."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from tests.support.furnished import Tenant, bearer, client, tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.access.permissions import INGEST, Permission
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.server.routes import all_routers
from keylease.platform.server.services import Services

PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
OPEN, SIGNED_IN = "open_to_all", "signed_in"
ABSENT = "01a00000-0000-7000-8000-0000000000ff"
NAMED = {"trace_id": "a" * 32, "span_id": "a" * 16, "digest": "a" * 64,
         "set_aside_id": f"{'1' * 19}-7", "version": "7"}  # fmt: skip
TRACES = frozenset(
    {
        Permission.TRACE_READ,
        Permission.TRACE_WRITE,
        Permission.TRACE_MANAGE,
        Permission.TRACE_EXPORT,
    }
)


def marks(part: Dependant) -> Iterator[str]:
    """What a route says that it needs."""
    if mark := getattr(part.call, "needs", ""):
        yield mark
    for below in part.dependencies:
        yield from marks(below)


ROUTES = [
    (method, route.path, next(marks(route.dependant), ""))
    for router in all_routers()
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


@dataclass(frozen=True)
class House:
    """An organization with two projects."""

    services: Services
    acme: Tenant
    own: str
    other: str

    @contextlib.asynccontextmanager
    async def keyed(self, wanted: NewApiKey) -> AsyncIterator[httpx.AsyncClient]:
        """The API, with a key of the Owner's."""
        made = await self.services.identity.api_keys.create(self.acme.owner, wanted)
        async with client(self.services, f"Bearer {made.text}") as api:
            yield api


@pytest.fixture
async def house(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[House]:
    async with services_for(database, clock, tmp_path) as services:
        acme = await tenant(services, "Acme")
        async with client(services, await bearer(services, acme)) as owner:
            own, other = [
                (await owner.post("/v1/projects", json={"name": name})).json()["id"]
                for name in ("apollo", "zeus")
            ]
        yield House(services, acme, own, other)


def filled(path: str, project_id: str) -> str:
    return PARAMETER.sub(
        lambda match: NAMED.get(match[1], project_id if match[1] == "project_id" else ABSENT), path
    )


async def test_a_key_that_pushes_opens_no_other_route(house: House) -> None:
    wanted = NewApiKey(
        name="pushes",
        permissions=tuple(sorted(permission.value for permission in INGEST)),
        kind=ApiKeyKind.INGEST,
    )
    refused = 0
    async with house.keyed(wanted) as api:
        for method, path, needs in ROUTES:
            if needs == OPEN or needs in INGEST:
                continue
            answer = await api.request(method, filled(path, house.own), headers={"if-match": '"1"'})
            assert answer.status_code == httpx.codes.FORBIDDEN, f"{method} {path}: {answer.text}"
            refused += 1
    assert refused > 100


async def test_a_key_of_one_project_reads_and_changes_no_other_traces(house: House) -> None:
    wanted = NewApiKey(
        name="apollo",
        permissions=tuple(sorted(permission.value for permission in TRACES)),
        project_id=house.own,
    )
    routes = [route for route in ROUTES if route[2] in TRACES]
    assert len(routes) > 15
    async with house.keyed(wanted) as api:
        for method, path, _ in routes:
            project_id = house.other if "{project_id}" in path else ""
            answer = await api.request(
                method, filled(path, project_id), headers={"if-match": '"1"'}
            )
            assert answer.status_code == httpx.codes.FORBIDDEN, f"{method} {path}: {answer.text}"
        # And its own are open to it, so that the walk was not blind.
        mine = await api.get(f"/v1/projects/{house.own}/trace-settings")
        assert mine.status_code == httpx.codes.OK
