"""Pools of upstream connections, one for each origin that a binding allows.

Protects: connections go to the address that the egress guard checked for the bound name, and with
    https only to a host whose certificate is good for it. Nothing in a request has a say in it.
Does not protect: plain http upstreams, which a binding may list, can be read on the way.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec

from keylease.errors import BindingMissing
from keylease.primitives.egress.addresses import checked_addresses
from keylease.primitives.egress.tls import client_context
from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.interfaces import Pool
from keylease.primitives.http1.limits import PoolLimits
from keylease.strongroom.configuration import GatewayConfiguration, Origin

_PORTS: Final = {"https": 443, "http": 80}
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:.]{2,45}")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127})*")


class Endpoint(msgspec.Struct, frozen=True):
    """A base URL in its parts."""

    origin: Origin
    prefix: str
    """Path without a slash at its end; may be empty."""


def read_base_url(url: str) -> Endpoint:
    """Take a base URL apart; ``BindingMissing`` when it could mean more than an origin and path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BindingMissing("The credential's upstream is not a valid URL.") from error
    host = (parts.hostname or "").lower()
    prefix = parts.path.rstrip("/")
    if (
        parts.scheme not in _PORTS
        or not _HOST.fullmatch(host)
        or "@" in parts.netloc
        or "?" in url
        or "#" in url
        or "\\" in url
        or not url.isascii()
        or not url.isprintable()
        or not _PREFIX.fullmatch(prefix)
    ):
        raise BindingMissing("The credential's upstream is not a plain http or https base URL.")
    return Endpoint(Origin(parts.scheme, host, port or _PORTS[parts.scheme]), prefix)


class PoolFactory(Protocol):
    """Makes the pool of one origin."""

    def __call__(self, origin: Origin, *, allow_private: bool) -> Pool:
        """Make a pool; it connects when the first request comes."""
        ...


class Upstreams:
    """The pools of one worker."""

    def __init__(
        self,
        configuration: GatewayConfiguration,
        *,
        on_error: Callable[[BaseException], None],
        pool_factory: PoolFactory | None = None,
    ) -> None:
        """``on_error`` is told of defects in callbacks; ``pool_factory`` replaces real pools."""
        self._configuration = configuration
        self._on_error = on_error
        self._make = pool_factory or self._real_pool
        self._pools: dict[tuple[Origin, bool], Pool] = {}
        self._context: ssl.SSLContext | None = None

    def pool(self, origin: Origin, *, allow_private: bool) -> Pool:
        """The pool of ``origin``; made when it is first asked for."""
        key = (origin, allow_private)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._make(origin, allow_private=allow_private)
        return pool

    def _real_pool(self, origin: Origin, *, allow_private: bool) -> Pool:
        limits = self._configuration.limits
        secure = origin.scheme == "https"
        return UpstreamPool(
            host=origin.host,
            port=origin.port,
            resolve=partial(
                checked_addresses, origin.host, origin.port, allow_private=allow_private
            ),
            ssl_context=self._tls() if secure else None,
            limits=PoolLimits(
                connections=limits.upstream_connections,
                connect_seconds=limits.upstream_connect_seconds,
                response_seconds=limits.upstream_response_seconds,
                header_bytes=limits.header_bytes,
            ),
            on_error=self._on_error,
        )

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = client_context(self._configuration.upstream_ca_file or None)
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    async def close(self) -> None:
        """Close every pool."""
        pools = list(self._pools.values())
        self._pools.clear()
        await asyncio.gather(*(pool.close() for pool in pools))
