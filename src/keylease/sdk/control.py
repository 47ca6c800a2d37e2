"""A client of a gateway's control socket, for the command line and for scripts on its machine.

Light and synchronous: one connection, one line for each question. Raises the gateway's own errors
(``KeyleaseError`` of the same class), and ``GatewayNotRunning`` when nobody answers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from keylease.contracts.control import ControlError, ControlReply, ControlRequest
from keylease.errors import GatewayNotRunning, KeyleaseError, LimitReached, TokenExchangeRefused
from keylease.primitives.unix_sockets import socket_name

_TIMEOUT: Final = 30.0
_START: Final = "Start it with `keylease up`, or say where its data is with --data-dir."


class _Refused(KeyleaseError):
    """An error of a gateway that is newer than this client."""

    def __init__(self, error: ControlError) -> None:
        super().__init__(error.message, advice=error.advice)
        self.code = error.code  # type: ignore[misc]  # the class does not know it, the gateway does
        self.exit_status = error.exit_status  # type: ignore[misc]  # as above


class ControlClient:
    """One connection. Use it as a context manager."""

    def __init__(self, data_directory: Path, *, timeout: float = _TIMEOUT) -> None:
        """Connect to the gateway that owns ``data_directory``; raises ``GatewayNotRunning``."""
        path = data_directory / "strongroom" / "control.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            with socket_name(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self._socket.close()
            if isinstance(error, PermissionError):
                raise GatewayNotRunning(
                    f"This user may not use the gateway at {data_directory}.",
                    advice="Its owner and root may.",
                ) from error
            raise GatewayNotRunning(
                f"No gateway is running on {data_directory}.", advice=_START
            ) from error
        self._lines = self._socket.makefile("rb")
        self._decoder = msgspec.json.Decoder(ControlReply)

    def call(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON of the operation
        """Ask once; gives the result."""
        self._send(operation, arguments)
        return self._reply().result

    def follow(self, operation: str, **arguments: object) -> Iterator[Any]:
        """Ask for results as they come, until the gateway ends them or the client closes."""
        self._send(operation, arguments)
        self._socket.settimeout(None)
        while (reply := self._reply()).more:
            yield reply.result

    def _send(self, operation: str, arguments: dict[str, object]) -> None:
        request = ControlRequest(operation=operation, arguments=arguments)
        try:
            self._socket.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise GatewayNotRunning("The gateway closed the connection.") from error

    def _reply(self) -> ControlReply:
        try:
            line = self._lines.readline()
        except TimeoutError as error:
            raise GatewayNotRunning("The gateway did not answer in time.") from error
        except OSError as error:
            raise GatewayNotRunning("The gateway closed the connection.") from error
        if not line:
            raise GatewayNotRunning("The gateway closed the connection.")
        try:
            reply = self._decoder.decode(line)
        except msgspec.DecodeError as error:
            raise GatewayNotRunning("Something else than a gateway answered.") from error
        if reply.error is not None:
            raise _rebuilt(reply.error)
        return reply

    def close(self) -> None:
        """Give the connection up."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _rebuilt(error: ControlError) -> KeyleaseError:
    """The same class that the gateway raised, where this version has it."""
    pending: list[type[KeyleaseError]] = [KeyleaseError]
    while pending:
        kind = pending.pop()
        if kind.code == error.code and kind not in (LimitReached, TokenExchangeRefused, _Refused):
            return kind(error.message, advice=error.advice)
        pending += kind.__subclasses__()
    return _Refused(error)
