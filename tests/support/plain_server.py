"""A server on loopback that answers with exactly the bytes a test wants, HTTP or not."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(body: bytes | dict[str, object], *, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole answer; a dictionary becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


class PlainServer:
    """Answers by path; what is not there gets a 404. ``requests`` counts by path."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.requests: dict[str, int] = {}
        self.heads: list[bytes] = []
        self.readers: list[asyncio.StreamReader] = []
        self.connections = 0


@asynccontextmanager
async def plain_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[PlainServer]:
    """Serve on a free port until the block ends."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        plain.connections += 1
        plain.readers.append(reader)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                plain.heads.append(head)
                path = head.split(b" ")[1].decode()
                plain.requests[path] = plain.requests.get(path, 0) + 1
                answer = plain.answers.get(path, http(b"", status="404 Not Found"))
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            handlers.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    plain = PlainServer(server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield plain
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()
