"""What the scripted upstreams of the pool's tests do, and how they are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.support.http1_kit import (
    RawClient,
    RecordingReceiver,
)

from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.interfaces import UpstreamFailure, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(
    *answers: bytes, requests: list[bytes] | None = None
) -> Callable[[RawClient, int], Awaitable[None]]:
    """Answers the requests of a connection one by one, then closes it."""

    async def serve(peer: RawClient, number: int) -> None:
        del number
        for answer in answers:
            head = await peer.until(b"\r\n\r\n")
            if b"\r\ncontent-length: " in head:
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                head += await peer.exactly(length)
            if requests is not None:
                requests.append(head)
            peer.send(answer)

    return serve


async def forever(peer: RawClient, number: int) -> None:
    """Answers everything."""
    del number
    while True:
        await peer.until(b"\r\n\r\n")
        peer.send(OK)


async def silent(peer: RawClient, number: int) -> None:
    del number
    await peer.reader.read()


def get(pool: UpstreamPool, receiver: RecordingReceiver, *, method: str = "GET") -> UpstreamRequest:
    return pool.request(method=method, target=b"/a?b", headers=b"x-a: b\r\n", receiver=receiver)


async def ask(pool: UpstreamPool, *, method: str = "GET") -> RecordingReceiver:
    receiver = RecordingReceiver()
    get(pool, receiver, method=method)
    await receiver.ended()
    return receiver


def failure(receiver: RecordingReceiver) -> UpstreamFailure:
    assert receiver.failure is not None
    return receiver.failure
