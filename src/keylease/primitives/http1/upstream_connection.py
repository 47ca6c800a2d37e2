"""One connection to an upstream: a request out, its answer in, then perhaps another.

Protects: an answer that could be read in two ways, or that does not end where its framing says,
is reported as failed and its connection closed; no byte of it can become part of another answer.
Bytes that come while nothing was asked close the connection.
Does not protect: what an upstream says inside a well-formed answer.
Limits: memory is one read (256 KiB) or one head, and what the transport holds of a request. Over
TLS on asyncio's own event loop, a body that only the end of the connection ends may be cut short
unnoticed: that loop hides whether the end was authentic. uvloop, where the gateway runs, does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from keylease.errors import UpstreamBroken
from keylease.primitives.http1.body import (
    BodyReader,
    BodyUntilEnd,
    ChunkedBody,
    FixedBody,
    FramingInvalid,
)
from keylease.primitives.http1.grammar import STRAY_BYTE
from keylease.primitives.http1.interfaces import UpstreamFailure
from keylease.primitives.http1.limits import PoolLimits
from keylease.primitives.http1.outbox import Outbox, Outlet
from keylease.primitives.http1.response_head import IncomingResponse, ResponseHeads
from keylease.primitives.http1.sweeper import NEVER, Sweeper
from keylease.primitives.http1.upstream_call import Call, Carrier

_FINAL: Final = 200
_SWITCHING_PROTOCOLS: Final = 101


class Home(Protocol):
    """The pool, as its connections see it."""

    __slots__ = ()

    limits: PoolLimits
    sweeper: Sweeper
    outbox: Outbox
    heads: ResponseHeads
    on_error: Callable[[BaseException], None]
    """Told what a receiver raised."""

    def opened(self, connection: UpstreamConnection) -> None:
        """The connection is up, TLS included."""
        ...

    def released(self, connection: UpstreamConnection) -> None:
        """The connection can take another request."""
        ...

    def ended(self, connection: UpstreamConnection) -> None:
        """The connection takes no more requests. May be called again."""
        ...


class UpstreamConnection(Carrier):
    """Carries one call at a time."""

    __slots__ = (
        "_call",
        "_closes",
        "_home",
        "_interim",
        "_limits",
        "_outlet",
        "_pending",
        "_read_paused",
        "_reader",
        "_sweeper",
        "_transport",
        "_unsent",
        "_write_paused",
        "deadline",
    )

    def __init__(self, home: Home) -> None:
        self._home = home
        self._limits = home.limits
        self._sweeper = home.sweeper
        self.deadline = NEVER
        self._call: Call | None = None
        self._reader: BodyReader | None = None
        """``None`` while the answer's head is awaited."""
        self._pending = b""
        self._interim = 0
        self._closes = False
        self._read_paused = False
        self._write_paused = False
        self._unsent = 0

    @property
    def usable(self) -> bool:
        """Whether a request could be sent now."""
        return self._call is None and not self._transport.is_closing()

    @property
    def blocked(self) -> bool:
        """The transport's buffer is full."""
        return self._write_paused

    def begin(self, call: Call, message: bytes, body: bytes) -> None:
        """Send a request; its bytes leave at the end of this turn of the loop."""
        self._take_up(call)
        call.carrier = self
        if body:
            self._outlet.write_pair(message, body)
        else:
            self._outlet.write(message)

    def begin_held(self, call: Call) -> None:
        """Send a request that waited for a connection."""
        self._take_up(call)
        call.attach(self)
        if call.input_held:
            self.hold_input(held=True)

    def _take_up(self, call: Call) -> None:
        self._call = call
        self._interim = 0
        self._closes = False
        self.deadline = (
            NEVER if call.unfinished else self._sweeper.now + self._limits.response_seconds
        )

    # --- the transport calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up; only now may anything be written."""
        self._transport: asyncio.Transport = cast("asyncio.Transport", transport)
        self._outlet = Outlet(self._home.outbox, self._transport)
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        call = self._call
        if call is None:
            self.close()
            return
        if not (self._read_paused or call.unfinished):
            self.deadline = self._sweeper.now + self._limits.response_seconds
        try:
            if self._reader is None:
                data = self._take_head(call, self._pending + data if self._pending else data)
            if self._reader is not None and self._call is call:
                self._take_body(call, self._reader, data)
        except (FramingInvalid, UpstreamBroken) as error:
            self._fail("protocol", str(error))
        except Exception as error:  # noqa: BLE001 - a receiver's defect must not stop the pool
            self._home.on_error(error)
            self._fail("protocol", "the answer could not be handled")

    def eof_received(self) -> None:
        """The upstream ended the connection in order (with TLS: by close_notify)."""
        self._home.ended(self)
        call = self._call
        if call is not None and isinstance(self._reader, BodyUntilEnd):
            try:
                self._complete(call, clean=False)
            except Exception as error:  # noqa: BLE001 - as in data_received
                self._home.on_error(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._home.ended(self)
        self._sweeper.discard(self)
        self._fail("reset", f"the connection ended: {exc}" if exc else "the connection ended")

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._write_paused = True
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._sweeper.now + self._limits.response_seconds
        if self._call is not None:
            self._call.receiver.pause_writing()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._write_paused = False
        call = self._call
        if call is not None:
            self.deadline = (
                NEVER if call.unfinished else self._sweeper.now + self._limits.response_seconds
            )
            call.receiver.resume_writing()

    # --- the sweeper calls -----------------------------------------------------------------------

    def expired(self) -> None:
        """Idle for too long, or the upstream is too slow."""
        if self._call is None:
            self.close()
            return
        if self._write_paused:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:  # Slow, but not standing still.
                self._unsent = unsent
                self.deadline = self._sweeper.now + self._limits.response_seconds
                return
        self._fail("timeout", "the upstream took too long")

    # --- the call's side -------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Write bytes of the request."""
        self._outlet.write(data)

    def sent(self) -> None:
        """The request is whole: the upstream's time runs."""
        if not self._read_paused:
            self.deadline = self._sweeper.now + self._limits.response_seconds

    def drop(self) -> None:
        """Close at once, whatever is unsent."""
        self._call = None
        self._home.ended(self)
        self._outlet.abort()

    def hold_input(self, *, held: bool) -> None:
        """Stop or go on taking the answer; time does not run while we are the slow side."""
        if held is self._read_paused or self._transport.is_closing():
            return
        self._read_paused = held
        if held:
            self._transport.pause_reading()
            self.deadline = NEVER
        else:
            self._transport.resume_reading()
            self.deadline = self._sweeper.now + self._limits.response_seconds

    def close(self) -> None:
        """End the connection in order."""
        self._home.ended(self)
        self._outlet.close()

    # --- answers ---------------------------------------------------------------------------------

    def _take_head(self, call: Call, data: bytes) -> bytes:
        """Read heads up to the final one; what follows it is returned."""
        while (blank := data.find(b"\r\n\r\n")) >= 0:
            end = blank + 4
            if end > self._limits.header_bytes:
                raise UpstreamBroken("The upstream's head is too large.")
            incoming = self._home.heads.read(data[:end], to_head=call.to_head)
            data = data[end:]
            if incoming.head.status >= _FINAL:
                self._pending = b""
                self._begin_body(incoming)
                call.receiver.head_received(incoming.head)
                return data
            self._interim += 1
            if incoming.head.status == _SWITCHING_PROTOCOLS:
                raise UpstreamBroken("The upstream switched to another protocol.")
            if self._interim > self._limits.interim_responses:
                raise UpstreamBroken("The upstream sends one interim answer after another.")
        if len(data) > self._limits.header_bytes:
            raise UpstreamBroken("The upstream's head is too large.")
        if STRAY_BYTE.search(data):
            raise UpstreamBroken("The upstream's answer is not valid HTTP/1.1.")
        self._pending = data
        return b""

    def _begin_body(self, incoming: IncomingResponse) -> None:
        head = incoming.head
        self._closes = incoming.closes
        if incoming.chunked:
            self._reader = ChunkedBody()
        elif not head.has_body:
            self._reader = FixedBody(0)
        elif head.content_length is not None:
            self._reader = FixedBody(head.content_length)
        else:
            self._reader = BodyUntilEnd()
            self._closes = True

    def _take_body(self, call: Call, reader: BodyReader, data: bytes) -> None:
        if data and not reader.done:
            for piece in reader.feed(data):
                call.receiver.data_received(piece)
                if self._call is not call:
                    return
            data = reader.rest
        if reader.done:
            self._complete(call, clean=not data)

    def _complete(self, call: Call, *, clean: bool) -> None:
        """The answer is whole; the connection is used again only if nothing is odd about it."""
        reusable = clean and not (self._closes or call.unfinished or self._write_paused)
        self._leave(call)
        if reusable and not self._transport.is_closing():
            if self._read_paused:
                self._read_paused = False
                self._transport.resume_reading()
            self.deadline = self._sweeper.now + self._limits.idle_seconds
            self._home.released(self)
        else:
            self.close()
        call.receiver.response_complete()

    def _fail(self, kind: str, detail: str) -> None:
        call = self._call
        if call is None:
            return
        self._leave(call, over=False)
        self._home.ended(self)
        self._outlet.abort()
        try:
            call.fail(UpstreamFailure(kind, sent=True, detail=detail))
        except Exception as error:  # noqa: BLE001 - a receiver's defect must not stop the pool
            self._home.on_error(error)

    def _leave(self, call: Call, *, over: bool = True) -> None:
        self._call = None
        self._reader = None
        self._pending = b""
        call.over = over
        call.carrier = None
