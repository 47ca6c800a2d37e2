"""Clients that closed their sending side: some still read, most have left, and TCP says the same.

Both send a FIN and nothing else. Only what is sent to them tells them apart: who still reads takes
it, for who has left the system answers with a reset. So what means nothing to a client is sent
from time to time (``Exchange.probe``), and the socket is asked what came of it.

Limits: who left after it was last probed is noticed at the next probe, ``PROBE_SWEEPS`` sweeps
later at most, or when more of the answer is sent. TLS has no half-closed connections here: neither
event loop can write after the client's close_notify.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

PROBE_SWEEPS: Final = 8
"""Sweeps from one probe to the next; the socket is asked in each."""


def can_half_close(transport: asyncio.BaseTransport) -> bool:
    """Whether an answer can be sent after the client closed its sending side."""
    return transport.get_extra_info("sslcontext") is None


def has_left(transport: asyncio.BaseTransport) -> bool:
    """Whether a probe was answered with a reset. The loop asks no more once a FIN was read."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    error: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error != 0
