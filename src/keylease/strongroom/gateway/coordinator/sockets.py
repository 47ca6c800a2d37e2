"""Binds what the gateway listens on.

Without SO_REUSEPORT: a second start on the same port is refused by the kernel. The sockets listen
from the start, so that early connections wait in the queue and nobody else can take the port.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Final

from keylease.errors import GatewayFileInvalid, PortInUse, ProcessError
from keylease.strongroom.configuration import Address

_BACKLOG: Final = 1024


def bind_all(addresses: Iterable[Address]) -> list[socket.socket]:
    """A listening socket for every address; raises ``PortInUse`` or ``ProcessError``.

    A name such as ``localhost`` may stand for more than one.
    """
    bound: list[socket.socket] = []
    try:
        for address in addresses:
            bound += _bind(address)
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return bound


def _bind(address: Address) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except OSError as error:
        raise GatewayFileInvalid(
            f"The listening address {address.host!r} cannot be resolved.",
            advice="Use an address of this machine, such as 127.0.0.1.",
        ) from error
    bound: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, name in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            # For connections of an earlier life in TIME_WAIT; two listeners stay impossible.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((name[0], port, *name[2:]))
            listener.listen(_BACKLOG)
            port = listener.getsockname()[1]  # the same one for every family when it was 0
    except OSError as error:
        for listener in bound:
            listener.close()
        raise _explained(error, Address(address.host, port)) from error
    return bound


def _explained(error: OSError, address: Address) -> ProcessError:
    where = f"{address.host} port {address.port}"
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"Something else already listens on {where}.",
            advice="Stop it, or choose another port in gateway.toml or with --port.",
        )
    if error.errno == errno.EACCES:
        return ProcessError(
            f"This user may not listen on {where}.", advice="Choose a port above 1023."
        )
    return ProcessError(
        f"The gateway cannot listen on {where} ({errno.errorcode.get(error.errno or 0, '')}).",
        advice="Use an address of this machine.",
    )


def base_url(listener: socket.socket, *, secure: bool) -> str:
    """How a client on this machine reaches a listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"
