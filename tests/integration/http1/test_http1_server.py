"""The server side over real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from tests.support.http1_kit import (
    Recorder,
    RecordingHandler,
    raw_client,
    running_server,
)

from keylease.primitives.http1.interfaces import RequestHandler, RequestHead, Responder
from keylease.primitives.http1.limits import ServerLimits

GET = b"GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n"


def silent(head: RequestHead, responder: Responder) -> RequestHandler:
    return RecordingHandler(head, responder, answer=False)


# --- keep-alive, pipelining, framing -------------------------------------------------------------


async def test_a_connection_is_kept_alive() -> None:
    async with running_server(Recorder()) as (_, port), raw_client(port) as client:
        for name in (b"one", b"two", b"three"):
            client.send(GET % name)
            head, body = await client.answer()
            assert head.startswith(b"HTTP/1.1 200 OK\r\nx-a: b\r\ndate: ")
            assert b"connection" not in head
            assert body == b"/%s " % name


async def test_answers_of_a_pipeline_come_in_order_and_one_after_the_other() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"".join(GET % b"%d" % n for n in range(5)))
        for number in range(5):
            handler = await recorder.nth(number)
            await handler.until("complete")
            await client.nothing(0.02)
            assert len(recorder.handlers) == number + 1, "the next is started too early"
            handler.responder.send(200, [], b"%d" % number)
            assert (await client.answer())[1] == b"%d" % number


async def test_a_long_pipeline_is_not_read_ahead_without_bound() -> None:
    recorder = Recorder(silent)
    limits = ServerLimits(pipeline_bytes=1024)
    async with running_server(recorder, limits=limits) as (server, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with sock:
            request = GET % (b"x" * 900)
            total = 0
            deadline = time.monotonic() + 5
            idle_since = time.monotonic()
            while time.monotonic() - idle_since < 0.3:
                try:
                    total += sock.send(request * 64)
                    idle_since = time.monotonic()
                except BlockingIOError:
                    await asyncio.sleep(0.01)
                assert time.monotonic() < deadline, "the server reads on and on"
            assert len(recorder.handlers) == 1
            (connection,) = server.connections.sweeper.members
            assert len(connection._pending) <= 256 * 1024 + 1024  # type: ignore[attr-defined]  # looking inside


async def test_a_pipeline_whose_answers_are_not_read_does_not_go_on() -> None:
    count, size = 600, 64 * 1024

    def answer(head: RequestHead, responder: Responder) -> RequestHandler:
        responder.send(200, [], b"x" * size)
        return RecordingHandler(head, responder)

    recorder = Recorder(answer)
    async with running_server(recorder) as (server, port), raw_client(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # both loops have it
        client.send(GET % b"a" * count)
        await asyncio.sleep(0.2)
        assert len(recorder.handlers) < count / 2
        (connection,) = server.connections.sweeper.members
        unsent = connection._transport.get_write_buffer_size()  # type: ignore[attr-defined]  # looking inside
        assert unsent <= 4 * size
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        for _ in range(count):
            await client.answer()


async def test_chunked_requests_and_answers() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(
            b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n" + GET % b"next"
        )
        handler = await recorder.nth(0)
        await handler.until("complete")
        assert handler.pieces == [b"hello", b" world"]
        handler.responder.start(200, [(b"content-type", b"text/plain")])
        head = await client.until(b"\r\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in head
        for piece in (b"a", b"bc", b"x" * 300):
            handler.responder.write(piece)
            handler.responder.write(b"")
            assert await client.exactly(len(b"%x" % len(piece)) + 4 + len(piece)) == (
                b"%x\r\n%b\r\n" % (len(piece), piece)
            )
        handler.responder.finish()
        assert await client.exactly(5) == b"0\r\n\r\n"
        (await recorder.nth(1)).responder.send(200, [], b"next")
        assert (await client.answer())[1] == b"next"


async def test_an_answer_with_a_length_is_streamed_without_chunks() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        responder = (await recorder.nth(0)).responder
        responder.start(200, [], content_length=4)
        responder.write(b"ab")
        responder.write(b"cd")
        responder.finish()
        assert (await client.answer())[1] == b"abcd"


async def test_head_gets_a_length_and_no_body() -> None:
    recorder = Recorder()
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"b")
        assert b"content-length: 3\r\n" in await client.until(b"\r\n\r\n")
        assert (await client.answer())[1] == b"/b "


async def test_a_streamed_answer_to_head_has_no_body_either() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
        responder = (await recorder.nth(0)).responder
        responder.start(200, [], content_length=1000)
        responder.write(b"never sent")
        responder.finish()
        assert b"content-length: 1000\r\n" in await client.until(b"\r\n\r\n")
        await client.nothing()


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_neither_body_nor_length(status: int) -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        for number in range(2):
            client.send(GET % b"a")
            (await recorder.nth(number)).responder.send(status, [], b"")
            head = await client.until(b"\r\n\r\n")
            assert b"content-length" not in head
            assert b"transfer-encoding" not in head


async def test_http_1_0_is_answered_without_chunks_and_closed() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        responder = (await recorder.nth(0)).responder
        responder.start(200, [])
        responder.write(b"ab")
        responder.write(b"cd")
        responder.finish()
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == b"abcd"


async def test_nothing_is_read_after_connection_close() -> None:
    recorder = Recorder()
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % b"b")
        answer = await client.rest()
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
        assert len(recorder.handlers) == 1


async def test_one_empty_line_before_a_request_is_ignored() -> None:
    async with running_server(Recorder()) as (_, port), raw_client(port) as client:
        client.send(b"\r\n" + GET % b"a" + b"\r\n" + GET % b"b")
        assert (await client.answer())[1] == b"/a "
        assert (await client.answer())[1] == b"/b "


async def test_framing_and_connection_fields_of_a_handler_are_dropped() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        fields = [
            (b"content-length", b"99"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"upgrade"),
            (b"keep-alive", b"x"),
            (b"upgrade", b"h2c"),
            (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (b"x-a", b"b"),
        ]
        (await recorder.nth(0)).responder.send(200, fields, b"abc")
        head, body = await client.answer()
        assert head == (
            b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-a: b\r\n"
            b"content-length: 3\r\n\r\n"
        )
        assert body == b"abc"


# --- 100-continue and early answers --------------------------------------------------------------

EXPECT = b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


async def test_the_body_is_asked_for_when_the_handler_takes_it() -> None:
    recorder = Recorder()
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(EXPECT)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b"/e hello"


async def test_the_body_is_not_asked_for_when_the_answer_is_no() -> None:
    def refuse(head: RequestHead, responder: Responder) -> RequestHandler:
        responder.send(401, [], b"no")
        return RecordingHandler(head, responder)

    recorder = Recorder(refuse)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(EXPECT)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer
        assert b"100 Continue" not in answer
        assert recorder.handlers[0].events == []


async def test_the_body_is_asked_for_late_when_the_handler_hesitates() -> None:
    def hesitate(head: RequestHead, responder: Responder) -> RequestHandler:
        responder.pause_reading()
        return RecordingHandler(head, responder)

    recorder = Recorder(hesitate)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(EXPECT)
        handler = await recorder.nth(0)
        await client.nothing()
        handler.responder.resume_reading()
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert (await client.answer())[1] == b"/e hello"


async def test_a_body_that_comes_unasked_is_not_asked_for() -> None:
    async with running_server(Recorder()) as (_, port), raw_client(port) as client:
        client.send(EXPECT + b"hello")
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b"/e hello"


@pytest.mark.parametrize("size", [10, 100_000])
async def test_an_early_answer_arrives_although_the_body_is_unfinished(size: int) -> None:
    def refuse(head: RequestHead, responder: Responder) -> RequestHandler:
        responder.send(429, [], b"later")
        return RecordingHandler(head, responder)

    recorder = Recorder(refuse)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        head, body = await client.answer()
        assert body == b"later"
        assert recorder.handlers[0].events == []
        if size > 64 * 1024:
            assert b"connection: close" in head
            client.send(b"x" * size)
            assert await client.rest() == b""
        else:  # Little is left: it is read and the connection goes on.
            assert b"connection: close" not in head
            client.send(b"x" * size + GET % b"b")
            assert (await client.answer())[1] == b"later"
