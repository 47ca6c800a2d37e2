"""The server side when somebody is slow, leaves, asks too much or is broken; on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import pytest
from tests.support.http1_kit import (
    RawClient,
    Recorder,
    RecordingHandler,
    no_error,
    raw_client,
    running_server,
)
from tests.support.malformed_requests import MALFORMED

from keylease.primitives.http1.interfaces import RequestHandler, RequestHead, Responder
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.server import Http1Server

GET = b"GET /%s HTTP/1.1\r\nHost: a.example\r\n\r\n"


def silent(head: RequestHead, responder: Responder) -> RequestHandler:
    return RecordingHandler(head, responder, answer=False)


# --- time-outs and limits ------------------------------------------------------------------------


async def test_a_slow_head_times_out_although_bytes_keep_coming() -> None:
    limits = ServerLimits(header_seconds=0.3)
    recorder = Recorder()
    async with running_server(recorder, limits=limits) as (_, port), raw_client(port) as client:

        async def drip() -> None:
            with contextlib.suppress(OSError):
                for byte in GET % (b"x" * 1000):
                    client.send(bytes([byte]))
                    await asyncio.sleep(0.02)

        dripping = asyncio.get_running_loop().create_task(drip())
        answer = await client.rest()
        dripping.cancel()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request_timed_out" in answer
        assert recorder.handlers == []


async def test_a_client_that_says_nothing_is_closed_without_an_answer() -> None:
    limits = ServerLimits(header_seconds=0.2)
    async with running_server(Recorder(), limits=limits) as (_, port), raw_client(port) as client:
        assert await client.rest() == b""


async def test_a_body_that_stops_times_out_and_one_that_is_slow_does_not() -> None:
    limits = ServerLimits(body_seconds=0.3)
    recorder = Recorder()
    async with running_server(recorder, limits=limits) as (_, port):
        post = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"
        async with raw_client(port) as client:
            client.send(post)
            for byte in b"12345678":
                await asyncio.sleep(0.08)
                client.send(bytes([byte]))
            assert (await client.answer())[1] == b"/b 12345678"
        async with raw_client(port) as client:
            client.send(post + b"1234")
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert recorder.handlers[1].events == ["body", "gone"]


async def test_an_idle_connection_is_closed() -> None:
    limits = ServerLimits(idle_seconds=0.2)
    async with running_server(Recorder(), limits=limits) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        await client.answer()
        assert await client.rest() == b""


async def test_a_connection_that_was_read_slowly_is_closed_when_idle_all_the_same() -> None:
    size = 8 * 1024 * 1024

    def answer(head: RequestHead, responder: Responder) -> RequestHandler:
        responder.send(200, [], b"x" * size)
        return RecordingHandler(head, responder)

    limits = ServerLimits(idle_seconds=0.3, write_seconds=5)
    async with running_server(answer, limits=limits) as (_, port), raw_client(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # both loops have it
        client.send(GET % b"a")
        await asyncio.sleep(0.1)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        assert len((await client.answer())[1]) == size
        assert await client.rest() == b""


async def test_a_handler_may_take_longer_than_any_time_out() -> None:
    limits = ServerLimits(header_seconds=0.1, body_seconds=0.1, idle_seconds=0.1)
    recorder = Recorder(silent)
    async with running_server(recorder, limits=limits) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        responder = (await recorder.nth(0)).responder
        await asyncio.sleep(0.4)
        responder.send(200, [], b"late")
        assert (await client.answer())[1] == b"late"


async def test_a_client_that_never_reads_is_cut_off() -> None:
    limits = ServerLimits(write_seconds=0.3)
    recorder = Recorder(silent)
    async with running_server(recorder, limits=limits) as (server, port), raw_client(port) as c:
        c.writer.transport.pause_reading()  # type: ignore[attr-defined]  # both loops have it
        c.send(GET % b"a")
        handler = await recorder.nth(0)
        handler.responder.start(200, [])
        while "pause" not in handler.events:
            handler.responder.write(b"x" * 65536)
            await asyncio.sleep(0)
        await handler.until("gone")
        assert len(server.connections) == 0


async def test_too_many_connections_get_a_503() -> None:
    limits = ServerLimits(connections=2)
    async with running_server(Recorder(), limits=limits) as (_, port):
        async with raw_client(port) as first, raw_client(port) as second:
            for client in (first, second):
                client.send(GET % b"a")
                await client.answer()
            async with raw_client(port) as third:
                answer = await third.rest()
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"connections_exhausted" in answer
        await asyncio.sleep(0.05)
        async with raw_client(port) as fourth:
            fourth.send(GET % b"a")
            await fourth.answer()


# --- back-pressure, disconnects, defects of handlers ---------------------------------------------


async def test_a_slow_reader_pauses_the_handler_and_a_fast_one_lets_it_go_on() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # both loops have it
        client.send(GET % b"a")
        handler = await recorder.nth(0)
        handler.responder.start(200, [])
        while "pause" not in handler.events:
            handler.responder.write(b"x" * 65536)
            await asyncio.sleep(0)
        assert "resume" not in handler.events

        async def read() -> bytes:
            data = b""
            while not data.endswith(b"\r\n0\r\n\r\n"):
                data += await client.reader.read(65536)
            return data

        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        reading = asyncio.get_running_loop().create_task(read())
        await handler.until("resume")
        handler.responder.finish()
        async with asyncio.timeout(5):
            assert len(await reading) > 65536


async def test_a_handler_pauses_the_client() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with sock:
            sock.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            handler = await recorder.nth(0)
            handler.responder.pause_reading()
            idle_since = time.monotonic()
            while time.monotonic() - idle_since < 0.3:
                try:
                    sock.send(b"x" * 65536)
                    idle_since = time.monotonic()
                except BlockingIOError:
                    await asyncio.sleep(0.01)
            assert len(handler.body) <= 256 * 1024
            handler.responder.resume_reading()
            before = len(handler.body)
            await asyncio.sleep(0.1)
            assert len(handler.body) > before


async def test_a_client_that_leaves_is_reported_once() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            handler = await recorder.nth(0)
            await handler.until("complete")
        await handler.until("gone")
        handler.responder.send(200, [], b"to nobody")
        handler.responder.abort()
        assert handler.events == ["complete", "gone"]


async def test_a_client_that_leaves_in_a_stream_is_reported() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            handler = await recorder.nth(0)
            handler.responder.start(200, [])
            handler.responder.write(b"abc")
            await client.until(b"abc\r\n")
            client.writer.transport.abort()
        await handler.until("gone")
        handler.responder.write(b"to nobody")
        handler.responder.finish()


async def test_an_aborted_answer_is_broken_for_the_client() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port):
        async with raw_client(port) as client:
            client.send(GET % b"a")
            responder = (await recorder.nth(0)).responder
            responder.start(200, [])
            responder.write(b"abc")
            responder.abort()
            answer = await client.rest()
            assert answer.endswith(b"3\r\nabc\r\n"), "the last chunk must be missing"
        async with raw_client(port) as client:
            client.send(b"GET /a HTTP/1.0\r\n\r\n")
            responder = (await recorder.nth(1)).responder
            responder.start(200, [])
            responder.write(b"abc")
            responder.abort()
            with pytest.raises(ConnectionResetError):  # An orderly end would look like a whole one.
                await client.rest()


class Defective(RecordingHandler):
    def request_complete(self) -> None:
        if self.head.path == "/begun":
            self.responder.start(200, [])
            self.responder.write(b"abc")
        raise LookupError("secret detail")


async def test_a_defect_of_a_handler_is_a_plain_500_or_a_broken_answer() -> None:
    errors: list[BaseException] = []
    recorder = Recorder(Defective)
    async with running_server(recorder, on_error=errors.append) as (_, port):
        async with raw_client(port) as client:
            client.send(GET % b"plain")
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"secret detail" not in answer
        async with raw_client(port) as client:
            client.send(GET % b"begun")
            assert (await client.rest()).endswith(b"3\r\nabc\r\n")
    assert [type(error) for error in errors] == [LookupError, LookupError]


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x-a", b"b\r\nset-cookie: c")],
        [(b"x-a\r\nx-b", b"c")],
        [(b"x-a", b"b\nc")],
        [(b"x-a", b"b\x00c")],
    ],
)
async def test_a_handler_cannot_split_its_answer(fields: list[tuple[bytes, bytes]]) -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(GET % b"a")
        responder = (await recorder.nth(0)).responder
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            responder.send(200, fields, b"")
        responder.send(200, [], b"clean")
        assert (await client.answer())[1] == b"clean"


async def test_an_answer_of_another_length_than_announced_is_broken() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port):
        for number, size in enumerate((2, 10)):
            async with raw_client(port) as client:
                client.send(GET % b"a")
                responder = (await recorder.nth(number)).responder
                responder.start(200, [], content_length=5)
                with pytest.raises(ValueError, match="than its head said"):  # noqa: PT012 - either
                    responder.write(b"x" * size)
                    responder.finish()
                body = (await client.rest()).partition(b"\r\n\r\n")[2]
                assert len(body) < 5


async def test_answering_twice_is_a_defect_and_changes_nothing() -> None:
    recorder = Recorder(silent)
    async with running_server(recorder) as (_, port), raw_client(port) as client:
        client.send(GET % b"a" + GET % b"b")
        first = (await recorder.nth(0)).responder
        with pytest.raises(RuntimeError):
            first.write(b"x")
        first.send(200, [], b"first")
        second = (await recorder.nth(1)).responder
        with pytest.raises(RuntimeError):
            first.send(200, [], b"x")
        with pytest.raises(RuntimeError):
            first.write(b"x")
        with pytest.raises(RuntimeError):
            first.finish()
        first.abort()
        second.send(200, [], b"second")
        assert (await client.answer())[1] == b"first"
        assert (await client.answer())[1] == b"second"


# --- drain and listening -------------------------------------------------------------------------


async def test_drain_closes_idle_connections_and_waits_for_busy_ones() -> None:
    recorder = Recorder(silent)
    limits = ServerLimits(linger_seconds=0.2)
    server = Http1Server(recorder, limits=limits, on_error=no_error)
    await server.listen(host="127.0.0.1")
    port = server.addresses[0][1]
    async with raw_client(port) as idle, raw_client(port) as busy:
        idle.send(GET % b"idle")
        (await recorder.nth(0)).responder.send(200, [], b"")
        await idle.answer()
        busy.send(GET % b"busy" + GET % b"never")
        responder = (await recorder.nth(1)).responder
        draining = asyncio.get_running_loop().create_task(server.drain(5))
        assert await idle.rest() == b""
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", port)
        assert not draining.done()
        responder.send(200, [], b"done")
        answer = await busy.rest()
        assert b"connection: close" in answer
        assert answer.endswith(b"\r\n\r\ndone")
        async with asyncio.timeout(5):
            await draining
        assert len(recorder.handlers) == 2


async def test_drain_cuts_what_takes_too_long() -> None:
    recorder = Recorder(silent)
    server = Http1Server(recorder, on_error=no_error)
    await server.listen(host="127.0.0.1")
    async with raw_client(server.addresses[0][1]) as client:
        client.send(GET % b"a")
        handler = await recorder.nth(0)
        async with asyncio.timeout(5):
            await server.drain(0.1)
        assert handler.events[-1] == "gone"
        with contextlib.suppress(ConnectionResetError):
            assert await client.rest() == b""


async def test_small_packets_are_not_delayed() -> None:
    async with running_server(Recorder()) as (server, port), raw_client(port) as client:
        client.send(GET % b"a")
        await client.answer()
        (connection,) = server.connections.sweeper.members
        sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # looking inside
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_unix_socket(tmp_path: Path) -> None:
    recorder = Recorder()
    server = Http1Server(recorder, on_error=no_error)
    path = str(tmp_path / "s")
    await server.listen(unix_path=path)
    reader, writer = await asyncio.open_unix_connection(path)
    client = RawClient(reader, writer)
    client.send(GET % b"a")
    assert (await client.answer())[1] == b"/a "
    assert recorder.handlers[0].responder.peer == "unix"
    writer.close()
    await writer.wait_closed()
    await server.drain(1)


async def test_a_bound_socket_and_the_peer() -> None:
    recorder = Recorder()
    server = Http1Server(recorder, on_error=no_error)
    sock = socket.create_server(("127.0.0.1", 0))
    await server.listen(sock=sock)
    assert server.addresses == [sock.getsockname()]
    async with raw_client(server.addresses[0][1]) as client:
        client.send(GET % b"a")
        await client.answer()
        assert recorder.handlers[0].responder.peer == "127.0.0.1"
    await server.drain(1)


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
async def test_malformed_over_a_socket(case: tuple[str, int, bytes]) -> None:
    _, status, raw = case
    recorder = Recorder()
    limits = ServerLimits(body_bytes=1024 * 1024)
    async with running_server(recorder, limits=limits) as (_, port), raw_client(port) as client:
        client.send(raw)
        assert (await client.rest()).startswith(b"HTTP/1.1 %d " % status)
        assert recorder.handlers == []
