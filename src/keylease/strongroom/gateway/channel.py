"""MessagePack frames over a socket pair: one end in a worker, one in its coordinator.

    frame   u32 length of what follows (big-endian), u8 kind, body
    kind 0  a message, MessagePack, one of ``messages``
    kind 1  a block of encoded segment records (call records), not looked into

The pair is made by the coordinator and inherited by the worker; nobody else has an end of it. An
end that closes is how either side learns that the other has died.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Generic, TypeVar, cast

import msgspec

from keylease.errors import ProcessFailed
from keylease.strongroom.gateway.messages import ToCoordinator, ToWorker

MAXIMUM_FRAME: Final = 64 * 1024 * 1024
BUSY_BYTES: Final = 8 * 1024 * 1024
"""More unsent bytes than this mean that the other side does not keep up."""
_LENGTH: Final = struct.Struct(">I")
_FRONT: Final = struct.Struct(">IB")
_MESSAGE: Final = 0
_BLOCK: Final = 1
_FRONT_SIZE: Final = _FRONT.size

Incoming = TypeVar("Incoming")
Outgoing = TypeVar("Outgoing")


class Channel(asyncio.Protocol, Generic[Incoming, Outgoing]):
    """One end. Callbacks run on the loop's thread and must not raise.

    ``on_closed`` is called once, with an error when a frame could not be read.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[Incoming],
        *,
        on_message: Callable[[Incoming], None],
        on_block: Callable[[bytes], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message = on_message
        self._on_block = on_block
        self._on_closed = on_closed
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.busy = True
        """The other side does not keep up, or is not there."""
        self._error: Exception | None = None

    async def open(self, pair: socket.socket) -> None:
        """Take an end of the pair over. Callbacks may come before this returns."""
        pair.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=pair)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # uvloop's transports are none of asyncio's classes, and behave like them.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=BUSY_BYTES)
        self.busy = False

    def pause_writing(self) -> None:
        """Called by asyncio when more than ``BUSY_BYTES`` wait."""
        self.busy = True

    def resume_writing(self) -> None:
        """Called by asyncio when a quarter of that is left."""
        self.busy = False

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._buffer += data
        buffer, offset, size = self._buffer, 0, len(self._buffer)
        try:
            while size - offset >= _FRONT_SIZE:
                length, kind = _FRONT.unpack_from(buffer, offset)
                if not 0 < length <= MAXIMUM_FRAME or kind > _BLOCK:
                    raise ProcessFailed("A frame on a worker's channel is malformed.")  # noqa: TRY301 - one place closes
                end = offset + _LENGTH.size + length
                if end > size:
                    break
                with memoryview(buffer) as view, view[offset + _FRONT_SIZE : end] as body:
                    message = None if kind == _BLOCK else self._decoder.decode(body)
                    block = bytes(body) if kind == _BLOCK else b""
                offset = end
                if message is None:
                    self._on_block(block)
                else:
                    self._on_message(message)
        except (ProcessFailed, msgspec.DecodeError) as error:
            self._error = error
            self.close()
            return
        del buffer[:offset]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        self.busy = True
        self._on_closed(self._error or exc)

    @property
    def closed(self) -> bool:
        """Whether nothing can be said any more."""
        return self._transport is None

    def send(self, message: Outgoing) -> None:
        """Send a message; silently dropped when the other side is gone (``on_closed`` said so)."""
        if self._transport is not None:
            body = self._encoder.encode(message)
            self._transport.write(_FRONT.pack(len(body) + 1, _MESSAGE) + body)

    def send_block(self, block: bytes) -> None:
        """Send encoded segment records."""
        if self._transport is not None:
            self._transport.write(_FRONT.pack(len(block) + 1, _BLOCK) + block)

    def close(self) -> None:
        """Send what is waiting, then close."""
        if self._transport is not None:
            self._transport.close()


CoordinatorEnd = Channel[ToCoordinator, ToWorker]
"""The end that reads what a worker says."""
WorkerEnd = Channel[ToWorker, ToCoordinator]
"""The end that reads what the coordinator says."""


def coordinator_end(
    *,
    on_message: Callable[[ToCoordinator], None],
    on_block: Callable[[bytes], None],
    on_closed: Callable[[Exception | None], None],
) -> CoordinatorEnd:
    """The coordinator's end of a socket pair; ``open`` it."""
    decoder: msgspec.msgpack.Decoder[ToCoordinator] = msgspec.msgpack.Decoder(ToCoordinator)
    return Channel(decoder, on_message=on_message, on_block=on_block, on_closed=on_closed)


def worker_end(
    *,
    on_message: Callable[[ToWorker], None],
    on_closed: Callable[[Exception | None], None],
) -> WorkerEnd:
    """The worker's end of a socket pair; ``open`` it."""

    def refuse(_block: bytes) -> None:
        raise ProcessFailed("A worker is sent no records.")

    decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
    return Channel(decoder, on_message=on_message, on_block=refuse, on_closed=on_closed)
