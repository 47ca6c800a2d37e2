"""Reading the head of one message: strict grammar first, then llhttp, then what neither checks.

Protects: a head that two readers could understand differently is refused, whole (RFC 9112
sections 2.2, 3, 5.1, 5.2 and 6; request smuggling, section 11.2).
Does not protect: against a handler that copies fields it should not; hop-by-hop fields are gone,
everything else is the sender's word.
Limits: every head gets its own llhttp parser, fed with exactly that head, so no state is carried
from one message to the next.
"""

from __future__ import annotations

from typing import Final

import httptools
import msgspec

from keylease.errors import (
    ExpectationFailed,
    MethodNotImplemented,
    RequestHeadTooLarge,
    RequestMalformed,
    RequestTooLarge,
    UpstreamBroken,
)
from keylease.primitives.http1.grammar import (
    CONTENT_LENGTH,
    DOT_SEGMENT,
    HOST,
    REQUEST_HEAD,
    RESPONSE_HEAD,
    TARGET,
)
from keylease.primitives.http1.interfaces import Headers, RequestHead, ResponseHead
from keylease.primitives.http1.limits import ServerLimits

METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
"""CONNECT and TRACE are for proxies and debuggers (RFC 9110 sections 9.3.6, 9.3.8): refused."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",  # answered here, by the server side
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 section 7.6.1, and its older relatives. ``Upgrade`` is ignored (section 7.8)."""

_CHECKED: Final = HOP_BY_HOP | {b"content-length", b"host"}


class IncomingRequest(msgspec.Struct, gc=False):
    """A request's head and what the server side needs beside it."""

    head: RequestHead
    chunked: bool
    expects_continue: bool
    version_1_0: bool


class IncomingResponse(msgspec.Struct, gc=False):
    """An answer's head and what the client side needs beside it."""

    head: ResponseHead
    chunked: bool
    closes: bool
    """The connection ends with this answer."""


