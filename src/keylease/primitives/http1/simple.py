"""HTTP/1.1 with ``await``, for servers and clients that are not the gateway's hot path.

The same strict wire layer underneath; one task per request on top.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from keylease.primitives.http1.fetching import StreamedResponse, fetch
from keylease.primitives.http1.interfaces import Headers, RequestHead, Responder
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.rendering import encode_headers
from keylease.primitives.http1.server import Http1Server
from keylease.primitives.tasks import TaskOwner

__all__ = [
    "AbortResponse",
    "Handler",
    "Request",
    "Response",
    "SimpleServer",
    "StreamedResponse",
    "fetch",
    "serve",
]


class Request(msgspec.Struct):
    """A whole request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case; of a repeated field the first value."""
    body: bytes
    peer: str


class Response(msgspec.Struct):
    """An answer. A body that is an iterator is sent chunked, one chunk per item."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] = b""


Handler = Callable[[Request], Awaitable[Response]]


class AbortResponse(Exception):
    """Raised by a handler or a body's iterator to break the connection in the middle."""


class _Exchange:
    """Collects one request, runs the handler as a task, sends what it returns."""

    def __init__(
        self, head: RequestHead, responder: Responder, handler: Handler, tasks: TaskOwner
    ) -> None:
        self._head = head
        self._responder = responder
        self._handler = handler
        self._tasks = tasks
        self._body: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def body_received(self, data: bytes) -> None:
        self._body.append(data)

    def request_complete(self) -> None:
        self._task = self._tasks.start(self._run(), name=f"http {self._head.path}")

    def client_gone(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _run(self) -> None:
        head = self._head
        headers: dict[str, str] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        request = Request(
            method=head.method,
            path=head.path,
            query=head.query,
            headers=headers,
            body=b"".join(self._body),
            peer=self._responder.peer,
        )
        begun = False
        try:
            response = await self._handler(request)
            fields = encode_headers(response.headers)
            if isinstance(response.body, bytes):
                self._responder.send(response.status, fields, response.body)
                return
            begun = True
            self._responder.start(response.status, fields)
            await self._stream(response.body)
        except AbortResponse:
            self._responder.abort()
        except Exception:
            if begun:
                self._responder.abort()
            else:
                plain: Headers = [(b"content-type", b"text/plain")]
                self._responder.send(500, plain, b"The server failed to answer.\n")
            raise

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        try:
            async for piece in body:
                self._responder.write(piece)
                await self._writable.wait()
            self._responder.finish()
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()


class SimpleServer:
    """A running server; made by ``serve``."""

    def __init__(self, server: Http1Server, tasks: TaskOwner) -> None:
        self._server = server
        self._tasks = tasks
        self.addresses = server.addresses
        """Host and port of each listening TCP socket."""

    async def close(self, *, drain_seconds: float = 5.0) -> None:
        """Stop accepting, let answers finish for so long, then cut the rest."""
        await self._server.drain(drain_seconds)
        await self._tasks.close()


async def serve(  # noqa: PLR0913 - where to listen can be said in three ways
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sock: socket.socket | None = None,
    unix_path: str | None = None,
    ssl: tls.SSLContext | None = None,
    limits: ServerLimits | None = None,
    on_error: Callable[[BaseException], None] | None = None,
) -> SimpleServer:
    """Listen and answer every request with ``handler``, one task per request.

    Bodies are collected up to ``limits.body_bytes``. When the client leaves, the task is cancelled
    and a streaming body's iterator closed. What a handler raises becomes a plain 500 (or a broken
    connection once the answer has begun) and goes to ``on_error``, by default the event loop's
    exception handler.
    """
    report = on_error or _report_to_loop(asyncio.get_running_loop())
    tasks = TaskOwner(report)

    def factory(head: RequestHead, responder: Responder) -> _Exchange:
        return _Exchange(head, responder, handler, tasks)

    server = Http1Server(factory, limits=limits, on_error=report)
    await server.listen(host=host, port=port, sock=sock, unix_path=unix_path, ssl_context=ssl)
    return SimpleServer(server, tasks)


def _report_to_loop(loop: asyncio.AbstractEventLoop) -> Callable[[BaseException], None]:
    def report(error: BaseException) -> None:
        loop.call_exception_handler({"message": "a request handler failed", "exception": error})

    return report
