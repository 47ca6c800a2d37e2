"""Building stones for tests of the HTTP/1.1 layer: recording handlers, fake and raw peers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, cast

from keylease.primitives.clock import SystemClock
from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.connections import Connections
from keylease.primitives.http1.interfaces import (
    HandlerFactory,
    Headers,
    RequestHandler,
    RequestHead,
    Responder,
    ResponseHead,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.primitives.http1.limits import PoolLimits, ServerLimits
from keylease.primitives.http1.rendering import render_fields
from keylease.primitives.http1.server import Http1Server
from keylease.primitives.http1.server_protocol import ServerProtocol

PATIENCE_SECONDS = 5
"""For what takes milliseconds on a machine that has nothing else to do."""


def no_error(error: BaseException) -> None:
    raise AssertionError("nothing should have been reported") from error


class RecordingHandler:
    """Notes what happens to it; answers when the request is complete, unless told to wait."""

    def __init__(self, head: RequestHead, responder: Responder, *, answer: bool = True) -> None:
        self.head = head
        self.responder = responder
        self.answer = answer
        self.pieces: list[bytes] = []
        self.events: list[str] = []
        self.changed = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while event not in self.events:
                self.changed.clear()
                await self.changed.wait()

    def body_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self._note("body")

    def request_complete(self) -> None:
        self._note("complete")
        if self.answer:
            target = self.head.target + b" "
            self.responder.send(200, [(b"x-a", b"b")], target + self.body)

    def client_gone(self) -> None:
        self._note("gone")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")


class Recorder:
    """A handler factory that keeps the handlers it made."""

    def __init__(
        self, make: Callable[[RequestHead, Responder], RequestHandler] | None = None
    ) -> None:
        self._make = make or RecordingHandler
        self.handlers: list[RecordingHandler] = []
        self.changed = asyncio.Event()

    def __call__(self, head: RequestHead, responder: Responder) -> RequestHandler:
        handler = self._make(head, responder)
        self.handlers.append(cast("RecordingHandler", handler))
        self.changed.set()
        return handler

    async def nth(self, number: int) -> RecordingHandler:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.handlers) <= number:
                self.changed.clear()
                await self.changed.wait()
        return self.handlers[number]


class FakeTransport(asyncio.Transport):
    """Keeps what is written; a test plays the network."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.ended = False
        self.reading = True
        self.unsent = 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 1234) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "nothing may be written after the end"
        if not self.closed:
            self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class InMemory(NamedTuple):
    """A server connection without a network."""

    protocol: ServerProtocol
    transport: FakeTransport
    recorder: Recorder
    shared: Connections

    def feed(self, *pieces: bytes) -> bytes:
        """Deliver ``pieces`` until the server wants no more; what it wrote."""
        for piece in pieces:
            if self.transport.ended or self.transport.closed:
                break
            self.protocol.data_received(piece)
            self.shared.outbox.flush()
        return self.transport.written

    def stop(self) -> None:
        self.protocol.connection_lost(None)
        self.shared.sweeper.stop()


def in_memory_server(
    loop: asyncio.AbstractEventLoop,
    *,
    recorder: Recorder | None = None,
    limits: ServerLimits | None = None,
) -> InMemory:
    recorder = recorder or Recorder()
    shared = Connections(loop, recorder, limits or ServerLimits(), no_error, SystemClock())
    protocol = ServerProtocol(shared)
    transport = FakeTransport()
    protocol.connection_made(transport)
    return InMemory(protocol, transport, recorder, shared)


@contextlib.asynccontextmanager
async def running_server(
    factory: HandlerFactory,
    *,
    limits: ServerLimits | None = None,
    on_error: Callable[[BaseException], None] = no_error,
    drain_seconds: float = 0.0,
) -> AsyncIterator[tuple[Http1Server, int]]:
    server = Http1Server(factory, limits=limits, on_error=on_error)
    await server.listen(host="127.0.0.1")
    try:
        yield server, server.addresses[0][1]
    finally:
        await server.drain(drain_seconds)


