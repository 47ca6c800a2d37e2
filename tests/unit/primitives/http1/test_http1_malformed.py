"""What is malformed gets one plain answer and a close, however its bytes arrive."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from tests.support.http1_kit import Recorder, in_memory_server
from tests.support.malformed_requests import MALFORMED, Malformed

from keylease.primitives.http1.limits import ServerLimits

IN_MEMORY = pytest.mark.asyncio(loop_factories=["asyncio"])  # No loop is involved.

LIMITS = ServerLimits(body_bytes=1024 * 1024)
VALID = b"GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n"


def splits(raw: bytes, seed: int) -> list[bytes]:
    source = random.Random(seed)  # noqa: S311 - where to cut is no secret
    places = sorted(source.sample(range(1, len(raw)), min(5, len(raw) - 1)))
    return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


def refusal(written: bytes) -> tuple[int, dict[str, str]]:
    """The status and error of the one answer there is."""
    head, _, body = written.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert b"content-type: application/json" in lines
    assert b"content-length: %d" % len(body) in lines
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message"}
    return int(head.split(b" ")[1]), error


@IN_MEMORY
@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
@pytest.mark.parametrize("way", ["whole", "bytewise", "split-1", "split-2", "split-3"])
async def test_malformed_is_refused_and_nothing_reaches_a_handler(
    case: Malformed, way: str
) -> None:
    if way == "whole":
        pieces = [case.raw]
    elif way == "bytewise":
        pieces = [case.raw[n : n + 1] for n in range(len(case.raw))]
    else:
        pieces = splits(case.raw, seed=int(way[-1]))
    server = in_memory_server(asyncio.get_running_loop(), limits=LIMITS)
    status, error = refusal(server.feed(*pieces))
    assert server.recorder.handlers == []
    assert status == case.status
    if status == 400:
        assert error["code"] == "request_malformed"
    assert server.transport.ended, "the connection has to end"
    server.protocol.data_received(VALID)
    assert server.recorder.handlers == []
    server.stop()


@IN_MEMORY
@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
async def test_malformed_behind_a_valid_request_stops_the_connection(case: Malformed) -> None:
    server = in_memory_server(asyncio.get_running_loop(), limits=LIMITS)
    written = server.feed(VALID + case.raw + VALID)
    first, _, second = written.partition(b"/first ")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert refusal(second)[0] == case.status
    assert [handler.head.target for handler in server.recorder.handlers] == [b"/first"]
    server.stop()


BROKEN_LATER = {
    "second-size": b"5\r\nhello\r\nx\r\n",
    "chunk-longer-than-said": b"5\r\nhello!\r\n0\r\n\r\n",
    "chunk-shorter-than-said": b"5\r\nhell\r\n0\r\n\r\n",
    "chunk-end-bare-lf": b"5\r\nhello\n0\r\n\r\n",
    "trailer-space": b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
    "trailer-folded": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "trailer-bare-lf": b"5\r\nhello\r\n0\r\nA: b\n\r\n",
    "trailer-too-long": b"5\r\nhello\r\n0\r\nA: " + b"b" * 10_000 + b"\r\n\r\n",
}


@IN_MEMORY
@pytest.mark.parametrize("name", BROKEN_LATER)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_body_that_breaks_its_framing_is_never_complete(
    name: str, *, bytewise: bool
) -> None:
    raw = (
        b"POST /v1 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        + BROKEN_LATER[name]
    )
    pieces = [raw[n : n + 1] for n in range(len(raw))] if bytewise else [raw]
    server = in_memory_server(asyncio.get_running_loop())
    status, error = refusal(server.feed(*pieces))
    assert (status, error["code"]) == (400, "request_malformed")
    for handler in server.recorder.handlers:
        assert handler.events[-1] == "gone"
        assert "complete" not in handler.events
    server.stop()


@IN_MEMORY
async def test_a_body_over_the_limit_ends_at_the_limit() -> None:
    head = b"POST /v1 HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    recorder = Recorder()
    server = in_memory_server(
        asyncio.get_running_loop(), recorder=recorder, limits=ServerLimits(body_bytes=10)
    )
    written = server.feed(head + b"8\r\naaaaaaaa\r\n", b"8\r\naaaaaaaa\r\n")
    assert refusal(written)[0] == 413
    assert recorder.handlers[0].events == ["body", "gone"]
    server.stop()


def test_there_are_more_than_forty_cases_and_each_has_its_name() -> None:
    assert len({case.name for case in MALFORMED}) == len(MALFORMED) > 60
    assert len({case.raw for case in MALFORMED}) >= len(MALFORMED) - 1
