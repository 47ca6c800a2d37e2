"""One client connection: requests in, answers out, strictly one after the other.

Protects: a request reaches its handler only when its head passed every check; the next request of
a pipeline is looked at only when the answer before it is whole (RFC 9112 section 9.3.2), so an
answer can never be taken for another request's. After anything malformed there is one plain answer
and the end of the connection.
Does not protect: a body that breaks its framing half-way was partly delivered by then; the handler
is told ``client_gone`` and never ``request_complete``.
Limits: memory per connection is one read (256 KiB), one head or ``pipeline_bytes``, and what the
transport holds of an answer that the client does not take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from keylease.errors import (
    ConnectionsExhausted,
    KeyleaseError,
    RequestHeadTooLarge,
    RequestMalformed,
    RequestRefused,
    RequestTimedOut,
    RequestTooLarge,
)
from keylease.primitives.http1.body import ChunkedBody, FixedBody, FramingInvalid
from keylease.primitives.http1.client_certificates import client_certificate
from keylease.primitives.http1.connections import Connections
from keylease.primitives.http1.exchange import GONE, STARTED, WAITING, Connection, Exchange
from keylease.primitives.http1.grammar import REQUEST_LINE, STRAY_BYTE
from keylease.primitives.http1.half_close import PROBE_SWEEPS, can_half_close, has_left
from keylease.primitives.http1.interfaces import RequestHandler
from keylease.primitives.http1.outbox import Outlet
from keylease.primitives.http1.rendering import CONTINUE, render_error, render_refusal
from keylease.primitives.http1.request_head import IncomingRequest
from keylease.primitives.http1.resets import reset_on_close
from keylease.primitives.http1.sweeper import NEVER

DISCARDED_BYTES: Final = 64 * 1024
"""The rest of an answered request's body is read and dropped up to here, to keep the connection."""


