"""Writing heads: status lines from a table, fields joined once, framing always our own."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from keylease.errors import RequestRefused
from keylease.primitives.http1.interfaces import Headers

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    for status in range(200, 600)
}

_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Whatever a handler says about framing and connection is dropped."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
CLOSE: Final = b"connection: close\r\n"
_SIZE_LINES: Final = tuple(b"%x\r\n" % size for size in range(1024))
"""Those of the sizes that events of models have."""
LAST_CHUNK: Final = b"0\r\n\r\n"


def encode_headers(headers: Sequence[tuple[str, str]]) -> Headers:
    """Fields as bytes, names in lower case."""
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]


def render_fields(headers: Headers) -> bytes:
    """Field lines, each with its CRLF; raises ``ValueError`` for a field that would break out."""
    if not headers:
        return b""
    lines = [b"%b: %b\r\n" % field for field in headers if field[0] not in _OURS]
    fields = b"".join(lines)
    count = len(lines)
    if fields.count(b"\n") != count or fields.count(b"\r") != count or b"\0" in fields:
        raise ValueError("a header field contains CR, LF or NUL")
    return fields


def render_response_head(status: int, fields: bytes, framing: bytes, date: bytes) -> bytes:
    """A whole head. ``date`` is a field line, used when the rendered ``fields`` bring none."""
    # Names are in lower case by contract, so this finds a Date field in every place but the first.
    if fields.find(b"\ndate: ") >= 0 or fields.startswith(b"date: "):
        date = b""
    return b"%b%b%b%b\r\n" % (STATUS_LINES[status], fields, date, framing)


def render_chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1); ``data`` is not empty, that would be the last one."""
    size = len(data)
    line = _SIZE_LINES[size] if size < len(_SIZE_LINES) else b"%x\r\n" % size
    return b"".join((line, data, b"\r\n"))


def render_refusal(refusal: RequestRefused, date: bytes) -> bytes:
    """A small, plain answer to a message that no handler saw; the connection is closed."""
    return render_error(refusal.http_status, refusal.code, refusal.message, date)


def render_error(status: int, code: str, message: str, date: bytes) -> bytes:
    """A whole JSON error with ``Connection: close``."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    fields = b"content-type: application/json\r\ncache-control: no-store\r\n"
    framing = b"content-length: %d\r\n%b" % (len(body), CLOSE)
    return render_response_head(status, fields, framing, date) + body
