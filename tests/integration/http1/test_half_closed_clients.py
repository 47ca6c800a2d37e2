"""Clients that closed their sending side: who still reads gets its answer, who left is noticed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.support.eventually import eventually
from tests.support.http1_kit import (
    BareProxy,
    RawClient,
    Recorder,
    RecordingHandler,
    pool_to,
    raw_client,
    raw_upstream,
    running_server,
)

from keylease.primitives.http1.interfaces import RequestHandler, RequestHead, Responder
from keylease.primitives.http1.limits import ServerLimits

GET = b"GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n"
OLD = b"GET /%s HTTP/1.0\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
QUICK = ServerLimits(linger_seconds=0.08)
"""Sweeps every 20 ms."""


def silent(head: RequestHead, responder: Responder) -> RequestHandler:
    return RecordingHandler(head, responder, answer=False)


async def no_more(client: RawClient) -> None:
    """The client has said everything."""
    await client.writer.drain()
    client.writer.write_eof()


async def test_a_half_closed_client_gets_its_answer() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder, limits=QUICK) as (_, port), raw_client(port) as client:
        client.send(POST % b"a" + b"body")
        await no_more(client)
        handler = await recorder.nth(0)
        assert await client.until(b"\r\n\r\n") == CONTINUE, "it was asked whether it is there"
        handler.responder.send(200, [], b"here")
        answer = await client.rest()
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert head.replace(CONTINUE, b"").startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close" in head
    assert body == b"here"
    assert handler.events == ["body", "complete"]


async def test_a_half_closed_client_gets_a_stream_with_all_its_chunks() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder, limits=QUICK) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        handler = await recorder.nth(0)
        handler.responder.start(200, [])
        handler.responder.write(b"first")
        await client.until(b"5\r\nfirst\r\n")
        await no_more(client)
        assert await client.exactly(1) == b"0", "the beginning of the next chunk's size"
        handler.responder.write(b"second")
        assert await client.until(b"second\r\n") == b"6\r\nsecond\r\n"
        handler.responder.finish()
        assert await client.rest() in (b"0\r\n\r\n", b"00\r\n\r\n")


async def test_a_half_closed_pipeline_is_answered_to_its_end() -> None:
    async with running_server(Recorder()) as (_, port), raw_client(port) as client:
        client.send(GET % b"a" + GET % b"b" + GET % b"c")
        await no_more(client)
        answers = await client.rest()
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answers.endswith(b"/c ")


async def test_an_http_1_0_client_that_half_closes_gets_an_answer_that_is_there() -> None:
    async with running_server(Recorder()) as (_, port), raw_client(port) as client:
        client.send(OLD % b"a")
        await no_more(client)
        assert (await client.rest()).endswith(b"/a ")


async def test_what_cannot_be_told_apart_is_taken_for_gone() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(OLD % b"a")
        await no_more(client)
        await (await recorder.nth(0)).until("gone")
        assert await client.rest() == b""


@pytest.mark.parametrize("sent", [POST % b"a" + b"bo", GET % b"a" + GET[:10]])
async def test_what_is_missing_of_a_request_does_not_come_any_more(sent: bytes) -> None:
    recorder = Recorder()
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(sent)
        await no_more(client)
        answer = await client.rest()
    assert answer.count(b"HTTP/1.1") == sent.startswith(b"GET")
    [handler] = recorder.handlers
    assert handler.events[-1] == ("complete" if sent.startswith(b"GET") else "gone")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_closed_both_sides_is_noticed(begun: bool) -> None:  # noqa: FBT001 - a parameter
    recorder = Recorder(silent)
    async with running_server(recorder, limits=QUICK) as (server, port):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            handler = await recorder.nth(0)
            if begun:
                handler.responder.start(200, [])
                await client.until(b"\r\n\r\n")
        await handler.until("gone")
        assert handler.events == ["complete", "gone"]
        await eventually(lambda: len(server.connections) == 0)


async def test_a_client_that_half_closes_and_leaves_later_is_noticed() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder, limits=QUICK) as (_, port):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            await no_more(client)
            handler = await recorder.nth(0)
            await client.until(CONTINUE)
            assert "gone" not in handler.events
        await handler.until("gone")


@pytest.mark.parametrize("leaves", [False, True])
async def test_through_a_proxy(leaves: bool) -> None:  # noqa: FBT001 - a parameter
    asked, gone, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(peer: RawClient, number: int) -> None:
        del number
        await peer.until(b"\r\n\r\n")
        asked.set()
        waiting = [asyncio.ensure_future(peer.reader.read()), asyncio.ensure_future(go_on.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting[0].done():
            gone.set()
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        for one in waiting:
            if not one.cancelled():
                with contextlib.suppress(OSError):
                    one.result()

    async with (
        raw_upstream(serve) as upstream,
        pool_to(upstream) as pool,
        running_server(lambda h, r: BareProxy(h, r, pool), limits=QUICK) as (_, port),
    ):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            async with asyncio.timeout(5):
                await asked.wait()
            if not leaves:
                await no_more(client)
                await client.until(CONTINUE)
                go_on.set()
                assert (await client.rest()).endswith(b"\r\n\r\nthere")
        async with asyncio.timeout(5):
            await (gone if leaves else go_on).wait()
    assert gone.is_set() is leaves