class ServerProtocol(Connection):
    """Reads requests, calls handlers, writes answers."""

    __slots__ = (
        "_advancing", "_blank_seen", "_body", "_body_bytes", "_closed", "_continue_due",
        "_exchange", "_half_closed", "_incoming", "_input_held", "_last_request", "_limits",
        "_line_seen", "_lingering", "_outlet", "_pending", "_read_paused", "_scanned", "_shared",
        "_sweeper", "_sweeps", "_transport", "_unsent", "_write_paused", "certificate", "deadline",
        "outbox", "peer",
    )  # fmt: skip

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self.outbox = shared.outbox
        self._limits = shared.limits
        self._sweeper = shared.sweeper
        self.peer = ""
        self.certificate = ""
        self.deadline = NEVER
        self._pending: bytes | bytearray = b""
        """Received and not yet looked at."""
        self._scanned = 0
        self._line_seen = False
        self._blank_seen = False
        self._incoming: IncomingRequest | None = None
        """A chunked request whose first chunk line is still to come."""
        self._exchange: Exchange | None = None
        self._body: FixedBody | ChunkedBody | None = None
        self._body_bytes = 0
        self._continue_due = False
        self._last_request = False
        self._advancing = False
        self._input_held = False
        self._read_paused = False
        self._write_paused = False
        self._unsent = 0
        self._half_closed = False
        """The client sends no more, and may still read."""
        self._sweeps = 0
        self._lingering = False
        self._closed = False

    # --- the transport calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected (and TLS is up)."""
        self._transport: asyncio.Transport = cast("asyncio.Transport", transport)
        self._outlet = Outlet(self.outbox, self._transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else "unix"
        self.certificate = client_certificate(transport)
        has_room = self._shared.add(self)
        self.deadline = self._sweeper.now + self._limits.header_seconds
        if not has_room:
            self._refuse(ConnectionsExhausted("The server holds too many connections."))

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._lingering or self._closed:
            return
        if self._pending:
            self._pending += data
        else:
            self._pending = data
        self._advance()

    def eof_received(self) -> bool:
        """The client will send no more; true keeps the connection for what is still to be said."""
        if self._lingering or self._closed or not can_half_close(self._transport):
            self._give_up()
            self._close()
            return False
        self._half_closed = True
        self._advance()
        exchange = self._exchange
        if exchange is not None and not exchange.probe():
            self._give_up()
            self._close()
        return not self._transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        del exc
        self._closed = True
        self._pending = b""
        self._shared.discard(self)
        self._give_up()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._write_paused = True
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._sweeper.now + self._limits.write_seconds
        if self._exchange is not None and self._exchange.handler is not None:
            self._guarded(self._exchange.handler.pause_writing)

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._write_paused = False
        if self._exchange is None and self._body is None and not self._lingering:
            self._await_request()
        else:
            self.deadline = self._sweeper.now if self._half_closed else NEVER
        if self._exchange is not None and self._exchange.handler is not None:
            self._guarded(self._exchange.handler.resume_writing)
        self._advance()

    # --- the sweeper calls -------------------------------------------------------------------

    def expired(self) -> None:
        """The deadline of the present phase has passed."""
        if self._write_paused and not self._lingering:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:  # Slow, but not standing still.
                self._unsent = unsent
                self.deadline = self._sweeper.now + self._limits.write_seconds
                return
            self.cut()
        elif self._lingering:
            self.cut()
        elif self._exchange is None and not self._pending and self._body is None:
            self._close()
        elif self._half_closed and self._exchange is not None:
            self._look_after(self._exchange)
        else:
            self._refuse(RequestTimedOut("The request did not arrive in time."))

    def _look_after(self, exchange: Exchange) -> None:
        """See whether a client that sends no more is still there (see ``half_close``)."""
        self._sweeps += 1
        self.deadline = self._sweeper.now
        if has_left(self._transport):
            self._give_up()
            self.cut()
        elif self._sweeps % PROBE_SWEEPS == 0:
            exchange.probe()

    # --- reading -----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do what can be done with the bytes at hand."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._pending and not self._lingering and not self._closed:
                if self._body is not None:
                    if self._input_held:
                        break
                    self._take_body(self._body)
                elif self._exchange is not None or self._write_paused or not self._take_head():
                    break
        except RequestRefused as refusal:
            self._refuse(refusal)
        finally:
            self._advancing = False
        self._settle()

    def _settle(self) -> None:
        """Set reading and the deadline by what is waited for."""
        if self._closed or self._lingering:
            return
        if self._half_closed and not self._goes_on():
            self._give_up()
            self._close()
            return
        if self._pending and isinstance(self._pending, bytes):
            self._pending = bytearray(self._pending)
        busy = self._exchange is not None and self._body is None
        self._pause_transport(
            (self._input_held and self._body is not None)
            or ((busy or self._write_paused) and len(self._pending) > self._limits.pipeline_bytes)
        )
        if self._write_paused:
            return
        if self._body is not None:
            self.deadline = (
                NEVER if self._input_held else self._sweeper.now + self._limits.body_seconds
            )
        elif self._exchange is not None:
            self.deadline = self._sweeper.now if self._half_closed else NEVER

    def _goes_on(self) -> bool:
        """Whether anything is left to do for a client that sends no more."""
        if self._body is not None:  # What is missing of it will not come.
            return self._input_held and bool(self._pending)
        return self._exchange is not None or (self._write_paused and bool(self._pending))

    def _pause_transport(self, pause: bool) -> None:  # noqa: FBT001 - one private caller
        if pause is not self._read_paused and not self._transport.is_closing():
            self._read_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _take_head(self) -> bool:
        """Begin the next request; false when its head is not complete."""
        pending = self._pending
        if not self._blank_seen and pending[:2] == b"\r\n":
            # RFC 9112 section 2.2: one empty line before a request is ignored; never two.
            self._blank_seen = True
            pending = self._pending = pending[2:]
        end = pending.find(b"\r\n\r\n", max(0, self._scanned - 3))
        size = end + 4 if end >= 0 else len(pending)
        if size > self._limits.header_bytes:
            raise RequestHeadTooLarge("The request's head is too large.")
        if end < 0:
            if pending:
                self._check_partial_head(pending)
            return False
        if type(pending) is not bytes:
            pending = bytes(pending)
        raw = pending[:size]
        self._pending = pending[size:]
        self._scanned = 0
        self._line_seen = self._blank_seen = False
        incoming = self._shared.heads.read(raw)
        if incoming.chunked:
            self._body = ChunkedBody()
        elif incoming.head.has_body:
            self._body = FixedBody(incoming.head.content_length or 0)
        self._body_bytes = 0
        self._continue_due = incoming.expects_continue and self._body is not None
        if incoming.chunked and not self._continue_due:
            self._incoming = incoming
        else:
            self._begin(incoming)
        return True

    def _check_partial_head(self, pending: bytes | bytearray) -> None:
        """Refuse a head that can not become valid any more, before its time is up."""
        if self._scanned == 0:
            self.deadline = self._sweeper.now + self._limits.header_seconds
        if STRAY_BYTE.search(pending, max(0, self._scanned - 1)):
            raise RequestMalformed("The request's head is not valid HTTP/1.1.")
        if not self._line_seen:
            self._line_seen = b"\r\n" in pending
            if self._line_seen and not REQUEST_LINE.match(pending):
                raise RequestMalformed("The request's head is not valid HTTP/1.1.")
            if not self._line_seen and len(pending) > self._limits.target_bytes + 64:
                raise RequestMalformed("The request's target is too long.")
        self._scanned = len(pending)

    def _begin(self, incoming: IncomingRequest) -> None:
        """Hand a request to its handler."""
        head = incoming.head
        self._last_request = not head.keep_alive
        exchange = Exchange(self, head_only=head.method == "HEAD", version_1_0=incoming.version_1_0)
        self._exchange = exchange
        try:
            handler = self._shared.factory(head, exchange)
        except Exception as error:  # noqa: BLE001 - a handler's defect must not stop the server
            self._handler_failed(error)
            return
        if exchange.finished:
            return
        exchange.handler = handler
        if self._write_paused:
            self._guarded(handler.pause_writing)
        if self._body is None:
            self._complete(handler)
        elif self._continue_due and not self._input_held:
            self._send_continue()

    def _send_continue(self) -> None:
        """Ask for the body (RFC 9110 section 10.1.1), unless it comes unasked."""
        self._continue_due = False
        exchange = self._exchange
        if not self._pending and exchange is not None and exchange.state == WAITING:
            self._outlet.write(CONTINUE)

    def _take_body(self, body: FixedBody | ChunkedBody) -> None:
        """Give the bytes at hand to the body's reader, and what comes out to the handler."""
        data = bytes(self._pending)
        self._pending = b""
        try:
            pieces = body.feed(data)
        except FramingInvalid as error:
            raise RequestMalformed(str(error)) from None
        if self._incoming is not None and isinstance(body, ChunkedBody) and body.begun:
            incoming, self._incoming = self._incoming, None
            self._begin(incoming)
        for piece in pieces:
            self._body_bytes += len(piece)
            if self._body_bytes > self._limits.body_bytes:
                raise RequestTooLarge("The request's body is too large.")
            exchange = self._exchange
            if exchange is not None and exchange.handler is not None:
                self._deliver(exchange.handler, piece)
        if not body.done:
            return
        self._body = None
        self._pending = body.rest
        self._continue_due = False
        exchange = self._exchange
        if exchange is not None and exchange.handler is not None:
            self._complete(exchange.handler)
        elif exchange is None:
            self._await_request()

    # --- the exchange calls ------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Write bytes."""
        self._outlet.write(data)

    def put_pair(self, first: bytes, second: bytes) -> None:
        """Write bytes, without joining them."""
        self._outlet.write_pair(first, second)

    def date(self) -> bytes:
        """The current ``Date`` field line."""
        return self._shared.date

    def keeps_alive(self) -> bool:
        """Whether another request can follow an answer begun now."""
        last = self._last_request or (self._half_closed and not self._pending)
        if last or self._shared.draining:
            return False
        return self._body is None or self._discardable(self._body)

    def _discardable(self, body: FixedBody | ChunkedBody) -> bool:
        """Whether reading the rest of a body costs less than a new connection."""
        if isinstance(body, FixedBody) and not self._continue_due:
            return body.left <= DISCARDED_BYTES
        return body.done

    def answered(self) -> None:
        """The answer is whole: on to the next request, or to the end."""
        exchange, self._exchange = self._exchange, None
        self._input_held = False
        if exchange is None:
            return
        if exchange.closing or self._shared.draining or not self.keeps_alive():
            self._end(unread=self._body is not None or bool(self._pending))
        elif self._body is None:
            self._await_request()
            self._advance()
        else:
            self._settle()

    def broken(self, *, hard: bool) -> None:
        """The answer will never be whole."""
        self._exchange = None
        if hard:
            reset_on_close(self._transport)
            self.cut()
        else:
            self._close()

    def hold_input(self, *, held: bool) -> None:
        """Stop or go on taking the request's body."""
        self._input_held = held
        if not held and self._continue_due:
            self._send_continue()
        if not self._advancing:
            self._advance()

    # --- ends --------------------------------------------------------------------------------

    def close_if_idle(self) -> None:
        """Close the connection unless a request is under way."""
        if self._exchange is None and self._body is None and not self._pending:
            self._close()

    def cut(self) -> None:
        """End the connection now, whatever is unsent."""
        self._closed = True
        self._outlet.abort()

    def _await_request(self) -> None:
        self.deadline = self._sweeper.now + self._limits.idle_seconds

    def _close(self) -> None:
        """End the connection when everything is sent, or by the deadline."""
        self._lingering = True
        self._pending = b""
        self.deadline = self._sweeper.now + self._limits.write_seconds
        self._outlet.close()

    def _end(self, *, unread: bool = True) -> None:
        """End the connection so that the client can read the answer (RFC 9112 section 9.6).

        A close with ``unread`` input becomes a reset, which may destroy the answer on its way.
        """
        if self._half_closed or not unread:
            self._close()
            return
        self._lingering = True
        self._pending = b""
        self._body = None
        self._pause_transport(pause=False)
        self.deadline = self._sweeper.now + self._limits.linger_seconds
        self._outlet.write_eof()

    def _refuse(self, refusal: RequestRefused) -> None:
        """Answer what no handler can answer, and end the connection."""
        if self._closed or self._lingering:
            return
        begun = self._exchange is not None and self._exchange.state == STARTED
        self._give_up()
        if begun:
            self.cut()
            return
        self._outlet.write(render_refusal(refusal, self._shared.date))
        self._end()

    def _give_up(self) -> None:
        """Tell the handler that its client is gone."""
        exchange, self._exchange = self._exchange, None
        self._incoming = None
        if exchange is None or exchange.finished:
            return
        handler, exchange.handler = exchange.handler, None
        exchange.state = GONE
        if handler is not None:
            self._guarded(handler.client_gone)

    # --- handlers' defects -------------------------------------------------------------------

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a handler's defect must not stop the server
            self._handler_failed(error)

    def _deliver(self, handler: RequestHandler, piece: bytes) -> None:
        try:
            handler.body_received(piece)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self._handler_failed(error)

    def _complete(self, handler: RequestHandler) -> None:
        try:
            handler.request_complete()
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self._handler_failed(error)

    def _handler_failed(self, error: Exception) -> None:
        """Answer 500, or break an answer that has begun; report the error to our side only."""
        self._shared.on_error(error)
        exchange = self._exchange
        if exchange is None or exchange.finished:
            return
        if exchange.state == STARTED:
            exchange.abort()
            return
        exchange.state = GONE
        exchange.handler = None
        self._exchange = None
        message = "The server failed to answer."
        self._outlet.write(render_error(500, KeyleaseError.code, message, self._shared.date))
        self._end()
