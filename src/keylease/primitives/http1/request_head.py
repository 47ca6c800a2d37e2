"""Reading the head of a request: strict grammar, then llhttp, then what neither of them checks.

Protects: a head that two readers could understand differently is refused, whole (RFC 9112
sections 2.2, 3, 5, 6 and 11.2), and so is a target that could name another path than it shows.
Does not protect: against a handler that passes on fields it should not.
Limits: every head gets its own llhttp parser, fed with exactly that head, so no state is carried
from one message to the next. The last ``REMEMBERED_HEADS`` heads stay in memory.
"""

from __future__ import annotations

from typing import Final

import httptools

from keylease.errors import (
    ExpectationFailed,
    MethodNotImplemented,
    RequestHeadTooLarge,
    RequestMalformed,
    RequestTooLarge,
)
from keylease.primitives.http1.fields import Ambiguous, Fields
from keylease.primitives.http1.grammar import DOT_SEGMENT, HOST, REQUEST_HEAD, TARGET
from keylease.primitives.http1.interfaces import RequestHead
from keylease.primitives.http1.limits import ServerLimits

METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
"""CONNECT and TRACE are for proxies and debuggers (RFC 9110 sections 9.3.6, 9.3.8): refused."""


REMEMBERED_HEADS: Final = 1024
REMEMBERED_BYTES: Final = 4 * 1024
"""Of one head; a longer one is read anew each time."""


class IncomingRequest:
    """A request's head and what the server side needs beside it."""

    __slots__ = ("chunked", "expects_continue", "head", "version_1_0")

    def __init__(
        self, head: RequestHead, *, chunked: bool, expects_continue: bool, version_1_0: bool
    ) -> None:
        self.head: Final = head
        self.chunked: Final = chunked
        self.expects_continue: Final = expects_continue
        self.version_1_0: Final = version_1_0


class RequestHeads:
    """Reads heads and remembers them: a client sends the same one again and again.

    A head is looked up by all of its bytes, so what is remembered is what reading it again would
    give. A head that was refused is not remembered. What is remembered includes the leases in it.
    """

    __slots__ = ("_known", "_limits")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._known: dict[bytes, IncomingRequest] = {}

    def read(self, raw: bytes) -> IncomingRequest:
        """As ``parse_request_head``."""
        known = self._known.get(raw)
        if known is not None:
            return known
        incoming = parse_request_head(raw, self._limits)
        if len(raw) <= REMEMBERED_BYTES:
            if len(self._known) >= REMEMBERED_HEADS:
                del self._known[next(iter(self._known))]
            self._known[raw] = incoming
        return incoming


def parse_request_head(raw: bytes, limits: ServerLimits) -> IncomingRequest:
    """Read ``raw``, which ends with its first empty line; raises a ``RequestRefused``."""
    # 1. The grammar of every byte.
    shape = REQUEST_HEAD.fullmatch(raw)
    if shape is None:
        raise RequestMalformed("The request's head is not valid HTTP/1.1.")
    if raw.count(b"\n") - 2 > limits.header_count:
        raise RequestHeadTooLarge("The request has too many header fields.")
    method = METHODS.get(shape[1])
    if method is None:
        raise MethodNotImplemented("The request's method is not known here.")
    # 2. The target.
    target = shape[2]
    address = TARGET.fullmatch(target) if len(target) <= limits.target_bytes else None
    if address is None or (b"/." in target and DOT_SEGMENT.search(address[1])):
        raise RequestMalformed("The request's target is not a plain, unambiguous path.")
    # 3. A second, independent parser has to agree.
    fields = _read_with_llhttp(raw, target)
    # 4. Framing, authority, connection.
    version_1_0 = shape[3] == b"0"
    chunked, length = _framing(fields, version_1_0=version_1_0)
    if length is not None and length > limits.body_bytes:
        raise RequestTooLarge("The request's body is too large.")
    _check_host(fields.get(b"host"), version_1_0=version_1_0)
    head = RequestHead(
        method=method,
        target=target,
        path=address[1].decode("ascii"),
        query=address[2].decode("ascii") if address[2] else "",
        headers=fields.headers(),
        keep_alive=not version_1_0 and b"close" not in fields.tokens,
        content_length=length,
        has_body=chunked or bool(length),
    )
    return IncomingRequest(
        head,
        chunked=chunked,
        expects_continue=not version_1_0 and _expects_continue(fields.get(b"expect")),
        version_1_0=version_1_0,
    )


def _read_with_llhttp(raw: bytes, target: bytes) -> Fields:
    fields = Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # The client would like another protocol; RFC 9110 section 7.8 lets us ignore it.
    except httptools.HttpParserError:
        raise RequestMalformed("The request's head is not valid HTTP/1.1.") from None
    if fields.target != target:
        raise RequestMalformed("The request's target is not a plain, unambiguous path.")
    return fields


def _framing(fields: Fields, *, version_1_0: bool) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its length (RFC 9112 section 6)."""
    try:
        length = fields.content_length()
    except Ambiguous as error:
        raise RequestMalformed(str(error)) from None
    chunked = fields.get(b"transfer-encoding") is not None
    if chunked and version_1_0:
        raise RequestMalformed("HTTP/1.0 has no transfer codings.")
    return chunked, length


def _check_host(host: bytes | None, *, version_1_0: bool) -> None:
    """RFC 9112 section 3.2: exactly one, and valid; HTTP/1.0 may do without."""
    if (host is None and not version_1_0) or (host is not None and not HOST.fullmatch(host)):
        raise RequestMalformed("The request has no valid Host field.")


def _expects_continue(expect: bytes | None) -> bool:
    """RFC 9110 section 10.1.1."""
    if expect is None:
        return False
    if expect.lower() != b"100-continue":
        raise ExpectationFailed("The only expectation met here is 100-continue.")
    return True
