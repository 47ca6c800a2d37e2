"""An HTTP client for everything that is not a model call.

Protects: connects to the address that was checked, on every new connection, so that a name which
    changes its answer gains nothing; follows no redirects; reads no proxy or certificate variable;
    bounds the size of an answer and the whole time it takes.
Does not protect: what is done with the answer.
Limits: a compressed answer is refused, because its size is not known before it is unpacked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import httpcore
import httpx

from keylease.errors import EgressRefused
from keylease.primitives.egress.addresses import Resolver, checked_addresses, resolve
from keylease.primitives.egress.tls import client_context

AllowPrivate = Callable[[str], bool] | bool
DEFAULT_TIMEOUT: Final = 10.0
"""Seconds for one request, from its first byte to the last of the answer."""
DEFAULT_MAXIMUM_BYTES: Final = 1024 * 1024
_MAXIMUM_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 30.0


def guarded_client(
    *,
    allow_private: AllowPrivate = False,
    timeout: float = DEFAULT_TIMEOUT,
    maximum_bytes: int = DEFAULT_MAXIMUM_BYTES,
    ca_file: str | None = None,
    resolver: Resolver = resolve,
    headers: dict[str, str] | None = None,
) -> httpx.AsyncClient:
    """Make a client that stays within the guard. Close it when done.

    ``allow_private`` says for which hosts private addresses, and plain http to them, are allowed.
    ``timeout`` is in seconds for the whole exchange; ``maximum_bytes`` bounds an answer's body.
    ``ca_file`` replaces the public certificate authorities. Requests raise ``EgressRefused`` or
    an ``httpx.HTTPError``.
    """
    transport = GuardedTransport(
        allow_private=allow_private,
        timeout=timeout,
        maximum_bytes=maximum_bytes,
        ssl_context=client_context(ca_file),
        resolver=resolver,
    )
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "keylease", **(headers or {})},
    )


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only; httpcore asks it for every new one."""

    def __init__(
        self, *, allow_private: Callable[[str], bool], private_only: bool, resolver: Resolver
    ) -> None:
        self._allow_private = allow_private
        self._private_only = private_only
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check, and connect to an address by number."""
        addresses = await checked_addresses(
            host, port, allow_private=self._allow_private(host), resolver=self._resolver
        )
        if self._private_only and not all(address.private for address in addresses):
            raise EgressRefused(
                "Plain http does not leave the private network.", advice="Use https."
            )
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address.ip, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's retries."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx.AsyncBaseTransport):
    """The transport of ``guarded_client``."""

    def __init__(
        self,
        *,
        allow_private: AllowPrivate,
        timeout: float,
        maximum_bytes: int,
        ssl_context: ssl.SSLContext,
        resolver: Resolver,
    ) -> None:
        self._allow_private = (
            allow_private if callable(allow_private) else lambda _host: bool(allow_private)
        )
        self._timeout = timeout
        self._maximum_bytes = maximum_bytes
        # Two pools, because a backend is not told whether TLS will follow.
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                ssl_context=ssl_context,
                max_connections=_MAXIMUM_CONNECTIONS,
                max_keepalive_connections=_MAXIMUM_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=_GuardedBackend(
                    allow_private=self._allow_private,
                    private_only=scheme == "http",
                    resolver=resolver,
                ),
            )
            for scheme in ("https", "http")
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request within the bounds."""
        url = request.url
        if url.scheme != "https" and not (
            url.scheme == "http" and self._allow_private(url.raw_host.decode())
        ):
            raise EgressRefused(
                "Outbound requests use https.",
                advice="Plain http is allowed only to hosts whose private address is allowed.",
            )
        deadline = asyncio.get_running_loop().time() + self._timeout
        with _bounded_errors(request):
            async with asyncio.timeout_at(deadline):
                answer = await self._pools[url.scheme].handle_async_request(
                    httpcore.Request(
                        method=request.method,
                        url=httpcore.URL(
                            scheme=url.raw_scheme,
                            host=url.raw_host,
                            port=url.port,
                            target=url.raw_path,
                        ),
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        body = _BoundedStream(
            answer, request=request, deadline=deadline, maximum_bytes=self._maximum_bytes
        )
        encoding = httpx.Headers(answer.headers).get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            await body.aclose()
            raise EgressRefused("The answer is compressed although we asked for none.")
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=body,
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    """An answer's body that ends in an error when it is too long or too late."""

    def __init__(
        self,
        answer: httpcore.Response,
        *,
        request: httpx.Request,
        deadline: float,
        maximum_bytes: int,
    ) -> None:
        self._answer = answer
        self._request = request
        self._deadline = deadline
        self._left = maximum_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._answer.aiter_stream()
        while True:
            with _bounded_errors(self._request):
                async with asyncio.timeout_at(self._deadline):
                    piece = await anext(pieces, None)
            if piece is None:
                return
            self._left -= len(piece)
            if self._left < 0:
                raise EgressRefused("The answer is larger than allowed.")
            yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _bounded_errors(request: httpx.Request) -> Iterator[None]:
    """Turn httpcore's errors, and our own time-out, into httpx's of the same names."""
    try:
        yield
    except TimeoutError as error:
        raise httpx.ReadTimeout("The whole time is over.", request=request) from error
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error), request=request) from error
