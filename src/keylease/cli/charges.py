"""What `keylease up` keeps running: the gateway, and the platform's server."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from keylease.cli.environment import strongroom_environment
from keylease.cli.keeper import Launch
from keylease.cli.strongroom_process import strongroom_command
from keylease.errors import ProcessFailed
from keylease.platform.server.configuration import ServerConfiguration, ServerReady
from keylease.strongroom.options import STRONGROOM_UID, ReadyMessage

_Message = TypeVar("_Message", ReadyMessage, ServerReady)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor was started for."""

    python: str
    """Interpreter of the strongroom's environment."""
    gateway_file: str
    policy_file: str
    data_directory: str
    port: int | None = None
    uid: int = STRONGROOM_UID
    handover: int | None = None
    log: tuple[str, ...] = ()
    """The gateway's arguments about its log."""
    server_python: str = ""
    server: ServerConfiguration | None = None
    """``None`` runs the gateway alone, on its local policy file."""


class GatewayCharge:
    """The gateway. The values of ``env://`` references are handed to each start of it."""

    name: Final = "gateway"
    draining: Final = "Stopping: calls under way are finished first. Press Ctrl-C again to end now."

    def __init__(self, plan: Plan, *, announce: Callable[[ReadyMessage], Awaitable[None]]) -> None:
        self._plan = plan
        self._announce = announce
        self._started = False

    def launch(self, *, ready: int) -> Launch:
        """Start it. Raises ``ProcessFailed`` when its values cannot be handed over again."""
        plan = self._plan
        arguments = ["gateway", "--gateway-file", plan.gateway_file]
        arguments += ["--data-dir", plan.data_directory, *plan.log]
        arguments += ["--ready-fd", str(ready), "--stop-with-parent", "--uid", str(plan.uid)]
        if plan.port is not None:
            arguments += ["--port", str(plan.port)]
        handover = self._next_handover()
        if handover is not None:
            arguments += ["--handover-fd", str(handover)]
        self._started = True
        return Launch(
            strongroom_command(arguments, python=plan.python),
            strongroom_environment(),
            () if handover is None else (handover,),
        )

    async def announce(self, line: bytes) -> bool:
        """Say where it is."""
        message = _read(line, ReadyMessage)
        if message is not None:
            await self._announce(message)
        return message is not None

    def _next_handover(self) -> int | None:
        master = self._plan.handover
        if master is None:
            return None
        if not stat.S_ISREG(os.fstat(master).st_mode):
            if self._started:
                raise ProcessFailed(
                    "The gateway ended, and this system cannot hand its env:// values over twice.",
                    advice="Start `keylease up` again.",
                )
            return os.dup(master)
        return copy_memory_file(master)


class ServerCharge:
    """The platform's server."""

    name: Final = "server"
    draining: Final = ""

    def __init__(self, plan: Plan, *, announce: Callable[[ServerReady], Awaitable[None]]) -> None:
        self._plan = plan
        self._announce = announce

    def launch(self, *, ready: int) -> Launch:
        """Start it."""
        if self._plan.server is None:
            raise ProcessFailed("There is no server to start.")
        configuration = msgspec.structs.replace(
            self._plan.server, ready=ready, stop_with_parent=True
        )
        document = msgspec.json.encode(configuration).decode()
        command = [self._plan.server_python, "-I", "-m", "keylease.platform", document]
        return Launch(command, strongroom_environment())

    async def announce(self, line: bytes) -> bool:
        """Say where it is."""
        message = _read(line, ServerReady)
        if message is not None:
            await self._announce(message)
        return message is not None


async def enroll(plan: Plan, code: str) -> int:
    """Register the gateway's key with the server; gives the exit status of the process that does.

    The code travels on standard input, so that it stands in no list of processes.
    """
    arguments = ["enroll", "--gateway-file", plan.gateway_file]
    arguments += ["--data-dir", plan.data_directory]
    process = await asyncio.create_subprocess_exec(
        *strongroom_command(arguments, python=plan.python),
        env=strongroom_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.communicate(code.encode())
    return process.returncode or 0


def _read(line: bytes, kind: type[_Message]) -> _Message | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        return None  # as good as not ready: the keeper ends it


def copy_memory_file(master: int) -> int:
    """A new memory file with the same content, copied by the kernel: no byte passes through here.

    The copy is at its start and inherited by nobody who is not given it.
    """
    copy = os.memfd_create("keylease-environment", os.MFD_CLOEXEC)
    size = os.fstat(master).st_size
    offset = 0
    while offset < size:
        offset += os.sendfile(copy, master, offset, size - offset)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy
