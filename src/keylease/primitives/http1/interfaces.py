"""How code that speaks HTTP/1.1 here is called back.

Everything is callbacks on the event loop's thread, so that a proxied message costs no task and no
future. A message is parsed and written anew; bytes of a peer's framing never reach the other side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

Headers = list[tuple[bytes, bytes]]
"""Field lines in order; names in lower case."""


class RequestHead:
    """A request that passed the strict checks, without its body.

    Two requests whose heads are the same bytes may share one: nothing but ``notes`` is changed.
    """

    __slots__ = (
        "content_length", "has_body", "headers", "keep_alive", "method", "notes", "path", "query",
        "target",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - everything that a head says, by keyword
        self,
        *,
        method: str,
        target: bytes,
        path: str,
        query: str,
        headers: Headers,
        keep_alive: bool,
        content_length: int | None,
        has_body: bool,
    ) -> None:
        self.method: Final = method
        self.target: Final = target
        """As received: origin form, ``/path?query``."""
        self.path: Final = path
        """Percent-encoded as received, ASCII, begins with ``/``, has no dot segments."""
        self.query: Final = query
        """Without the ``?``."""
        self.headers: Final = headers
        """Hop-by-hop fields (RFC 9110 section 7.6.1) are already removed, except
        ``te: trailers``."""
        self.keep_alive: Final = keep_alive
        self.content_length: Final = content_length
        """``None`` when the body is chunked or when there is none; see ``has_body``."""
        self.has_body: Final = has_body
        self.notes: object = None
        """What the ``HandlerFactory`` concluded from this head, for when it gets the same one
        again."""

    def header(self, name: bytes) -> bytes | None:
        """The only value of a field; ``None`` when absent or when it was sent more than once."""
        found: bytes | None = None
        for key, value in self.headers:
            if key == name:
                if found is not None:
                    return None
                found = value
        return found


class ResponseHead:
    """An answer's head from an upstream. Interim (1xx) answers are not reported.

    Two answers whose heads are the same bytes may share one: nothing but ``notes`` is changed.
    """

    __slots__ = ("content_length", "has_body", "headers", "notes", "status")

    def __init__(
        self, *, status: int, headers: Headers, content_length: int | None, has_body: bool
    ) -> None:
        self.status: Final = status
        self.headers: Final = headers
        self.content_length: Final = content_length
        self.has_body: Final = has_body
        self.notes: object = None
        """What a ``ResponseReceiver`` concluded from this head, for when it gets the same one
        again."""


class Responder(Protocol):
    """How a handler answers one request. Calls after the client has gone are ignored."""

    __slots__ = ()

    peer: str
    """The client's address, for audit entries."""
    certificate: str
    """SHA-256 of the client's TLS certificate, base64url; empty when it showed none that the
    server's own authorities vouch for."""

    def send(
        self, status: int, headers: Headers, body: bytes = b"", *, rendered: bytes = b""
    ) -> None:
        """Send a whole answer; framing fields are added. Legal before the request is complete.

        ``rendered``: further field lines, as ``render_fields`` gives them.
        """
        ...

    def start(
        self,
        status: int,
        headers: Headers,
        *,
        content_length: int | None = None,
        rendered: bytes = b"",
    ) -> None:
        """Begin an answer; chunked when no length is given."""
        ...

    def write(self, data: bytes) -> None:
        """Send a piece of the body; one chunk on the wire for one call when chunked."""
        ...

    def finish(self) -> None:
        """End the body."""
        ...

    def abort(self) -> None:
        """Break the connection so that the client cannot take the answer for whole."""
        ...

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do ``work`` before this turn of the loop ends, behind everything that is written in it.

        For what the client need not wait for. What it raises is reported to ``on_error``.
        """
        ...

    def pause_reading(self) -> None:
        """Stop taking the request's body from the client."""
        ...

    def resume_reading(self) -> None:
        """Take the request's body again."""
        ...


