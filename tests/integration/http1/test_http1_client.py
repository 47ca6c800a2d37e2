"""The pool against scripted upstreams over real sockets, on both event loops."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.http1_kit import (
    RawClient,
    RecordingReceiver,
    pool_to,
    raw_upstream,
)
from tests.support.scripted_upstreams import (
    OK,
    answering,
    ask,
    failure,
    forever,
)

from keylease.primitives.http1.limits import PoolLimits

# --- requests as they are written ----------------------------------------------------------------


async def test_a_request_has_our_host_and_framing_and_the_callers_fields() -> None:
    requests: list[bytes] = []
    async with (
        raw_upstream(answering(OK, OK, OK, requests=requests)) as port,
        pool_to(port) as pool,
    ):
        await ask(pool)
        for body in (b"", b"hello"):
            receiver = RecordingReceiver()
            pool.request(method="POST", target=b"/", headers=b"", receiver=receiver, body=body)
            await receiver.ended()
            assert receiver.body == b"ok"
        host = b"localhost:%d" % port
        assert requests == [
            b"GET /a?b HTTP/1.1\r\nhost: " + host + b"\r\nx-a: b\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: " + host + b"\r\ncontent-length: 0\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: " + host + b"\r\ncontent-length: 5\r\n\r\nhello",
        ]


@pytest.mark.parametrize("first", [True, False])
async def test_a_body_in_pieces(first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    got = b""

    async def serve(peer: RawClient, number: int) -> None:
        nonlocal got
        del number
        if not first:
            await peer.until(b"\r\n\r\n")
            peer.send(OK)
        got = await peer.until(b"0\r\n\r\n")
        peer.send(OK)
        got += await peer.until(b"hello")
        peer.send(OK)

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        if not first:
            await ask(pool)
        for length in (None, 5):
            receiver = RecordingReceiver()
            request = pool.request(
                method="POST",
                target=b"/",
                headers=b"",
                receiver=receiver,
                body=None,
                content_length=length,
            )
            for piece in (b"he", b"", b"llo"):
                request.write(piece)
                await asyncio.sleep(0.01)
            request.finish()
            await receiver.ended()
            assert receiver.body == b"ok"
        chunked, _, counted = got.partition(b"0\r\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n" in chunked
        assert counted.endswith(b"\r\ncontent-length: 5\r\n\r\nhello")


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", b"/a b", b""),
        ("GET", b"/a\r\nx: y", b""),
        ("GET", b"http://b/", b""),
        ("GE T", b"/", b""),
        ("get", b"/", b""),
        ("GET", b"/", b"x-a: b"),
        ("GET", b"/", b"x-a: b\r\n\r\nGET / HTTP/1.1\r\n"),
        ("GET", b"/", b"\r\nx-a: b\r\n"),
    ],
)
async def test_what_would_break_out_of_a_request_is_not_sent(
    method: str, target: bytes, headers: bytes
) -> None:
    async with pool_to(1) as pool:
        with pytest.raises(ValueError, match="not well formed"):
            pool.request(
                method=method, target=target, headers=headers, receiver=RecordingReceiver()
            )


# --- answers and reuse ---------------------------------------------------------------------------

REUSABLE = {
    "length": OK,
    "no-length": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
}


@pytest.mark.parametrize("name", REUSABLE)
async def test_a_connection_is_used_again_after_a_clean_end(name: str) -> None:
    connections: list[int] = []

    async def serve(peer: RawClient, number: int) -> None:
        connections.append(number)
        await answering(REUSABLE[name], OK)(peer, number)

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        assert (await ask(pool)).events[-1] == "complete"
        assert (pool.open_count, pool.idle_count) == (1, 1)
        assert (await ask(pool)).body == b"ok"
        assert connections == [0]


NOT_REUSABLE = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "http-1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "more-than-said": OK + b"!",
    "a-second-answer": OK + OK,
}


@pytest.mark.parametrize("name", NOT_REUSABLE)
async def test_a_connection_is_not_used_again_when_anything_is_odd(name: str) -> None:
    connections: list[int] = []

    async def serve(peer: RawClient, number: int) -> None:
        connections.append(number)
        await answering(NOT_REUSABLE[name], OK)(peer, number)

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        for _ in range(2):
            receiver = await ask(pool)
            assert (receiver.events[-1], receiver.body) == ("complete", b"ok")
            assert pool.idle_count == 0
        assert connections == [0, 1]


async def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    async with raw_upstream(answering(answer, OK)) as port, pool_to(port) as pool:
        receiver = await ask(pool, method="HEAD")
        assert receiver.events == ["head", "complete"]
        assert receiver.head is not None
        assert receiver.head.content_length == 500
        assert (await ask(pool)).body == b"ok"


async def test_a_body_may_end_with_the_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end"
    async with raw_upstream(answering(answer)) as port, pool_to(port) as pool:
        receiver = await ask(pool)
        assert (receiver.events[-1], receiver.body) == ("complete", b"to the end")
        assert pool.open_count == 0


async def test_a_body_that_ends_with_a_reset_is_no_whole_body() -> None:
    async def serve(peer: RawClient, number: int) -> None:
        del number
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nnot to the end")
        await peer.writer.drain()
        await asyncio.sleep(0.1)
        peer.reset()

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        receiver = await ask(pool)
        assert receiver.body == b"not to the end"
        assert failure(receiver).kind == "reset"


BROKEN = {
    "short": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "reset"),
    "unfinished-chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "reset",
    ),
    "unfinished-chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        "reset",
    ),
    "nothing": (b"", "reset"),
    "half-a-head": (b"HTTP/1.1 200 OK\r\nConten", "reset"),
    "bad-chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n",
        "protocol",
    ),
    "two-lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "protocol",
    ),
    "length-and-chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "protocol",
    ),
    "no-http": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
    "tls-alert": (b"\x15\x03\x01\x00\x02\x02\x46", "protocol"),
    "switching": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "protocol",
    ),
    "only-interim": (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK, "protocol"),
    "huge-head": (b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n", "protocol"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_fails_and_its_connection_is_gone(name: str) -> None:
    answer, kind = BROKEN[name]
    async with raw_upstream(answering(answer)) as port, pool_to(port) as pool:
        receiver = await ask(pool)
        assert receiver.events[-1] == "failed"
        assert (failure(receiver).kind, failure(receiver).sent) == (kind, True)
        assert (pool.open_count, pool.idle_count) == (0, 0)


async def test_an_answer_before_the_body_is_whole_ends_the_connection() -> None:
    async with raw_upstream(answering(OK)) as port, pool_to(port) as pool:
        receiver = RecordingReceiver()
        request = pool.request(
            method="POST", target=b"/", headers=b"", receiver=receiver, body=None
        )
        request.write(b"a part")
        await receiver.ended()
        assert receiver.body == b"ok"
        assert pool.open_count == 0
        request.write(b"ignored")
        request.finish()


# --- idle connections ----------------------------------------------------------------------------


async def test_a_connection_that_the_upstream_closes_while_idle_leaves_at_once() -> None:
    close = asyncio.Event()
    connections: list[int] = []

    async def serve(peer: RawClient, number: int) -> None:
        connections.append(number)
        await answering(OK)(peer, number)
        await close.wait()

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        await ask(pool)
        assert pool.idle_count == 1
        close.set()
        await asyncio.sleep(0.05)
        assert (pool.idle_count, pool.open_count) == (0, 0)
        assert (await ask(pool)).body == b"ok"
        assert connections == [0, 1]


async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def serve(peer: RawClient, number: int) -> None:
        await answering(OK)(peer, number)
        await asyncio.sleep(0.03)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
        await peer.reader.read()

    async with raw_upstream(serve) as port, pool_to(port) as pool:
        await ask(pool)
        await asyncio.sleep(0.1)
        assert pool.open_count == 0
        assert (await ask(pool)).body == b"ok"


async def test_idle_connections_are_reaped() -> None:
    limits = PoolLimits(idle_seconds=0.2)
    async with raw_upstream(forever) as port, pool_to(port, limits=limits) as pool:
        await asyncio.gather(*(ask(pool) for _ in range(3)))
        assert pool.open_count == 3
        for _ in range(10):  # One is enough for these; the others grow old.
            await ask(pool)
            await asyncio.sleep(0.05)
        assert pool.open_count == 1
