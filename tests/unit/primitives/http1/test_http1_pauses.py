"""Pauses and the deadlines that they stop or start, without a network."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.http1_kit import (
    FakeTransport,
    LocalAddress,
    Recorder,
    RecordingHandler,
    RecordingReceiver,
    in_memory_server,
    no_error,
)

from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.interfaces import RequestHandler, RequestHead, Responder
from keylease.primitives.http1.sweeper import NEVER
from keylease.primitives.http1.upstream_connection import UpstreamConnection

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # No loop is involved.

POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def hesitant(head: RequestHead, responder: Responder) -> RequestHandler:
    responder.pause_reading()
    return RecordingHandler(head, responder, answer=False)


async def test_a_body_waits_until_its_handler_wants_it_and_its_time_does_not_run() -> None:
    server = in_memory_server(asyncio.get_running_loop(), recorder=Recorder(hesitant))
    server.feed(POST)
    (handler,) = server.recorder.handlers
    assert handler.events == []
    assert not server.transport.is_reading()
    assert server.protocol.deadline == NEVER
    handler.responder.resume_reading()
    assert server.transport.is_reading()
    assert handler.body == b"hello"
    server.stop()


async def test_a_handler_that_takes_a_slow_body_is_waited_for_by_the_clock() -> None:
    server = in_memory_server(asyncio.get_running_loop(), recorder=Recorder(hesitant))
    server.feed(POST[:-3])
    handler = server.recorder.handlers[0]
    assert server.protocol.deadline == NEVER
    handler.responder.resume_reading()
    assert server.protocol.deadline < NEVER
    server.stop()


def quiet(head: RequestHead, responder: Responder) -> RequestHandler:
    return RecordingHandler(head, responder, answer=False)


async def test_a_slow_client_is_kept_while_it_takes_something() -> None:
    server = in_memory_server(asyncio.get_running_loop(), recorder=Recorder(quiet))
    server.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server.recorder.handlers[0].responder.start(200, [])
    server.transport.unsent = 100_000
    server.protocol.pause_writing()
    assert server.protocol.deadline < NEVER
    for unsent in (90_000, 80_000):
        server.transport.unsent = unsent
        server.protocol.expired()
        assert not server.transport.closed
    server.protocol.expired()
    assert server.transport.closed
    server.stop()


async def test_a_slow_upstream_is_kept_while_it_takes_something() -> None:
    async def nowhere() -> list[LocalAddress]:
        return []

    pool = UpstreamPool(host="a", port=80, resolve=nowhere, ssl_context=None, on_error=no_error)
    connection = UpstreamConnection(pool)
    transport = FakeTransport()
    connection.connection_made(transport)
    receiver = RecordingReceiver()
    request = pool.request(method="POST", target=b"/", headers=b"", receiver=receiver, body=None)
    assert connection.deadline == NEVER, "the client's time, not the upstream's"
    transport.unsent = 100_000
    connection.pause_writing()
    assert connection.deadline < NEVER
    transport.unsent = 90_000
    connection.expired()
    assert receiver.events == ["pause"]
    transport.unsent = 0
    connection.resume_writing()
    assert connection.deadline == NEVER
    request.finish()
    assert connection.deadline < NEVER
    transport.unsent = 100_000
    connection.pause_writing()
    connection.expired()
    assert receiver.events == ["pause", "resume", "pause", "failed"]
    assert receiver.failure is not None
    assert receiver.failure.kind == "timeout"
    await pool.close()
    pool.sweeper.stop()
