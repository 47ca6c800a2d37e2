"""Serves a stand-in of ``simulator.systems``, with paths just as they came.

Our own server refuses the encoded slashes that GitLab's paths have, and a general one takes longer
to start and stop than the tests of a connector take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keylease.primitives.http1.simple import Handler, Request

_HEAD_LINES = 1


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """Answer requests without a body on a free port; gives the origin."""
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await _answer(handler, head.split("\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        await server.wait_closed()


async def _answer(handler: Handler, lines: list[str], writer: asyncio.StreamWriter) -> None:
    method, target, _ = lines[0].split(" ")
    path, _, query = target.partition("?")
    fields = (line.partition(":") for line in lines[_HEAD_LINES:] if line)
    answered = await handler(
        Request(
            method=method,
            path=path,
            query=query,
            headers={name.lower(): value.strip() for name, _, value in fields},
            body=b"",
            peer="",
        )
    )
    assert isinstance(answered.body, bytes)
    head = [f"HTTP/1.1 {answered.status} X", f"Content-Length: {len(answered.body)}"]
    head += [f"{name}: {value}" for name, value in answered.headers]
    writer.write("\r\n".join([*head, "", ""]).encode() + answered.body)
    await writer.drain()
