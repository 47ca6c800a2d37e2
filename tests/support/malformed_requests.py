"""Requests that must be refused before anything reaches a handler: name, status, bytes."""

from __future__ import annotations

from typing import Final, NamedTuple


class Malformed(NamedTuple):
    name: str
    status: int
    raw: bytes


def _head(line: bytes, *fields: bytes, host: bool = True) -> bytes:
    lines = [line, *([b"Host: a.example"] if host else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _get(*fields: bytes) -> bytes:
    return _head(b"GET /v1/models HTTP/1.1", *fields)


def _post(*fields: bytes, body: bytes = b"") -> bytes:
    return _head(b"POST /v1/chat HTTP/1.1", *fields) + body


def _target(target: bytes) -> bytes:
    return _head(b"GET " + target + b" HTTP/1.1")


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", body=body)


_SMUGGLED: Final = b"GET /admin HTTP/1.1\r\nHost: a.example\r\n\r\n"

MALFORMED: Final = [
    # Two lengths, or none that is certain (RFC 9112 section 6).
    Malformed("two-lengths", 400, _post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    Malformed(
        "same-length-twice", 400, _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")
    ),
    Malformed("length-list", 400, _post(b"Content-Length: 5, 5", body=b"hello")),
    Malformed("length-plus", 400, _post(b"Content-Length: +5", body=b"hello")),
    Malformed("length-minus", 400, _post(b"Content-Length: -5", body=b"hello")),
    Malformed("length-hex", 400, _post(b"Content-Length: 0x5", body=b"hello")),
    Malformed("length-inner-space", 400, _post(b"Content-Length: 5 5", body=b"hello")),
    Malformed("length-underscore", 400, _post(b"Content-Length: 1_0", body=b"hello")),
    Malformed("length-empty", 400, _post(b"Content-Length: ", body=b"")),
    Malformed("length-fraction", 400, _post(b"Content-Length: 5.0", body=b"hello")),
    Malformed("length-non-ascii-digit", 400, _post(b"Content-Length: \xb2", body=b"he")),
    Malformed("length-overflow", 400, _post(b"Content-Length: 18446744073709551621")),
    Malformed(
        "length-and-chunked",
        400,
        _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SMUGGLED),
    ),
    Malformed(
        "chunked-and-length",
        400,
        _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    ),
    Malformed("coding-gzip", 400, _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Malformed("coding-identity", 400, _post(b"Transfer-Encoding: identity", body=b"hello")),
    Malformed("coding-case", 400, _post(b"Transfer-Encoding: cHuNkEd", body=b"0\r\n\r\n")),
    Malformed("coding-x", 400, _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    Malformed("coding-quoted", 400, _post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    Malformed(
        "coding-twice",
        400,
        _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Malformed(
        "coding-repeated", 400, _post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")
    ),
    Malformed("coding-empty", 400, _post(b"Transfer-Encoding: ", body=b"0\r\n\r\n")),
    Malformed("coding-vt", 400, _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    # Field lines (RFC 9112 section 5).
    Malformed("space-before-colon", 400, _post(b"Content-Length : 5", body=b"hello")),
    Malformed("tab-before-colon", 400, _post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n")),
    Malformed("folded-line", 400, _get(b"X-Fold: a\r\n b")),
    Malformed("folded-line-tab", 400, _get(b"X-Fold: a\r\n\tb")),
    Malformed("folded-length", 400, _post(b"Content-Length:\r\n 5", body=b"hello")),
    Malformed("first-line-folded", 400, b"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n"),
    Malformed("bare-lf-field", 400, _get(b"X-A: a\nX-B: b")),
    Malformed("bare-lf-everywhere", 400, b"GET / HTTP/1.1\nHost: a.example\n\n"),
    Malformed("bare-lf-end", 400, b"GET / HTTP/1.1\r\nHost: a.example\r\n\n" + _SMUGGLED),
    Malformed("bare-cr-field", 400, _get(b"X-A: a\rX-B: b")),
    Malformed("bare-cr-end", 400, b"GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\n"),
    Malformed("nul-in-value", 400, _get(b"X-A: a\x00b")),
    Malformed("nul-in-name", 400, _get(b"X-\x00A: a")),
    Malformed("control-in-value", 400, _get(b"X-A: a\x01b")),
    Malformed("delete-in-value", 400, _get(b"X-A: a\x7fb")),
    Malformed("escape-in-value", 400, _get(b"X-A: \x1b[31m")),
    Malformed("no-colon", 400, _get(b"X-A")),
    Malformed("empty-name", 400, _get(b": a")),
    Malformed("name-with-space", 400, _get(b"X A: a")),
    Malformed("name-with-slash", 400, _get(b"X/A: a")),
    Malformed("name-in-brackets", 400, _get(b"(X-A): a")),
    Malformed("name-not-ascii", 400, _get("X-\u00c4: a".encode())),
    # Host (RFC 9112 section 3.2).
    Malformed("host-missing", 400, _head(b"GET / HTTP/1.1", host=False)),
    Malformed("host-twice", 400, _get(b"Host: b.example")),
    Malformed("host-twice-same", 400, _get(b"Host: a.example")),
    Malformed("host-empty", 400, _head(b"GET / HTTP/1.1", b"Host:", host=False)),
    Malformed("host-user", 400, _head(b"GET / HTTP/1.1", b"Host: u@a.example", host=False)),
    Malformed("host-path", 400, _head(b"GET / HTTP/1.1", b"Host: a.example/x", host=False)),
    Malformed("host-list", 400, _head(b"GET / HTTP/1.1", b"Host: a.example, b", host=False)),
    Malformed("host-port", 400, _head(b"GET / HTTP/1.1", b"Host: a.example:x", host=False)),
    # The request line and its target (RFC 9112 section 3).
    Malformed("absolute-form", 400, _target(b"http://b.example/v1/models")),
    Malformed("authority-form", 400, _target(b"b.example:443")),
    Malformed("asterisk-form", 400, _head(b"OPTIONS * HTTP/1.1")),
    Malformed("two-slashes", 400, _target(b"//b.example/v1")),
    Malformed("empty-segment", 400, _target(b"/v1//models")),
    Malformed("dot-segment", 400, _target(b"/v1/./models")),
    Malformed("dot-dot-segment", 400, _target(b"/v1/../admin")),
    Malformed("dot-dot-end", 400, _target(b"/v1/..")),
    Malformed("dot-dot-parameter", 400, _target(b"/v1/..;a=b/admin")),
    Malformed("encoded-dot", 400, _target(b"/v1/%2e%2e/admin")),
    Malformed("encoded-dot-upper", 400, _target(b"/v1/%2E./admin")),
    Malformed("encoded-slash", 400, _target(b"/v1%2fmodels")),
    Malformed("encoded-slash-upper", 400, _target(b"/v1%2Fmodels")),
    Malformed("encoded-backslash", 400, _target(b"/v1%5c..%5cadmin")),
    Malformed("encoded-nul", 400, _target(b"/v1/models%00.txt")),
    Malformed("encoded-line-end", 400, _target(b"/v1/%0d%0aX-A:%20b")),
    Malformed("encoded-twice", 400, _target(b"/v1/%252e%252e/admin")),
    Malformed("bad-escape", 400, _target(b"/v1/%zz")),
    Malformed("short-escape", 400, _target(b"/v1/%2")),
    Malformed("bad-escape-in-query", 400, _target(b"/v1/models?a=100%")),
    Malformed("nul-in-query", 400, _target(b"/v1/models?a=%00")),
    Malformed("backslash", 400, _target(b"/v1\\..\\admin")),
    Malformed("fragment", 400, _target(b"/v1/models#a")),
    Malformed("not-ascii-target", 400, _target("/v1/m\u00f6dels".encode())),
    Malformed("space-in-target", 400, _target(b"/v1/mod els")),
    Malformed("tab-in-target", 400, _target(b"/v1/mod\tels")),
    Malformed("target-too-long", 400, _target(b"/" + b"a" * 9000)),
    Malformed("target-missing", 400, b"GET  HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    Malformed("two-spaces", 400, b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    Malformed("leading-space", 400, b" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    Malformed("trailing-space", 400, b"GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n"),
    Malformed("two-empty-lines-first", 400, b"\r\n\r\n" + _get()),
    Malformed("lf-first", 400, b"\n" + _get()),
    Malformed("http-0.9", 400, b"GET /v1/models\r\n"),
    Malformed("http-0.9-with-version", 400, _head(b"GET / HTTP/0.9")),
    Malformed("http-1.2", 400, _head(b"GET / HTTP/1.2")),
    Malformed("http-2.0", 400, _head(b"GET / HTTP/2.0")),
    Malformed("http-lower-case", 400, _head(b"GET / http/1.1")),
    Malformed("http-long-version", 400, _head(b"GET / HTTP/1.10")),
    Malformed("http-2-preface", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Malformed("tls-hello", 400, bytes.fromhex("16030100c8010000c40303")),
    Malformed("ssh-banner", 400, b"SSH-2.0-OpenSSH_9.2\r\n"),
    Malformed("response-line", 400, b"HTTP/1.1 200 OK\r\nHost: a.example\r\n\r\n"),
    Malformed("method-bad-character", 400, _head(b"GE(T / HTTP/1.1")),
    Malformed("method-unknown", 501, _head(b"BREW /pot HTTP/1.1")),
    Malformed("method-lower-case", 501, _head(b"get / HTTP/1.1")),
    Malformed("method-trace", 501, _head(b"TRACE / HTTP/1.1")),
    Malformed("connect", 501, _head(b"CONNECT b.example:443 HTTP/1.1")),
    Malformed("connect-path", 501, _head(b"CONNECT /tunnel HTTP/1.1")),
    # HTTP/1.0 knows no chunks (RFC 9112 section 6.1).
    Malformed(
        "chunked-in-1.0",
        400,
        _head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ),
    # Expectations and sizes.
    Malformed("expectation", 417, _post(b"Expect: a-miracle", b"Content-Length: 5", body=b"hello")),
    Malformed(
        "expectation-twice",
        400,
        _post(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5"),
    ),
    Malformed("body-too-large", 413, _post(b"Content-Length: 999999999999")),
    Malformed("head-too-large", 431, _get(*[b"X-%d: " % n + b"a" * 4000 for n in range(20)])),
    Malformed("too-many-fields", 431, _get(*[b"X-%d: a" % n for n in range(150)])),
    # Chunks (RFC 9112 section 7.1): the first size line decides.
    Malformed("chunk-minus", 400, _chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-plus", 400, _chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-0x", 400, _chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-not-hex", 400, _chunked(b"g\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-empty-size", 400, _chunked(b"\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-leading-space", 400, _chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-trailing-space", 400, _chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-overflow", 400, _chunked(b"FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-nine-digits", 400, _chunked(b"000000005\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-bare-lf", 400, _chunked(b"5\nhello\n0\n\n")),
    Malformed("chunk-bare-cr", 400, _chunked(b"5\rhello\r\n0\r\n\r\n")),
    Malformed("chunk-nul", 400, _chunked(b"5\x00\r\nhello\r\n0\r\n\r\n")),
    Malformed("chunk-underscore", 400, _chunked(b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n")),
    Malformed("chunk-extension-lf", 400, _chunked(b"5;a\nX\r\nhello\r\n0\r\n\r\n")),
    Malformed(
        "chunk-extension-long", 400, _chunked(b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n")
    ),
    Malformed("chunk-semicolon-only", 400, _chunked(b";a=b\r\nhello\r\n0\r\n\r\n")),
]
"""Some of these are right up to a point where they can only be wrong: refused there."""
