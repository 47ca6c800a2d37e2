"""What a request's head becomes, and what is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fields import fields_of

from keylease.errors import RequestMalformed, RequestRefused
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.request_head import (
    REMEMBERED_BYTES,
    REMEMBERED_HEADS,
    IncomingRequest,
    RequestHeads,
    parse_request_head,
)


def parse(line: bytes, *fields: bytes) -> IncomingRequest:
    raw = b"\r\n".join([line, b"Host: a.example", *fields]) + b"\r\n\r\n"
    return parse_request_head(raw, ServerLimits())


def test_a_head_comes_apart() -> None:
    incoming = parse(
        b"POST /v1/chat/completions?a=b%20c&d HTTP/1.1",
        b"Content-Type:application/json",
        b"X-Spaces: \t a  b \t ",
        b"X-Empty:",
        b"X-Twice: 1",
        b"x-twice: 2",
        b"Content-Length: 0012",
    )
    head = incoming.head
    assert (head.method, head.target) == ("POST", b"/v1/chat/completions?a=b%20c&d")
    assert (head.path, head.query) == ("/v1/chat/completions", "a=b%20c&d")
    assert head.headers == [
        (b"host", b"a.example"),
        (b"content-type", b"application/json"),
        (b"x-spaces", b"a  b"),
        (b"x-empty", b""),
        (b"x-twice", b"1"),
        (b"x-twice", b"2"),
        (b"content-length", b"0012"),
    ]
    assert (head.content_length, head.has_body, head.keep_alive) == (12, True, True)
    assert head.header(b"x-twice") is None
    assert head.header(b"x-spaces") == b"a  b"
    assert not incoming.chunked
    assert not incoming.expects_continue


def test_hop_by_hop_fields_do_not_come_through() -> None:
    head = parse(
        b"GET / HTTP/1.1",
        b"Connection: keep-alive, X-Private, Upgrade",
        b"connection: x-also",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic eA==",
        b"TE: gzip",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABk",
        b"X-Private: 1",
        b"X-Also: 1",
        b"X-Stays: 1",
    ).head
    assert head.headers == [(b"host", b"a.example"), (b"x-stays", b"1")]
    assert head.keep_alive


def test_te_trailers_comes_through() -> None:
    assert (b"te", b"trailers") in parse(b"GET / HTTP/1.1", b"TE: Trailers").head.headers


def test_connection_cannot_take_the_framing_away() -> None:
    head = parse(b"POST / HTTP/1.1", b"Connection: content-length, host", b"Content-Length: 5").head
    assert head.content_length == 5
    assert head.headers == [(b"host", b"a.example"), (b"content-length", b"5")]


def test_an_upgrade_is_ignored() -> None:
    head = parse(b"GET /v1 HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket").head
    assert head.headers == [(b"host", b"a.example")]
    assert not head.has_body


@pytest.mark.parametrize("value", [b"close", b"Close", b"x-a, CLOSE"])
def test_connection_close(value: bytes) -> None:
    assert not parse(b"GET / HTTP/1.1", b"Connection: " + value).head.keep_alive


def test_http_1_0_closes_and_may_do_without_host() -> None:
    incoming = parse_request_head(
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ServerLimits()
    )
    assert not incoming.head.keep_alive
    assert incoming.version_1_0


def test_http_1_0_knows_no_expectation() -> None:
    incoming = parse(b"POST / HTTP/1.0", b"Expect: 100-continue", b"Content-Length: 5")
    assert not incoming.expects_continue


def test_an_expectation() -> None:
    incoming = parse(b"POST / HTTP/1.1", b"Expect: 100-Continue", b"Content-Length: 5")
    assert incoming.expects_continue
    assert incoming.head.header(b"expect") is None


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/v1/models/gpt-4o:generateContent",
        b"/v1/files/file-abc.123/content",
        b"/v1/a...b/.well-known/.x",
        b"/.well-known/jwks.json",
        b"/v1/models/a%20b%C3%A4",
        b"/v1/files?after=a/b&x=..&y=//z&w=%2f%2e%25",
        b"/v1/audio?include[]=logprobs&q={a|b}^c",
        b"/v1/;a=b/@x,y!$&'()*+",
        b"/?",
        b"/v1/models/",
    ],
)
def test_plain_targets_are_taken(target: bytes) -> None:
    head = parse(b"GET " + target + b" HTTP/1.1").head
    assert head.target == target
    path, _, query = target.decode().partition("?")
    assert (head.path, head.query) == (path, query)


@pytest.mark.parametrize(
    "host", [b"a", b"a.example:8080", b"127.0.0.1:1", b"[::1]", b"[::1]:8080", b"a_b.example"]
)
def test_valid_hosts(host: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    assert parse_request_head(raw, ServerLimits()).head.header(b"host") == host


def test_matching_is_linear_for_hostile_heads() -> None:
    """Would take for ever if a quantifier could go back."""
    for raw in (
        b"GET /" + b"%41" * 2000 + b"% HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: " + b" \t" * 30_000 + b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 15_000 + b"\x00\r\n\r\n",
        b"GET /" + b"/." * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        with pytest.raises(RequestMalformed):
            parse_request_head(raw, ServerLimits())


PARTS = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /a?b=c HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"Host: a\r\n",
     b"host: b\r\n", b"Content-Length: 5\r\n", b"content-length: 0\r\n", b"Authorization: x\r\n",
     b"authorization: y\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
     b"Connection: authorization\r\n", b"Expect: 100-continue\r\n", b"A:\tb \r\n", b"\0\r\n",
     b"\n"],
)  # fmt: skip


@given(st.lists(st.lists(PARTS, min_size=1, max_size=6), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_remembered_head_is_what_reading_it_again_gives(heads: list[list[bytes]]) -> None:
    remembering = RequestHeads(ServerLimits())
    for parts in [*heads, *heads]:
        raw = b"".join(parts) + b"\r\n"
        try:
            expected: IncomingRequest | str = parse_request_head(raw, ServerLimits())
        except RequestRefused as refusal:
            expected = refusal.message
        try:
            found: IncomingRequest | str = remembering.read(raw)
        except RequestRefused as refusal:
            found = refusal.message
        assert fields_of(found) == fields_of(expected)


def test_the_memory_for_heads_is_bounded() -> None:
    remembering = RequestHeads(ServerLimits())
    first = b"GET /0 HTTP/1.1\r\nhost: a\r\n\r\n"
    kept = remembering.read(first)
    assert remembering.read(first) is kept
    for number in range(1, REMEMBERED_HEADS + 1):
        remembering.read(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number)
    assert remembering.read(first) is not kept
    long = b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n" % (b"y" * REMEMBERED_BYTES)
    assert remembering.read(long) is not remembering.read(long)
