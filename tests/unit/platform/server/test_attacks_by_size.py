"""Bodies that are there to cost something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for

from keylease.contracts import platform_link as wire
from keylease.platform.db.database import Database
from keylease.platform.server import resources
from keylease.platform.server.app import create_app
from keylease.platform.server.edge import Edge

PIECE = b" " * 65536


class Flood:
    """A body that counts what was read of it."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.pieces):
            self.read += 1
            yield PIECE


@pytest.fixture
async def client(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        services_for(database, clock, tmp_path) as services,
        client_of(server_of(services)) as made,
    ):
        yield made


@pytest.mark.parametrize("declared", [True, False])
async def test_nothing_large_is_read_or_searched_for_a_stranger(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, declared: bool
) -> None:
    searched: list[int] = []
    monkeypatch.setattr(resources, "_check", lambda body, _: searched.append(len(body)))
    flood = Flood(400)
    headers = {"content-length": str(400 * len(PIECE))} if declared else {}
    headers["transfer-encoding"] = "" if declared else "chunked"
    answer = await client.post(
        "/v1/inventory/scans",
        content=flood,
        headers={name: value for name, value in headers.items() if value},
    )
    assert answer.status_code == 401
    assert not searched
    assert flood.read <= 1


async def test_a_body_that_never_ends_is_given_up(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with services_for(database, clock, tmp_path) as services:
        edge = Edge(create_app(services), clock=clock, hosts=["localhost"], body_seconds=0.05)
        async with client_of(edge) as client:
            answer = await client.post("/v1/sign-in/password", content=body())
            assert answer.status_code == 408
            assert answer.json()["code"] == "request_timed_out"
            # What has no body, and an answer that only waits, are not given up.
            assert (await client.get("/readyz")).is_success


@pytest.mark.parametrize("path", [wire.CALL_RECORDS, wire.AUDIT_ENTRIES])
async def test_what_no_gateway_pushes_is_not_read(client: httpx.AsyncClient, path: str) -> None:
    flood = Flood(100)
    answer = await client.post(path, content=flood, headers={wire.GATEWAY_HEADER: "unknown"})
    assert answer.status_code == 401
    assert flood.read <= 1


@pytest.mark.parametrize("path", [wire.ENROLMENTS, wire.POLL, wire.COSIGNATURES, wire.FINGERPRINTS])
async def test_what_everybody_may_send_to_the_link_is_small(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.post(path, content=Flood(100))
    assert answer.status_code == 413
