"""The loopback agent over real sockets: both directions streamed, every failure said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.support.eventually import eventually

from keylease.errors import GatewayNotRunning, SettingsInvalid
from keylease.primitives.http1.simple import AbortResponse, Request, Response, serve
from keylease.sdk.agent import LoopbackAgent, loopback_socket, new_bearer


class FakeLeases:
    """Gives one lease after another, or an error."""

    def __init__(self) -> None:
        self.number = 1
        self.wait = asyncio.Event()
        self.wait.set()
        self.error: GatewayNotRunning | None = None

    async def current(self) -> str:
        await self.wait.wait()
        if self.error is not None:
            raise self.error
        return f"kll_{self.number}"

    def forget(self) -> None:
        self.number += 1


class Gateway:
    """Stands for the gateway; ``answer`` is replaced by tests."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.gone = 0
        self.status = 200
        self.break_after: int | None = None
        self.endless = False

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path == "/v1/stream":
            return Response(headers=(("content-type", "text/event-stream"),), body=self._stream())
        return Response(
            status=self.status,
            headers=(("content-type", "application/json"), ("x-request-id", "r1")),
            body=request.body or b"{}",
        )

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            for number in range(10_000 if self.endless else 5):
                if number == self.break_after:
                    raise AbortResponse
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0.01)
        finally:
            self.gone += 1


class Rig:
    """A gateway, an agent before it, and a client with the right bearer."""

    def __init__(self, gateway: Gateway, leases: FakeLeases, url: str, bearer: str) -> None:
        self.gateway = gateway
        self.leases = leases
        self.url = url
        self.errors: list[BaseException] = []
        self.client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {bearer}"}, trust_env=False
        )


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    gateway, leases, bearer = Gateway(), FakeLeases(), new_bearer()
    errors: list[BaseException] = []
    server = await serve(gateway.handle, host="127.0.0.1", on_error=errors.append)
    host, port = server.addresses[0]
    agent = LoopbackAgent(
        gateway_url=f"http://{host}:{port}", leases=leases, bearer=bearer, on_error=errors.append
    )
    listener = loopback_socket()
    await agent.start(listener)
    made = Rig(gateway, leases, f"http://127.0.0.1:{listener.getsockname()[1]}", bearer)
    made.errors = errors
    try:
        yield made
    finally:
        await made.client.aclose()
        await agent.close()
        await server.close(drain_seconds=0.1)


async def test_the_lease_takes_the_place_of_every_credential(rig: Rig) -> None:
    answer = await rig.client.post(
        "/v1/echo?a=b",
        content=b'{"x":1}',
        headers={"Cookie": "a=b", "X-Mine": "kept", "Proxy-Authorization": "no"},
    )
    assert answer.status_code == 200
    assert answer.content == b'{"x":1}'
    assert answer.headers["x-request-id"] == "r1"
    (seen,) = rig.gateway.seen
    assert (seen.path, seen.query) == ("/v1/echo", "a=b")
    assert seen.headers["authorization"] == "Bearer kll_1"
    assert seen.headers["x-mine"] == "kept"
    for name in ("cookie", "x-api-key", "proxy-authorization"):
        assert name not in seen.headers
    assert not any("klr_" in value for value in seen.headers.values())


async def test_large_and_chunked_bodies_pass(rig: Rig) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65_536

    rig.leases.wait.clear()  # the body arrives before there is a lease: it is held back, not lost
    async with asyncio.TaskGroup() as group:
        posting = group.create_task(rig.client.post("/v1/echo", content=pieces(), timeout=30))
        await asyncio.sleep(0.1)
        rig.leases.wait.set()
    assert len(posting.result().content) == 64 * 65_536


async def test_a_stream_passes_piece_for_piece(rig: Rig) -> None:
    async with rig.client.stream("GET", "/v1/stream") as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert pieces == [b"data: %d\n\n" % number for number in range(5)]


async def test_a_stream_that_breaks_is_no_clean_end(rig: Rig) -> None:
    rig.gateway.break_after = 2
    with pytest.raises(httpx.RemoteProtocolError):
        await rig.client.get("/v1/stream")


async def test_a_program_that_leaves_ends_the_call(rig: Rig) -> None:
    rig.gateway.endless = True
    async with rig.client.stream("GET", "/v1/stream") as answer:
        async for _ in answer.aiter_raw():
            break
    await eventually(lambda: rig.gateway.gone == 1)


async def test_a_refused_lease_is_not_used_again(rig: Rig) -> None:
    rig.gateway.status = 401
    assert (await rig.client.get("/v1/models")).status_code == 401
    rig.gateway.status = 200
    await rig.client.get("/v1/models")
    assert [seen.headers["authorization"] for seen in rig.gateway.seen] == [
        "Bearer kll_1",
        "Bearer kll_2",
    ]


async def test_no_lease_is_a_503_that_sdks_can_read(rig: Rig) -> None:
    rig.leases.error = GatewayNotRunning("No gateway is running.", advice="Start it.")
    answer = await rig.client.post("/v1/echo", content=b"x" * 200_000)
    assert answer.status_code == 503
    assert answer.json()["error"] == {
        "type": "keylease_agent",
        "code": "gateway_not_running",
        "message": "No gateway is running.",
    }
    assert rig.gateway.seen == []


async def test_a_gateway_that_is_gone_is_a_503() -> None:
    unused = loopback_socket()
    port = unused.getsockname()[1]
    unused.close()
    bearer, errors = new_bearer(), list[BaseException]()
    agent = LoopbackAgent(
        gateway_url=f"http://127.0.0.1:{port}",
        leases=FakeLeases(),
        bearer=bearer,
        on_error=errors.append,
    )
    listener = loopback_socket()
    await agent.start(listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models"
    async with contextlib.aclosing(httpx.AsyncClient(trust_env=False)) as client:
        answer = await client.get(url, headers={"x-api-key": bearer})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "gateway_not_running"
    await agent.close()
    assert errors == []


@pytest.mark.parametrize("url", ["localhost:4141", "ftp://x", "http://", "http://x/path"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="not of the form"):
        LoopbackAgent(gateway_url=url, leases=_no_leases(), bearer="b", on_error=print)


def _no_leases() -> FakeLeases:
    return FakeLeases.__new__(FakeLeases)


def test_bearers_are_random() -> None:
    assert new_bearer() != new_bearer()
    assert len(new_bearer()) > 40
