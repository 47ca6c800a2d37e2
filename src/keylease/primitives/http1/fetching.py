"""A request with ``await``, on a pool: for tests and for code off the gateway's hot path."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Self

from keylease.errors import UpstreamBroken, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from keylease.primitives.http1.interfaces import (
    Pool,
    ResponseHead,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.primitives.http1.rendering import encode_headers, render_fields

_HELD_PIECES: Final = 16
"""Pieces of an answer that nobody has taken yet; reading pauses beyond it."""


class StreamedResponse:
    """An answer whose body comes piece by piece: ``async for piece in response``.

    The iteration raises an ``UpstreamError`` when the answer breaks off. Read it to its end or
    call ``aclose``, or use it in ``async with``.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        """In order; names in lower case."""
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._complete = False
        self._failure: UpstreamFailure | None = None
        self._request: UpstreamRequest | None = None
        self._paused = False

    # --- what the pool calls -----------------------------------------------------------------

    def head_received(self, head: ResponseHead) -> None:
        """The answer begins."""
        self.status = head.status
        self.headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers
        ]
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(data)
        self._changed.set()
        if len(self._pieces) > _HELD_PIECES and not self._paused and self._request is not None:
            self._paused = True
            self._request.pause_reading()

    def response_complete(self) -> None:
        """The answer is whole."""
        self._complete = True
        self._changed.set()

    def failed(self, failure: UpstreamFailure) -> None:
        """There is no more of it."""
        self._failure = failure
        self._changed.set()

    def pause_writing(self) -> None:
        """The body is handed over whole; there is nothing to pause."""

    def resume_writing(self) -> None:
        """As ``pause_writing``."""

    # --- what the requester calls --------------------------------------------------------------

    async def begun(self, request: UpstreamRequest) -> None:
        """Wait for the head; raises an ``UpstreamError``."""
        self._request = request
        try:
            while not self.status:
                await self._news()
        except BaseException:
            request.cancel()
            raise

    async def _news(self) -> None:
        if self._failure is not None:
            raise _as_error(self._failure)
        self._changed.clear()
        await self._changed.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._complete:
                raise StopAsyncIteration
            await self._news()
        piece = self._pieces.popleft()
        if self._paused and not self._pieces and self._request is not None:
            self._paused = False
            self._request.resume_reading()
        return piece

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Give up what was not read; does nothing after the end."""
        if self._request is not None:
            self._request.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


async def fetch(
    pool: Pool,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> StreamedResponse:
    """Send a request and wait for the head of its answer.

    Raises ``UpstreamUnreachable`` when nothing was sent, ``UpstreamTimedOut`` or
    ``UpstreamBroken``. ``Host`` and framing are the pool's; those given here are dropped.
    """
    response = StreamedResponse()
    fields = [field for field in encode_headers(headers) if field[0] != b"host"]
    request = pool.request(
        method=method,
        target=target.encode("ascii"),
        headers=render_fields(fields),
        receiver=response,
        body=body,
    )
    await response.begun(request)
    return response


def _as_error(failure: UpstreamFailure) -> UpstreamError:
    if not failure.sent:
        return UpstreamUnreachable("The server could not be reached.", advice=failure.detail)
    if failure.kind == "timeout":
        return UpstreamTimedOut("The server took too long to answer.")
    return UpstreamBroken("The server's answer broke off or was not valid HTTP.")
