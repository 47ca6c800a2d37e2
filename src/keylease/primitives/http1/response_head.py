"""Reading the head of an upstream's answer, as strictly as that of a request.

An answer that could be read in two ways is refused although RFC 9112 section 6.3 would let a
client choose one: whoever sends it is broken or wants something.
"""

from __future__ import annotations

from typing import Final

import httptools

from keylease.errors import UpstreamBroken
from keylease.primitives.http1.fields import Ambiguous, Fields
from keylease.primitives.http1.grammar import RESPONSE_HEAD
from keylease.primitives.http1.interfaces import ResponseHead

_FIRST_FINAL: Final = 200
_BODILESS: Final = frozenset({204, 304})


REMEMBERED_HEADS: Final = 32
REMEMBERED_BYTES: Final = 4 * 1024
"""Of one head; a longer one is read anew each time."""


class IncomingResponse:
    """An answer's head and what the client side needs beside it."""

    __slots__ = ("chunked", "closes", "head")

    def __init__(self, head: ResponseHead, *, chunked: bool, closes: bool) -> None:
        self.head: Final = head
        self.chunked: Final = chunked
        self.closes: Final = closes
        """The connection ends with this answer."""


class ResponseHeads:
    """Reads heads and remembers them, as ``RequestHeads`` does.

    Providers put an identifier into each answer, and then nothing is found again; servers of one's
    own models repeat their heads, as long as a second lasts.
    """

    __slots__ = ("_header_count", "_known")

    def __init__(self, header_count: int) -> None:
        self._header_count = header_count
        self._known: dict[bytes, IncomingResponse] = {}

    def read(self, raw: bytes, *, to_head: bool) -> IncomingResponse:
        """As ``parse_response_head``."""
        known = self._known.get(raw)
        if known is not None and not to_head:
            return known
        incoming = parse_response_head(raw, to_head=to_head, header_count=self._header_count)
        if not to_head and len(raw) <= REMEMBERED_BYTES:
            if len(self._known) >= REMEMBERED_HEADS:
                del self._known[next(iter(self._known))]
            self._known[raw] = incoming
        return incoming


def parse_response_head(raw: bytes, *, to_head: bool, header_count: int) -> IncomingResponse:
    """Read an answer's head; raises ``UpstreamBroken``. ``to_head``: the request was a HEAD."""
    # 1. The grammar of every byte.
    shape = RESPONSE_HEAD.fullmatch(raw)
    if shape is None:
        raise UpstreamBroken("The upstream's answer is not valid HTTP/1.1.")
    if raw.count(b"\n") - 2 > header_count:
        raise UpstreamBroken("The upstream's answer has too many header fields.")
    # 2. A second, independent parser has to agree.
    fields = Fields()
    try:
        httptools.HttpResponseParser(fields).feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise UpstreamBroken("The upstream's answer is not valid HTTP/1.1.") from None
    # 3. Framing and connection (RFC 9112 section 6.3).
    version_1_0 = shape[1] == b"0"
    status = int(shape[2])
    try:
        length = fields.content_length()
    except Ambiguous as error:
        raise UpstreamBroken(f"The upstream's answer is ambiguous. {error}") from None
    chunked = fields.get(b"transfer-encoding") is not None
    if chunked and version_1_0:
        raise UpstreamBroken("The upstream's answer is ambiguous. HTTP/1.0 is never chunked.")
    if status < _FIRST_FINAL and version_1_0:
        raise UpstreamBroken("The upstream's answer is ambiguous. HTTP/1.0 has no interim answers.")
    bodiless = to_head or status < _FIRST_FINAL or status in _BODILESS
    return IncomingResponse(
        ResponseHead(
            status=status,
            headers=fields.headers(),
            content_length=length,
            has_body=not bodiless and length != 0,
        ),
        chunked=chunked and not bodiless,
        closes=version_1_0 or b"close" in fields.tokens,
    )