class _Collected:
    """What llhttp saw."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.target = b""

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))


class _Framing:
    """The fields that decide about framing and connection, each at most once."""

    __slots__ = ("content_length", "expect", "host", "tokens", "transfer_encoding")

    def __init__(self) -> None:
        self.content_length: bytes | None = None
        self.transfer_encoding: bytes | None = None
        self.host: bytes | None = None
        self.expect: bytes | None = None
        self.tokens: frozenset[bytes] | None = None
        """Of ``Connection``, in lower case."""


def _sort_out(headers: Headers, framing: _Framing) -> Headers:
    """Take the framing out and drop hop-by-hop fields; ``ValueError`` says what is ambiguous."""
    kept: Headers = []
    for field in headers:
        name, value = field
        if name not in _CHECKED:
            kept.append(field)
        elif name == b"host":
            if framing.host is not None:
                raise ValueError("The Host field is there twice.")
            framing.host = value
            kept.append(field)
        elif name == b"content-length":
            if framing.content_length is not None:
                raise ValueError("The Content-Length field is there twice.")
            if not CONTENT_LENGTH.fullmatch(value):
                raise ValueError("The Content-Length field is not a number.")
            framing.content_length = value
            kept.append(field)
        elif name == b"transfer-encoding":
            if framing.transfer_encoding is not None:
                raise ValueError("The Transfer-Encoding field is there twice.")
            if value != b"chunked":
                raise ValueError("The only transfer coding here is chunked.")
            framing.transfer_encoding = value
        elif name == b"connection":
            tokens = frozenset(token.strip(b" \t") for token in value.lower().split(b","))
            framing.tokens = tokens if framing.tokens is None else framing.tokens | tokens
        elif name == b"expect":
            if framing.expect is not None:
                raise ValueError("The Expect field is there twice.")
            framing.expect = value
        elif name == b"te" and value.lower() == b"trailers":
            kept.append((name, b"trailers"))
    if framing.transfer_encoding is not None and framing.content_length is not None:
        raise ValueError("Content-Length and Transfer-Encoding exclude each other.")
    return kept


def _without_nominated(headers: Headers, tokens: frozenset[bytes]) -> Headers:
    """Drop the fields that ``Connection`` names (RFC 9110 section 7.6.1)."""
    named = tokens - {b"close", b"keep-alive", b"host", b"content-length", b"te"}
    return [field for field in headers if field[0] not in named] if named else headers


def parse_request_head(raw: bytes, limits: ServerLimits) -> IncomingRequest:
    """Read ``raw``, which ends with its first empty line; raises a ``RequestRefused``."""
    # 1. The grammar of every byte.
    shape = REQUEST_HEAD.fullmatch(raw)
    if shape is None:
        raise RequestMalformed("The request's head is not valid HTTP/1.1.")
    method = METHODS.get(shape[1])
    if method is None:
        raise MethodNotImplemented("The request's method is not known here.")
    version_1_0 = shape[3] == b"0"
    # 2. The target.
    target = shape[2]
    address = TARGET.fullmatch(target) if len(target) <= limits.target_bytes else None
    if address is None or (b"/." in target and DOT_SEGMENT.search(address[1])):
        raise RequestMalformed("The request's target is not a plain, unambiguous path.")
    # 3. A second, independent parser has to agree.
    seen = _Collected()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # The client would like another protocol: RFC 9110 section 7.8 lets us ignore it.
    except httptools.HttpParserError:
        raise RequestMalformed("The request's head is not valid HTTP/1.1.") from None
    if seen.target != target:
        raise RequestMalformed("The request's target is not a plain, unambiguous path.")
    if len(seen.headers) > limits.header_count:
        raise RequestHeadTooLarge("The request has too many header fields.")
    # 4. Framing and connection.
    framing = _Framing()
    try:
        headers = _sort_out(seen.headers, framing)
    except ValueError as error:
        raise RequestMalformed(str(error)) from None
    if (framing.host is None and not version_1_0) or (
        framing.host is not None and not HOST.fullmatch(framing.host)
    ):
        raise RequestMalformed("The request has no valid Host field.")
    chunked = framing.transfer_encoding is not None
    if chunked and version_1_0:
        raise RequestMalformed("HTTP/1.0 has no transfer codings.")
    length = None if framing.content_length is None else int(framing.content_length)
    if length is not None and length > limits.body_bytes:
        raise RequestTooLarge("The request's body is too large.")
    expects_continue = False
    if framing.expect is not None and not version_1_0:
        if framing.expect.lower() != b"100-continue":
            raise ExpectationFailed("The only expectation met here is 100-continue.")
        expects_continue = True
    keep_alive = not version_1_0
    if framing.tokens is not None:
        keep_alive = keep_alive and b"close" not in framing.tokens
        headers = _without_nominated(headers, framing.tokens)
    path = address[1].decode("ascii")
    query = (address[2] or b"").decode("ascii")
    has_body = chunked or bool(length)
    return IncomingRequest(
        RequestHead(method, target, path, query, headers, keep_alive, length, has_body),
        chunked,
        expects_continue,
        version_1_0,
    )


def parse_response_head(raw: bytes, *, to_head: bool, header_count: int) -> IncomingResponse:
    """Read an answer's head; raises ``UpstreamBroken``. ``to_head``: the request was a HEAD."""
    # 1. The grammar of every byte.
    shape = RESPONSE_HEAD.fullmatch(raw)
    if shape is None:
        raise UpstreamBroken("The upstream's answer is not valid HTTP/1.1.")
    version_1_0 = shape[1] == b"0"
    status = int(shape[2])
    # 2. A second, independent parser has to agree.
    seen = _Collected()
    parser = httptools.HttpResponseParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        raise UpstreamBroken("The upstream switched to another protocol.") from None
    except httptools.HttpParserError:
        raise UpstreamBroken("The upstream's answer is not valid HTTP/1.1.") from None
    if len(seen.headers) > header_count:
        raise UpstreamBroken("The upstream's answer has too many header fields.")
    # 3. Framing and connection (RFC 9112 section 6.3).
    framing = _Framing()
    try:
        headers = _sort_out(seen.headers, framing)
    except ValueError as error:
        raise UpstreamBroken(f"The upstream's answer is ambiguous: {error}") from None
    chunked = framing.transfer_encoding is not None
    if chunked and version_1_0:
        raise UpstreamBroken("The upstream's answer is ambiguous: chunked in HTTP/1.0.")
    length = None if framing.content_length is None else int(framing.content_length)
    closes = version_1_0
    if framing.tokens is not None:
        closes = closes or b"close" in framing.tokens
        headers = _without_nominated(headers, framing.tokens)
    bodiless = to_head or status < 200 or status in {204, 304}
    return IncomingResponse(
        ResponseHead(status, headers, length, not bodiless and length != 0),
        chunked and not bodiless,
        closes,
    )