class RequestHandler(Protocol):
    """Handles one request; made by a ``HandlerFactory`` when the head is complete.

    An exception that leaves a method becomes a plain 500 (or an abort, once the answer has begun)
    and is reported to the server's ``on_error``. Once the answer is finished nothing is called any
    more: what is left of the request's body is dropped, or the connection ends with the answer.
    """

    __slots__ = ()

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""
        ...

    def request_complete(self) -> None:
        """The body is whole (called for requests without a body too)."""
        ...

    def client_gone(self) -> None:
        """The client left before the answer was finished. Nothing is called after this.

        Who only closed its sending side, behind a whole request, still gets its answer: but not
        over TLS, nor with HTTP/1.0 before the answer has begun, where nothing tells it from who
        left. Also called when the body did not come in time, broke its framing or was too large,
        and when a drain ran out of time.
        """
        ...

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        ...

    def resume_writing(self) -> None:
        """The client caught up."""
        ...


class HandlerFactory(Protocol):
    """Decides, from the head alone, who handles a request."""

    __slots__ = ()

    def __call__(self, head: RequestHead, responder: Responder) -> RequestHandler:
        """Make the handler; it may already answer through ``responder`` (say, a 404)."""
        ...


class ResponseReceiver(Protocol):
    """Takes the answer to one request sent upstream."""

    __slots__ = ()

    def head_received(self, head: ResponseHead) -> None:
        """The final answer's head."""
        ...

    def data_received(self, data: bytes) -> None:
        """A piece of the answer's body, as the upstream sent it (one call per chunk)."""
        ...

    def response_complete(self) -> None:
        """The answer is whole. Nothing is called after this."""
        ...

    def failed(self, failure: UpstreamFailure) -> None:
        """There will be no (more of the) answer. Nothing is called after this."""
        ...

    def pause_writing(self) -> None:
        """The upstream takes the request's body more slowly than we write it."""
        ...

    def resume_writing(self) -> None:
        """The upstream caught up."""
        ...


class UpstreamFailure:
    """Why an answer did not come, or not to its end."""

    __slots__ = ("detail", "kind", "sent")

    def __init__(self, kind: str, *, sent: bool, detail: str = "") -> None:
        self.kind: Final = kind
        """``connect``, ``tls``, ``address``, ``pool_full``, ``timeout``, ``reset``,
        ``protocol``."""
        self.sent: Final = sent
        """Whether any byte of the request may have reached the upstream. Only when this is false
        may a request that is not idempotent be sent again."""
        self.detail: Final = detail
        """For our log; never for a client."""


class UpstreamRequest(Protocol):
    """A request on its way upstream."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Send a piece of the body (only for requests that were begun without a whole body)."""
        ...

    def finish(self) -> None:
        """End the body."""
        ...

    def cancel(self) -> None:
        """Give the call up: the connection is closed, nothing more is received."""
        ...

    def pause_reading(self) -> None:
        """Stop taking the answer from the upstream."""
        ...

    def resume_reading(self) -> None:
        """Take the answer again."""
        ...


class Pool(Protocol):
    """Keep-alive connections to one origin.

    The concrete class is ``client.UpstreamPool``. A stale pooled connection that dies before a byte
    of the request was answered is *not* replayed by the pool: it reports ``failed`` with ``sent``.
    To make that rare, connections that the peer closed while idle leave the pool at once.
    """

    __slots__ = ()

    def request(
        self,
        *,
        method: str,
        target: bytes,
        headers: bytes,
        receiver: ResponseReceiver,
        body: bytes | None = b"",
        content_length: int | None = None,
    ) -> UpstreamRequest:
        """Send a request; on a pooled connection its bytes leave in this turn of the loop.

        ``headers`` are rendered field lines (each ending in CRLF) without ``Host`` and framing,
        which the pool adds. ``body=None`` begins a request whose body follows by ``write``:
        chunked, or with ``content_length``.
        """
        ...

    async def close(self) -> None:
        """Close idle connections now and busy ones when they are done."""
        ...
