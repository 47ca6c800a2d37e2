"""Fuzzing with a fixed budget: the same examples in every run.

The server must do the same whatever the cuts between its reads; what it lets through, llhttp must
read in the same way; and nothing may raise. The client must end every answer exactly once, and
only call an answer whole that llhttp calls whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.http1_kit import (
    FakeTransport,
    LocalAddress,
    RecordingReceiver,
    in_memory_server,
    no_error,
)
from tests.support.malformed_requests import MALFORMED

from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.upstream_connection import UpstreamConnection

BUDGET = settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REQUESTS = [
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /v1/chat?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /v1 HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"GET / HTTP/1.0\r\n\r\n",
] * 8 + [case.raw for case in MALFORMED if len(case.raw) < 400]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
]
SPICE = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"0", b"5", b"+",
    b"-", b"0x", b"%", b"%2e", b"%2f", b"/", b"//", b"..", b"\\", b"#", b"?", b"\x7f", b"\x80",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", CHUNKED, b"Host: b\r\n", b"chunked",
    b"GET / HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"Connection: close\r\n", b" \r\n", b"\r\n ",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffff\r\n", b"Expect: 100-continue\r\n", b"\xff",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    raw = bytearray(b"".join(draw(st.lists(st.sampled_from(seeds), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(raw)))
        match draw(st.sampled_from(["insert", "delete", "replace", "byte"])):
            case "insert":
                raw[place:place] = draw(st.sampled_from(SPICE))
            case "delete":
                del raw[place : place + draw(st.integers(1, 8))]
            case "replace":
                spice = draw(st.sampled_from(SPICE))
                raw[place : place + len(spice)] = spice
            case _:
                raw[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
    return bytes(raw)


@st.composite
def cut(draw: st.DrawFn, seeds: list[bytes]) -> tuple[bytes, list[bytes]]:
    raw = draw(mutated(seeds))
    size = len(raw)
    if draw(st.booleans()):
        return raw, [raw[n : n + 1] for n in range(size)]
    places = sorted(draw(st.sets(st.integers(0, size), max_size=6)))
    return raw, [raw[a:b] for a, b in zip([0, *places], [*places, size], strict=True) if a < b]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never runs: nothing here waits."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Seen(NamedTuple):
    method: str
    target: bytes
    body: bytes
    whole: bool


class Outcome(NamedTuple):
    seen: list[Seen]
    statuses: list[bytes]
    ended: bool


def serve(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> Outcome:
    server = in_memory_server(loop, limits=ServerLimits(target_bytes=200, header_bytes=2000))
    written = server.feed(*pieces)
    seen = [
        Seen(
            handler.head.method,
            handler.head.target,
            handler.body,
            handler.events.count("complete") == 1,
        )
        for handler in server.recorder.handlers
    ]
    statuses = [status for status in STATUS.findall(written) if status != b"100"]
    ended = server.transport.ended or server.transport.closed
    server.stop()
    return Outcome(seen, statuses, ended)


class Oracle:
    """The requests that llhttp reads from the whole stream."""

    def __init__(self, raw: bytes) -> None:
        self.seen: list[Seen] = []
        self._target = b""
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(raw)

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        self.seen.append(Seen(method, self._target, self._body, whole=True))


@BUDGET
@given(case=cut(REQUESTS))
def test_a_server_reads_a_stream_as_llhttp_does_or_refuses_it(
    loop: asyncio.AbstractEventLoop, case: tuple[bytes, list[bytes]]
) -> None:
    raw, pieces = case
    outcome = serve(loop, [raw])
    whole = [seen for seen in outcome.seen if seen.whole]
    assert whole == Oracle(raw).seen[: len(whole)]
    assert len([seen for seen in outcome.seen if not seen.whole]) <= 1
    assert len(outcome.statuses) <= len(outcome.seen) + 1
    # The same bytes in other portions give the same requests, whole ones at least.
    again = serve(loop, pieces)
    assert [seen for seen in again.seen if seen.whole] == whole
    assert (again.statuses, again.ended) == (outcome.statuses, outcome.ended)


class ResponseOracle:
    """Whether llhttp takes the stream for one final answer, and its body."""

    def __init__(self, raw: bytes) -> None:
        self.whole = False
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(raw)

    def on_body(self, body: bytes) -> None:
        if not self.whole:
            self.body += body

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.whole = True


class Answer(NamedTuple):
    end: str
    body: bytes
    to_the_end: bool
    """Only the end of the connection ended it."""


def take(pool: UpstreamPool, pieces: list[bytes]) -> Answer:
    connection = UpstreamConnection(pool)
    transport = FakeTransport()
    connection.connection_made(transport)
    receiver = RecordingReceiver()
    pool.request(method="GET", target=b"/", headers=b"", receiver=receiver)
    pool.outbox.flush()
    assert transport.written.startswith(b"GET / HTTP/1.1\r\n")
    for piece in pieces:
        if not transport.closed:
            connection.data_received(piece)
    to_the_end = "complete" not in receiver.events
    if not transport.closed:
        connection.eof_received()
    connection.connection_lost(None)
    assert receiver.events[-1] in {"complete", "failed"}
    return Answer(receiver.events[-1], receiver.body, to_the_end)


@pytest.fixture(scope="module")
def pool(loop: asyncio.AbstractEventLoop) -> Iterator[UpstreamPool]:
    async def nowhere() -> list[LocalAddress]:
        return []

    async def make() -> UpstreamPool:
        return UpstreamPool(host="a", port=80, resolve=nowhere, ssl_context=None, on_error=no_error)

    pool = loop.run_until_complete(make())
    yield pool
    loop.run_until_complete(pool.close())


INTERIM_1_0 = b"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@BUDGET
@given(case=cut(RESPONSES))
@example(case=(INTERIM_1_0, [INTERIM_1_0]))
def test_a_client_ends_every_answer_once_and_never_takes_a_part_for_the_whole(
    pool: UpstreamPool, case: tuple[bytes, list[bytes]]
) -> None:
    raw, pieces = case
    answer = take(pool, [raw])
    again = take(pool, pieces)
    assert again.end == answer.end
    if answer.end == "complete":
        oracle = ResponseOracle(raw)
        assert again.body == answer.body == oracle.body
        assert oracle.whole is not answer.to_the_end
