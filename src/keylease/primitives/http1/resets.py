"""Ends a connection with a reset: nothing else tells a peer that what it got is not the whole."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

_NOW: Final = struct.pack("ii", 1, 0)
"""SO_LINGER switched on, for no seconds."""


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Have the next close send a reset and not an orderly end."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