class RawClient:
    """A client that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readuntil(end)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readexactly(count)

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of an answer with a length."""
        head = await self.until(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return head, await self.exactly(length)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, which has to come."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()

    def reset(self) -> None:
        """End the connection by a reset, not in order."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def nothing(self, seconds: float = 0.05) -> None:
        """Nothing comes for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                data = await self.reader.read(1)
                raise AssertionError(f"something came: {data!r}")


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_upstream(
    serve: Callable[[RawClient, int], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that is a script: ``serve(peer, number of the connection)``, then it closes."""
    count = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        number, count = count, count + 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(RawClient(reader, writer), number)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class LocalAddress(NamedTuple):
    ip: str
    port: int


@contextlib.asynccontextmanager
async def pool_to(
    port: int,
    *,
    limits: PoolLimits | None = None,
    on_error: Callable[[BaseException], None] = no_error,
) -> AsyncIterator[UpstreamPool]:
    async def resolve() -> list[LocalAddress]:
        return [LocalAddress("127.0.0.1", port)]

    pool = UpstreamPool(
        host="localhost",
        port=port,
        resolve=resolve,
        ssl_context=None,
        limits=limits,
        on_error=on_error,
    )
    try:
        yield pool
    finally:
        await pool.close()


class RecordingReceiver:
    """Notes what comes back from a pool."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.pieces: list[bytes] = []
        self.failure: UpstreamFailure | None = None
        self.events: list[str] = []
        self.changed = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def _note(self, event: str) -> None:
        assert "complete" not in self.events, "nothing is called after the end"
        assert "failed" not in self.events, "nothing is called after the end"
        self.events.append(event)
        self.changed.set()

    async def until(self, *events: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not set(events) & set(self.events):
                self.changed.clear()
                await self.changed.wait()

    async def ended(self) -> None:
        await self.until("complete", "failed")

    def head_received(self, head: ResponseHead) -> None:
        assert self.head is None, "there is one final head"
        self.head = head
        self._note("head")

    def data_received(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)
        self._note("data")

    def response_complete(self) -> None:
        self._note("complete")

    def failed(self, failure: UpstreamFailure) -> None:
        self.failure = failure
        self._note("failed")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")


class BareProxy:
    """The least that joins a server and a pool: one handler that is a receiver as well."""

    def __init__(self, head: RequestHead, responder: Responder, pool: UpstreamPool) -> None:
        self._head = head
        self._responder = responder
        self._pool = pool
        self._body: list[bytes] = []
        self._request: UpstreamRequest | None = None

    def body_received(self, data: bytes) -> None:
        self._body.append(data)

    def request_complete(self) -> None:
        fields: Headers = [field for field in self._head.headers if field[0] != b"host"]
        self._request = self._pool.request(
            method=self._head.method,
            target=self._head.target,
            headers=render_fields(fields),
            receiver=_Back(self._responder),
            body=b"".join(self._body),
        )

    def client_gone(self) -> None:
        if self._request is not None:
            self._request.cancel()

    def pause_writing(self) -> None:
        if self._request is not None:
            self._request.pause_reading()

    def resume_writing(self) -> None:
        if self._request is not None:
            self._request.resume_reading()


class _Back:
    """The way back of a ``BareProxy``."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._begun = False

    def head_received(self, head: ResponseHead) -> None:
        self._begun = True
        self._responder.start(head.status, head.headers, content_length=head.content_length)

    def data_received(self, data: bytes) -> None:
        self._responder.write(data)

    def response_complete(self) -> None:
        self._responder.finish()

    def failed(self, failure: UpstreamFailure) -> None:
        if self._begun:
            self._responder.abort()
        else:
            self._responder.send(502, [], failure.kind.encode("ascii"))

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass
