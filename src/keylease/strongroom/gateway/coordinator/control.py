"""The control socket: who may connect, how lines are read, how every mistake is answered.

Protects: the socket has mode 0600 in a directory of mode 0700, and the kernel's word on the peer's
    uid is checked on every connection (SO_PEERCRED; LOCAL_PEERCRED on macOS).
Does not protect: against other processes of an allowed user.
Limits: one megabyte per line, 64 connections, 60 seconds between two requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from keylease.contracts.control import (
    CONTROL_VERSION,
    MAXIMUM_LINE,
    ControlError,
    ControlReply,
    ControlRequest,
)
from keylease.errors import AccessDenied, KeyleaseError, RequestMalformed, StorageError
from keylease.primitives.unix_sockets import socket_name
from keylease.strongroom.gateway.coordinator.log import Log

_IDLE_SECONDS: Final = 60.0
_CONNECTIONS: Final = 64
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_XUCRED: Final = struct.Struct("II")
"""The front of ``struct xucred``: version, uid."""
_XUCRED_SIZE: Final = 76
_UCRED: Final = struct.Struct("iII")


class Caller(msgspec.Struct, frozen=True):
    """Who is at the other end, as the kernel says."""

    uid: int


Operation = Callable[[Caller, dict[str, Any]], Awaitable[Any]]
Stream = Callable[[Caller, dict[str, Any]], Awaitable[AsyncIterator[Any]]]
"""Refuses wrong arguments before it gives the iterator."""


class ControlServer:
    """Serves operations by name."""

    def __init__(
        self,
        path: Path,
        *,
        operations: Mapping[str, Operation],
        streams: Mapping[str, Stream],
        allowed_uids: frozenset[int],
        log: Log,
    ) -> None:
        """``allowed_uids`` may connect; nobody else gets more than one line of refusal."""
        self._path = path
        self._operations = dict(operations)
        self._streams = dict(streams)
        self._allowed = allowed_uids
        self._log = log
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; raises ``StorageError`` when the path cannot be used."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            # The data directory is locked by us, so a socket that lies there is a dead one.
            self._path.unlink(missing_ok=True)
            previous = os.umask(0o177)
            try:
                with socket_name(self._path) as name:
                    listener.bind(name)
            finally:
                os.umask(previous)
        except OSError as error:
            listener.close()
            raise StorageError(
                f"The control socket {self._path} cannot be made: {error.strerror or error}.",
                advice="Choose a shorter --data-dir."
                if "too long" in str(error)
                else "Check the permissions of its directory.",
            ) from error
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=MAXIMUM_LINE
        )

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - asyncio runs this as a task
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # the caller has gone, or says nothing
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in self._allowed or len(self._connections) > _CONNECTIONS:
            self._log.warning("control_refused", uid=uid)
            refusal = AccessDenied("This user may not control this gateway.")
            await _write(writer, _refused(refusal))
            return
        caller = Caller(uid)
        while True:
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                error = RequestMalformed("The line is too long.")
                await _write(writer, _refused(error))
                return
            await self._answer(caller, line, reader, writer)

    async def _answer(
        self,
        caller: Caller,
        line: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            request = _read(line)
            if (stream := self._streams.get(request.operation)) is not None:
                await _follow(await stream(caller, request.arguments), reader, writer)
                return
            operation = self._operations.get(request.operation, _unknown)
            reply = ControlReply(result=await operation(caller, request.arguments))
        except msgspec.ValidationError as error:
            reply = _refused(RequestMalformed(f"An argument is wrong: {error}."))
        except KeyleaseError as error:
            reply = _refused(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - a defect ends one request, not the gateway
            self._log.error("control_defect", error=type(error).__name__)
            reply = _refused(KeyleaseError("The gateway failed to answer (this is a defect)."))
        await _write(writer, reply)


async def _unknown(_caller: Caller, _arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - an Operation
    raise RequestMalformed(
        "There is no such operation.",
        advice="The gateway may be older than the command: restart it.",
    )


def _read(line: bytes) -> ControlRequest:
    try:
        request = msgspec.json.decode(line, type=ControlRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestMalformed("The line is no control request in JSON.") from error
    if request.version != CONTROL_VERSION:
        raise RequestMalformed(
            f"Version {request.version} of the control protocol is not known here.",
            advice="Use a command and a gateway of the same version.",
        )
    return request


def _refused(error: KeyleaseError) -> ControlReply:
    return ControlReply(
        error=ControlError(
            code=error.code,
            message=error.message,
            advice=error.advice,
            exit_status=error.exit_status,
        )
    )


async def _write(writer: asyncio.StreamWriter, reply: ControlReply) -> None:
    writer.write(msgspec.json.encode(reply) + b"\n")
    await writer.drain()


async def _follow(
    items: AsyncIterator[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write items until they end or the client closes or speaks."""

    async def write_all() -> None:
        async for item in items:
            await _write(writer, ControlReply(result=item, more=True))
        await _write(writer, ControlReply())

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_all())
        listening = group.create_task(reader.read(1))
        await asyncio.wait({writing, listening}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            writing.cancel()
        listening.cancel()
    if not writing.cancelled() and writing.done():
        return
    raise ConnectionResetError


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel says."""
    if sys.platform == "darwin":
        data = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_SIZE)
        return int(_XUCRED.unpack_from(data)[1])
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(data)[1])
