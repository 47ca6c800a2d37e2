"""One request and its answer on the server side: the ``Responder`` that a handler holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from keylease.primitives.http1.interfaces import Headers, RequestHandler, Responder
from keylease.primitives.http1.outbox import Outbox
from keylease.primitives.http1.rendering import (
    CHUNKED,
    CLOSE,
    CONTINUE,
    LAST_CHUNK,
    STATUS_LINES,
    render_chunk,
    render_fields,
    render_response_head,
)

JOIN_BYTES: Final = 64 * 1024
"""Up to this size head and body leave in one piece; copying costs less than a second buffer."""

WAITING: Final = 0
STARTED: Final = 1
ANSWERED: Final = 2
GONE: Final = 3
"""The connection went away, or gave the request up, before the answer was finished."""


class Connection(Protocol):
    """What an exchange needs of the connection it belongs to."""

    __slots__ = ()

    peer: str
    certificate: str
    outbox: Outbox

    def put(self, data: bytes) -> None:
        """Write bytes."""
        ...

    def put_pair(self, first: bytes, second: bytes) -> None:
        """Write bytes, without joining them."""
        ...

    def date(self) -> bytes:
        """The current ``Date`` field line."""
        ...

    def keeps_alive(self) -> bool:
        """Whether the connection can carry another request after an answer begun now."""
        ...

    def answered(self) -> None:
        """The answer is whole."""
        ...

    def broken(self, *, hard: bool) -> None:
        """The answer will never be whole; ``hard``: only a reset can say so."""
        ...

    def hold_input(self, *, held: bool) -> None:
        """Stop or go on taking the request's body."""
        ...


class Exchange(Responder):
    """Writes one answer. What is done with it after its client has gone is ignored.

    Raises ``RuntimeError`` when a handler answers twice or writes outside an answer, and
    ``ValueError`` when the answer cannot be written: a defect of the handler, never the client's.
    """

    __slots__ = (
        "_chunked",
        "_closing",
        "_connection",
        "_head_only",
        "_left",
        "_probed",
        "_version_1_0",
        "certificate",
        "handler",
        "peer",
        "state",
    )

    def __init__(self, connection: Connection, *, head_only: bool, version_1_0: bool) -> None:
        self._connection = connection
        self._head_only = head_only
        self._version_1_0 = version_1_0
        self._chunked = False
        self._closing = False
        self._left: int | None = None
        self._probed = False
        self.handler: RequestHandler | None = None
        self.peer = connection.peer
        self.certificate = connection.certificate
        self.state = WAITING

    @property
    def finished(self) -> bool:
        """Nothing more will be sent."""
        return self.state >= ANSWERED

    def send(
        self, status: int, headers: Headers, body: bytes = b"", *, rendered: bytes = b""
    ) -> None:
        """Send a whole answer."""
        if self.state != WAITING:
            self._out_of_turn()
            return
        framing = b"" if status in {204, 304} else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, rendered, framing)
        if self._head_only or not body or not framing:
            self._connection.put(head)
        elif len(body) <= JOIN_BYTES:
            self._connection.put(head + body)
        else:
            self._connection.put_pair(head, body)
        self._done()

    def start(
        self,
        status: int,
        headers: Headers,
        *,
        content_length: int | None = None,
        rendered: bytes = b"",
    ) -> None:
        """Begin an answer; it leaves at once, before its body."""
        if self.state != WAITING:
            self._out_of_turn()
            return
        framing = b""
        if status in {204, 304}:
            self._left = 0
        elif content_length is not None:
            self._left = content_length
            framing = b"content-length: %d\r\n" % content_length
        elif not self._version_1_0:  # RFC 9112 section 6.1: no transfer codings in HTTP/1.0.
            self._chunked = True
            framing = CHUNKED
        head = self._head(status, headers, rendered, framing)
        if self._head_only:
            self._left = None
        self._connection.put(head)
        self.state = STARTED

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self.state != STARTED:
            self._out_of_turn()
            return
        if self._head_only or not data:
            return
        if self._chunked:
            self._probed = False
            self._connection.put(render_chunk(data))
            return
        if self._left is not None:
            if len(data) > self._left:
                self.abort()
                raise ValueError("the answer's body is longer than its head said")
            self._left -= len(data)
        self._connection.put(data)

    def finish(self) -> None:
        """End the body; an answer that is shorter than announced breaks the connection."""
        if self.state != STARTED:
            self._out_of_turn()
            return
        if self._left:
            self.abort()
            raise ValueError("the answer's body is shorter than its head said")
        if self._chunked and not self._head_only:
            self._connection.put(LAST_CHUNK)
        self._done()

    def abort(self) -> None:
        """Break the connection. Where only its end marks the end of the body, by a reset."""
        if self.state >= ANSWERED:
            return
        hard = self.state == STARTED and not self._chunked and self._left is None
        self.state = GONE
        self.handler = None
        self._connection.broken(hard=hard)

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do ``work`` when everything that was written has left."""
        self._connection.outbox.after(work)

    def pause_reading(self) -> None:
        """Stop taking the body; what was already read is still delivered."""
        if self.state < ANSWERED:
            self._connection.hold_input(held=True)

    def resume_reading(self) -> None:
        """Take the body again."""
        if self.state < ANSWERED:
            self._connection.hold_input(held=False)

    def _head(self, status: int, headers: Headers, rendered: bytes, framing: bytes) -> bytes:
        if status not in STATUS_LINES:
            raise ValueError(f"{status} is not a final status")
        if self._version_1_0 or not self._connection.keeps_alive():
            framing += CLOSE
            self._closing = True
        return render_response_head(
            status, render_fields(headers) + rendered, framing, self._connection.date()
        )

    def probe(self) -> bool:
        """Send what means nothing, to learn whether the client is still there.

        False where nobody can learn it: HTTP/1.0 has no answer before the answer. Where the rest
        of a known number of bytes is awaited nothing is sent; they are the probe when they come.
        """
        if self.state == WAITING:
            if self._version_1_0:
                return False
            # RFC 9110 section 15.2.1: who did not ask for it can simply discard it.
            self._connection.put(CONTINUE)
        elif self._chunked and not self._head_only and not self._probed:
            # The first digit of the next chunk's size, or of the last one's. RFC 9112 section 7.1
            # allows zeros in front of both.
            self._probed = True
            self._connection.put(b"0")
        return True

    @property
    def closing(self) -> bool:
        """The answer said that the connection ends with it."""
        return self._closing

    def _done(self) -> None:
        self.state = ANSWERED
        self.handler = None
        self._connection.answered()

    def _out_of_turn(self) -> None:
        if self.state != GONE:
            raise RuntimeError("the answer was already given, or has not begun")
