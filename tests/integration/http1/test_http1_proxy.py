"""A server and a pool joined by the least there can be: what a proxied message goes through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.http1_kit import BareProxy, RawClient, pool_to, raw_client, raw_upstream
from tests.support.http1_kit import running_server as running

from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.limits import PoolLimits

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def proxy(upstream_port: int) -> AsyncIterator[tuple[int, UpstreamPool]]:
    limits = PoolLimits(connections=2000)
    async with (
        pool_to(upstream_port, limits=limits) as pool,
        running(lambda head, responder: BareProxy(head, responder, pool)) as (_, port),
    ):
        yield port, pool


@pytest.mark.parametrize("together", [False, True])
async def test_chunks_are_passed_one_for_one(together: bool) -> None:  # noqa: FBT001 - a parameter
    chunks = [b"a", b"data: {}\n\n", b"x" * 5000, b"\r\n0\r\n\r\n", b"e" * 17]
    wire = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    taken = asyncio.Semaphore(0)

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(CHUNKED)
        if together:
            peer.send(b"".join(wire))
        else:
            for piece in wire:  # The next leaves only when this one has arrived: nothing is held.
                peer.send(piece)
                await taken.acquire()
        peer.send(b"0\r\n\r\n")
        await peer.reader.read()

    async with (
        raw_upstream(serve) as upstream,
        proxy(upstream) as (port, _),
        raw_client(port) as client,
    ):
        client.send(GET)
        await client.until(b"\r\n\r\n")
        for piece in wire:
            assert await client.exactly(len(piece)) == piece
            taken.release()
        assert await client.exactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "begin",
    [CHUNKED + b"3\r\nabc\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
    ids=["chunked", "length"],
)
async def test_an_upstream_that_breaks_off_breaks_the_clients_answer(
    begin: bytes,
    reset: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(begin)
        await peer.writer.drain()
        await asyncio.sleep(0.03)
        if reset:
            peer.reset()

    async with (
        raw_upstream(serve) as upstream,
        proxy(upstream) as (port, _),
        raw_client(port) as client,
    ):
        client.send(GET)
        answer = await client.rest()
        assert b"abc" in answer
        assert not answer.endswith(b"0\r\n\r\n")


async def test_an_upstream_that_breaks_off_in_a_body_without_a_length_resets_the_client() -> None:
    """HTTP/1.0 knows no chunks: there only a reset says that the body is not whole."""

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(CHUNKED + b"3\r\nabc\r\n")

    async with (
        raw_upstream(serve) as upstream,
        proxy(upstream) as (port, _),
        raw_client(port) as client,
    ):
        client.send(b"GET /a HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    gone = asyncio.Event()

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(CHUNKED + b"3\r\nabc\r\n")
        with contextlib.suppress(OSError):
            await peer.reader.read()
        gone.set()

    async with raw_upstream(serve) as upstream, proxy(upstream) as (port, pool):
        async with raw_client(port) as client:
            client.send(GET)
            await client.until(b"abc\r\n")
        async with asyncio.timeout(5):
            await gone.wait()
        assert pool.open_count == 0


async def test_a_slow_reader_slows_the_upstream_down_and_memory_stays_bounded() -> None:
    sent = 0

    async def serve(peer: RawClient, number: int) -> None:
        nonlocal sent
        del number
        await peer.until(b"\r\n\r\n")
        peer.send(CHUNKED)
        piece = b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
        while sent < 100_000_000:
            peer.send(piece)
            sent += 50_000
            await peer.writer.drain()

    async with raw_upstream(serve) as upstream, proxy(upstream) as (port, _):
        sock = socket.create_connection(("127.0.0.1", port))
        with sock:
            sock.sendall(GET)
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < 40_000_000, "the kernel's buffers, and no more"
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            loop = asyncio.get_running_loop()
            for _ in range(200):
                await loop.sock_recv(sock, 1 << 20)
            assert sent > before


async def test_many_slow_streams_at_once() -> None:
    count, pieces = 400, 5
    all_have_begun = asyncio.Event()

    async def serve(peer: RawClient, number: int) -> None:
        await peer.until(b"\r\n\r\n")
        peer.send(CHUNKED)
        if number == count - 1:
            all_have_begun.set()
        await all_have_begun.wait()  # or a slow machine would use a connection twice
        for _ in range(pieces):
            await asyncio.sleep(0.1)
            peer.send(b"5\r\nhello\r\n")
        peer.send(b"0\r\n\r\n")
        await peer.reader.read()

    async with raw_upstream(serve) as upstream, proxy(upstream) as (port, pool):

        async def stream() -> bytes:
            async with raw_client(port) as client:
                client.send(GET)
                await client.until(b"\r\n\r\n")
                return await client.until(b"0\r\n\r\n")

        bodies = await asyncio.gather(*(stream() for _ in range(count)))
        assert set(bodies) == {b"5\r\nhello\r\n" * pieces + b"0\r\n\r\n"}
        assert pool.open_count == count
