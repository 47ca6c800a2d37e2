"""The asynchronous layer: a server of coroutines and ``fetch``, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.http1_kit import RawClient, no_error, pool_to, raw_client, raw_upstream

from keylease.errors import UpstreamBroken, UpstreamTimedOut, UpstreamUnreachable
from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.limits import PoolLimits
from keylease.primitives.http1.simple import (
    AbortResponse,
    Handler,
    Request,
    Response,
    SimpleServer,
    fetch,
    serve,
)


@contextlib.asynccontextmanager
async def running(
    handler: Handler,
    *,
    on_error: Callable[[BaseException], None] = no_error,
    limits: PoolLimits | None = None,
) -> AsyncIterator[tuple[SimpleServer, UpstreamPool]]:
    server = await serve(handler, on_error=on_error)
    async with pool_to(server.addresses[0][1], limits=limits) as pool:
        try:
            yield server, pool
        finally:
            await pool.close()
            await server.close(drain_seconds=0)


async def test_a_request_and_its_answer() -> None:
    async def handler(request: Request) -> Response:
        assert request == Request(
            method="POST",
            path="/a",
            query="b=c",
            headers={**request.headers, "x-twice": "1", "x-a": "b"},
            body=b"x" * 100_000,
            peer="127.0.0.1",
        )
        return Response(201, [("X-C", "d"), ("Set-Cookie", "e"), ("Set-Cookie", "f")], b"done")

    async with running(handler) as (_, pool):
        fields = [("X-A", "b"), ("X-Twice", "1"), ("X-Twice", "2"), ("Host", "never")]
        response = await fetch(pool, "POST", "/a?b=c", fields, b"x" * 100_000)
        assert response.status == 201
        assert [field for field in response.headers if field[0] != "date"] == [
            ("x-c", "d"),
            ("set-cookie", "e"),
            ("set-cookie", "f"),
            ("content-length", "4"),
        ]
        assert await response.read() == b"done"


async def test_an_iterator_is_sent_chunk_by_chunk() -> None:
    taken = asyncio.Semaphore(0)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"bc", b"d" * 10_000):
            yield piece
            await taken.acquire()

    async def handler(request: Request) -> Response:
        del request
        return Response(body=pieces())

    async with running(handler) as (_, pool):
        got = []
        async with await fetch(pool, "GET", "/") as response:
            async for piece in response:
                got.append(piece)
                taken.release()
        assert got == [b"a", b"bc", b"d" * 10_000]


async def test_an_aborted_answer_breaks_off() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise AbortResponse

    async def handler(request: Request) -> Response:
        if request.path == "/whole":
            raise AbortResponse
        return Response(body=pieces())

    async with running(handler) as (_, pool):
        response = await fetch(pool, "GET", "/")
        got = b""
        with pytest.raises(UpstreamBroken):  # noqa: PT012 - it is the iteration that raises
            async for piece in response:
                got += piece
        assert got == b"abc"
        with pytest.raises(UpstreamBroken):
            await fetch(pool, "GET", "/whole")


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_client_that_leaves_cancels_the_handler(streaming: bool) -> None:  # noqa: FBT001 - a parameter
    events: list[str] = []
    changed = asyncio.Event()

    async def wait(name: str) -> None:
        events.append(f"{name} begun")
        changed.set()
        try:
            await asyncio.sleep(60)
        finally:
            events.append(f"{name} ended")
            changed.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        await wait("pieces")

    async def handler(request: Request) -> Response:
        del request
        if not streaming:
            await wait("handler")
        return Response(body=pieces())

    async def until(count: int) -> None:
        async with asyncio.timeout(5):
            while len(events) < count:
                changed.clear()
                await changed.wait()

    server = await serve(handler, on_error=no_error)
    async with raw_client(server.addresses[0][1]) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(1)
    await until(2)
    assert [event.split()[1] for event in events] == ["begun", "ended"]
    await server.close()


async def test_what_a_handler_raises_is_a_500_and_reported() -> None:
    errors: list[BaseException] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError("detail")

    async def handler(request: Request) -> Response:
        if request.path == "/stream":
            return Response(body=pieces())
        raise LookupError("detail")

    async with running(handler, on_error=errors.append) as (_, pool):
        response = await fetch(pool, "GET", "/")
        assert response.status == 500
        assert b"detail" not in await response.read()
        response = await fetch(pool, "GET", "/stream")
        with pytest.raises(UpstreamBroken):
            await response.read()
    assert [type(error) for error in errors] == [LookupError, LookupError]


async def test_a_slow_client_slows_the_iterator_down() -> None:
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        while made < 1000:
            made += 1
            yield b"x" * 100_000

    async def handler(request: Request) -> Response:
        del request
        return Response(body=pieces())

    async with running(handler) as (_, pool), await fetch(pool, "GET", "/") as response:
        await anext(response)
        await asyncio.sleep(0.3)
        assert made < 300
        before = made
        for _ in range(200):
            await anext(response)
        assert made > before


async def test_a_cancelled_fetch_cancels_the_request() -> None:
    gone = asyncio.Event()

    async def handler(request: Request) -> Response:
        del request
        try:
            await asyncio.sleep(60)
        finally:
            gone.set()
        return Response()

    async with running(handler) as (_, pool):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fetch(pool, "GET", "/")
        async with asyncio.timeout(5):
            await gone.wait()


async def test_failures_are_errors() -> None:
    async def silent(peer: RawClient, number: int) -> None:
        del number
        await peer.reader.read()

    limits = PoolLimits(response_seconds=0.1)
    async with raw_upstream(silent) as port, pool_to(port, limits=limits) as pool:
        with pytest.raises(UpstreamTimedOut):
            await fetch(pool, "GET", "/")
    async with pool_to(port) as pool:
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool, "GET", "/")


async def test_a_unix_socket_and_a_clean_close(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(body=request.peer.encode())

    path = str(tmp_path / "s")
    server = await serve(handler, unix_path=path, on_error=no_error)
    assert server.addresses == []
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.02)
    await server.close()
    assert (await reader.read()).endswith(b"\r\n\r\nunix")
    writer.close()
    await writer.wait_closed()
