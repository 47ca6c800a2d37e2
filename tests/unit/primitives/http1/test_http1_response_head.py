"""What an upstream's head becomes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fields import fields_of

from keylease.errors import UpstreamBroken
from keylease.primitives.http1.response_head import (
    REMEMBERED_HEADS,
    IncomingResponse,
    ResponseHeads,
    parse_response_head,
)


def parse(*lines: bytes, to_head: bool = False) -> IncomingResponse:
    raw = b"\r\n".join(lines) + b"\r\n\r\n"
    return parse_response_head(raw, to_head=to_head, header_count=100)


def test_a_head_comes_apart() -> None:
    incoming = parse(
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Connection: keep-alive, x-private",
        b"X-Private: c",
        b"Keep-Alive: timeout=5",
        b"Content-Length: 5",
    )
    assert incoming.head.status == 200
    assert incoming.head.headers == [
        (b"content-type", b"application/json"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"5"),
    ]
    assert (incoming.head.content_length, incoming.head.has_body) == (5, True)
    assert not incoming.chunked
    assert not incoming.closes


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xc3\xa4 b"])
def test_any_reason_phrase_will_do(line: bytes) -> None:
    assert parse(line, b"Content-Length: 0").head.status == 200


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_some_answers_never_have_a_body(status: bytes) -> None:
    assert not parse(b"HTTP/1.1 " + status + b" X", b"Content-Length: 5").head.has_body


def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    head = parse(b"HTTP/1.1 200 OK", b"Content-Length: 5", to_head=True).head
    assert (head.content_length, head.has_body) == (5, False)


def test_http_1_0_and_close_end_the_connection() -> None:
    assert parse(b"HTTP/1.0 200 OK", b"Content-Length: 5").closes
    assert parse(b"HTTP/1.1 200 OK", b"Connection: Close", b"Content-Length: 5").closes


BROKEN = {
    "two-lengths": [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 6"],
    "same-length-twice": [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 5"],
    "length-and-chunked": [
        b"HTTP/1.1 200 OK",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
    ],
    "length-sign": [b"HTTP/1.1 200 OK", b"Content-Length: +5"],
    "coding": [b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"],
    "coding-twice": [
        b"HTTP/1.1 200 OK",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked",
    ],
    "interim-1.0": [b"HTTP/1.0 100 Continue"],
    "coding-1.0": [b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"],
    "folded": [b"HTTP/1.1 200 OK", b"X-A: a", b" b"],
    "space-before-colon": [b"HTTP/1.1 200 OK", b"Content-Length : 5"],
    "bare-cr": [b"HTTP/1.1 200 OK", b"X-A: a\rb"],
    "bare-lf": [b"HTTP/1.1 200 OK", b"X-A: a\nX-B: b"],
    "nul": [b"HTTP/1.1 200 OK", b"X-A: a\x00"],
    "version": [b"HTTP/2 200 OK"],
    "status-short": [b"HTTP/1.1 20 OK"],
    "status-long": [b"HTTP/1.1 2000 OK"],
    "status-low": [b"HTTP/1.1 099 OK"],
    "status-high": [b"HTTP/1.1 600 OK"],
    "no-status": [b"HTTP/1.1 OK"],
    "request": [b"GET / HTTP/1.1"],
    "leading-line": [b"", b"HTTP/1.1 200 OK"],
    "too-many": [b"HTTP/1.1 200 OK", *[b"X-%d: a" % n for n in range(101)]],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    with pytest.raises(UpstreamBroken):
        parse(*BROKEN[name])


PARTS = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204\r\n", b"HTTP/1.1 100 \r\n",
     b"Content-Length: 5\r\n", b"content-length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
     b"Connection: close\r\n", b"X-Request-Id: a\r\n", b"x-request-id: b\r\n", b"A: \tb \r\n",
     b"\0\r\n", b"\n"],
)  # fmt: skip


@given(st.lists(st.tuples(st.lists(PARTS, min_size=1, max_size=5), st.booleans()), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_remembered_head_is_what_reading_it_again_gives(
    heads: list[tuple[list[bytes], bool]],
) -> None:
    remembering = ResponseHeads(100)
    for parts, to_head in [*heads, *heads]:
        raw = b"".join(parts) + b"\r\n"
        try:
            expected: IncomingResponse | str = parse_response_head(
                raw, to_head=to_head, header_count=100
            )
        except UpstreamBroken as error:
            expected = error.message
        try:
            found: IncomingResponse | str = remembering.read(raw, to_head=to_head)
        except UpstreamBroken as error:
            found = error.message
        assert fields_of(found) == fields_of(expected)


def test_the_memory_for_heads_is_bounded() -> None:
    remembering = ResponseHeads(100)
    first = b"HTTP/1.1 200 OK\r\nx: 0\r\n\r\n"
    kept = remembering.read(first, to_head=False)
    assert remembering.read(first, to_head=False) is kept
    assert remembering.read(first, to_head=True) is not kept
    for number in range(1, REMEMBERED_HEADS + 1):
        remembering.read(b"HTTP/1.1 200 OK\r\nx: %d\r\n\r\n" % number, to_head=False)
    assert remembering.read(first, to_head=False) is not kept
