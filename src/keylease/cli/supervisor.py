"""`keylease up` after it has thrown its environment away: keeps the gateway and the server running.

Protects: holds no key. The values of ``env://`` references lie in a memory file that this process
    never reads: for every start of the gateway the kernel copies it into a new one, which the
    gateway empties when it has read it. Neither debuggers of the same user nor core dumps reach
    this process.
Does not protect: against code running inside this process, which could read that file.
Limits: without memory files (macOS) the values can be handed over once; a gateway that dies is
    then not started again.

The gateway does not need the server to serve: it goes on when the server is gone, and it is the
gateway's end that ends everything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from keylease.cli import output
from keylease.cli.announcement import announcement
from keylease.cli.charges import GatewayCharge, Plan, ServerCharge, enroll
from keylease.cli.keeper import Keeper
from keylease.errors import KeyleaseError
from keylease.platform.server.configuration import ServerConfiguration, ServerReady
from keylease.primitives.clock import Clock, SystemClock
from keylease.primitives.confinement.process import no_core_dumps, not_dumpable
from keylease.sdk.control import ControlClient
from keylease.strongroom.options import STRONGROOM_UID, ReadyMessage

_CHECK_SECONDS: Final = 3.0


class Supervisor:
    """Runs a server, if the plan has one, and a gateway until it is told to stop."""

    def __init__(self, plan: Plan, *, clock: Clock) -> None:
        self._plan = plan
        self._gateway = Keeper(GatewayCharge(plan, announce=self._gateway_ready), clock=clock)
        self._server = (
            Keeper(ServerCharge(plan, announce=self._server_ready), clock=clock)
            if plan.server
            else None
        )
        self._server_message: ServerReady | None = None
        self._told = False

    def stop(self) -> None:
        """Drain and end; called a second time, end now."""
        self._told = True
        self._gateway.stop()

    async def run(self) -> int:
        """Keep both running; gives the exit status. Raises ``ProcessFailed``."""
        if self._server is None:
            status = await self._gateway.run()
        else:
            try:
                status = await self._run_both(self._server)
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors  # the first is why the other was ended
        if self._told:
            output.say("Stopped.")
        return status

    async def _run_both(self, server: Keeper) -> int:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.run())
            ready = group.create_task(server.ready.wait())
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if serving.done():
                return serving.result()  # it has said why on the same stderr
            try:
                await self._enroll()
                return 0 if self._told else await self._gateway.run()
            finally:
                server.stop()

    async def _enroll(self) -> None:
        """Let the gateway join this server, once. It goes on without, and says what is missing."""
        code = self._server_message.enrolment_code if self._server_message else ""
        if code and not self._told:
            status = await enroll(self._plan, code)
            if status:
                output.warn("The gateway could not be enrolled; its own message is above.")

    async def _server_ready(self, message: ServerReady) -> None:
        self._server_message = message

    async def _gateway_ready(self, message: ReadyMessage) -> None:
        usable = await asyncio.to_thread(_usable_credentials, Path(self._plan.data_directory))
        for line in announcement(self._plan, message, server=self._server_message, usable=usable):
            output.emit(line)
        sys.stdout.flush()


def _usable_credentials(data_directory: Path) -> tuple[str, ...] | None:
    try:
        with ControlClient(data_directory, timeout=_CHECK_SECONDS) as control:
            checks = control.call("credentials.check")
    except KeyleaseError:
        return None  # only the advice on the screen depends on it; `keylease doctor` says more
    return tuple(check["name"] for check in checks if check["available"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Process entry: `python -I -m keylease.cli.supervisor`, reached through `keylease up`."""
    try:
        no_core_dumps()
        not_dumpable()
        return asyncio.run(_run(_plan(arguments)))
    except KeyleaseError as error:
        output.show_error(error)
        return error.exit_status


def _plan(arguments: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="keylease up", allow_abbrev=False)
    parser.add_argument("--strongroom-python", type=Path, required=True)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--policy-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--uid", type=int, default=STRONGROOM_UID)
    parser.add_argument("--handover-fd", type=int)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--log-format", default="json")
    parser.add_argument("--server", default="")
    given = parser.parse_args(arguments)
    if given.handover_fd is not None:
        os.set_inheritable(given.handover_fd, False)  # noqa: FBT003 - the standard library's signature
    return Plan(
        python=str(given.strongroom_python),
        gateway_file=str(given.gateway_file),
        policy_file=str(given.policy_file),
        data_directory=str(given.data_dir),
        port=given.port,
        uid=given.uid,
        handover=given.handover_fd,
        log=("--log-level", given.log_level, "--log-format", given.log_format),
        server_python=sys.executable,
        server=msgspec.json.decode(given.server, type=ServerConfiguration)
        if given.server
        else None,
    )


async def _run(plan: Plan) -> int:
    supervisor = Supervisor(plan, clock=SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    return await supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
