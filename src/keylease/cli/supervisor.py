"""`keylease up` after it has thrown its environment away: starts the gateway and keeps it running.

Protects: holds no key. The values of ``env://`` references lie in a memory file that this process
    never reads: for every start of the gateway the kernel copies it into a new one, which the
    gateway empties when it has read it. Neither debuggers of the same user nor core dumps reach
    this process.
Does not protect: against code running inside this process, which could read that file.
Limits: without memory files (macOS) the values can be handed over once; a gateway that dies is
    then not started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from keylease.cli import output
from keylease.cli.environment import strongroom_environment
from keylease.cli.strongroom_process import strongroom_command
from keylease.errors import KeyleaseError, ProcessFailed
from keylease.primitives.clock import Clock, SystemClock
from keylease.primitives.confinement.process import no_core_dumps, not_dumpable
from keylease.sdk.control import ControlClient
from keylease.strongroom.options import STRONGROOM_UID, ReadyMessage

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between two starts; doubled after each failure."""
FAILURES_ALLOWED: Final = 6
FAILURE_WINDOW: Final = 120.0
"""Seconds. More failures than allowed within this time, and the supervisor gives up."""
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 45.0
"""How long a gateway may drain before it is killed; over the drain time of gateway.toml."""
PERMANENT: Final = frozenset({64, 65, 75, 78})
"""Exit statuses after which another try cannot help: configuration, data format, in use."""
_ENDING_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 3.0
_MAXIMUM_READY_BYTES: Final = 64 * 1024


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


class Supervisor:
    """Runs one gateway after another until it is told to stop."""

    def __init__(self, plan: Plan, *, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._stopping = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._failures: deque[float] = deque()
        self._announced = False

    def stop(self) -> None:
        """Drain and end; called a second time, end now."""
        if self._stopping.is_set() and self._child is not None:
            output.say("Stopping now.")
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
        self._stopping.set()

    async def run(self) -> int:
        """Keep a gateway running; gives the exit status. Raises ``ProcessFailed``."""
        pause = FIRST_PAUSE
        while True:
            started = self._clock.monotonic()
            status = await self._one_gateway()
            if self._stopping.is_set():
                output.say("Stopped.")
                return 0
            if status in PERMANENT or not self._announced:
                return status  # the gateway has said why on the same stderr
            if self._clock.monotonic() - started > FAILURE_WINDOW:
                pause = FIRST_PAUSE
            self._count_failure(status)
            output.warn(f"The gateway ended ({_ending(status)}); starting it again in {pause:g} s.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=pause)
                return 0
            pause = min(pause * 2, LONGEST_PAUSE)

    def _count_failure(self, status: int) -> None:
        now = self._clock.monotonic()
        self._failures.append(now)
        while self._failures[0] < now - FAILURE_WINDOW:
            self._failures.popleft()
        if len(self._failures) > FAILURES_ALLOWED:
            raise ProcessFailed(
                f"The gateway ended {len(self._failures)} times within"
                f" {FAILURE_WINDOW:g} seconds, last with {_ending(status)}.",
                advice="`keylease doctor` may say why; its own messages are above.",
            )

    async def _one_gateway(self) -> int:
        ready, ready_end = os.pipe()
        handover = self._next_handover()
        try:
            arguments = self._arguments(ready=ready_end, handover=handover)
            self._child = await self._spawn(arguments, [ready_end, handover])
        finally:
            os.close(ready_end)
            if handover is not None:
                os.close(handover)
        child = self._child
        try:
            async with asyncio.TaskGroup() as group:
                ending = group.create_task(child.wait())
                stopping = group.create_task(self._stopping.wait())
                reading = group.create_task(_read_ready(ready))
                try:
                    await self._watch(child, ending, stopping, reading)
                finally:
                    stopping.cancel()
                    reading.cancel()
        finally:
            self._child = None
        return _status(ending.result())

    async def _watch(
        self,
        child: asyncio.subprocess.Process,
        ending: asyncio.Task[int],
        stopping: asyncio.Task[bool],
        reading: asyncio.Task[ReadyMessage | None],
    ) -> None:
        """Return when the child has ended, or was told to."""
        done, _ = await asyncio.wait(
            {stopping, reading}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if reading in done and (message := reading.result()) is not None:
            await self._announce(message)
        elif stopping not in done:
            # It ended before it was ready (its own message says why), or it hangs.
            await asyncio.wait(
                {ending, stopping},
                timeout=_ENDING_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not ending.done() and not stopping.done():
                output.warn(f"The gateway was not ready after {READY_SECONDS:g} s; it is ended.")
                child.kill()
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await self._drain(child)

    async def _spawn(
        self, arguments: Sequence[str], descriptors: Sequence[int | None]
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *strongroom_command(arguments, python=self._plan.python),
                env=strongroom_environment(),
                pass_fds=[descriptor for descriptor in descriptors if descriptor is not None],
                stdin=asyncio.subprocess.DEVNULL,
                # Its own session: Ctrl-C reaches the supervisor alone, which then drains it once.
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessFailed(
                f"The strongroom's Python {self._plan.python} cannot be started: {error.strerror}."
            ) from error

    async def _drain(self, child: asyncio.subprocess.Process) -> None:
        output.say("Stopping: calls under way are finished first. Press Ctrl-C again to end now.")
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), timeout=STOP_SECONDS)
        except TimeoutError:
            output.warn(f"The gateway did not end in {STOP_SECONDS:g} s and was killed.")
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    def _arguments(self, *, ready: int, handover: int | None) -> list[str]:
        plan = self._plan
        arguments = ["gateway", "--gateway-file", plan.gateway_file]
        arguments += ["--data-dir", plan.data_directory, *plan.log]
        arguments += ["--ready-fd", str(ready), "--stop-with-parent", "--uid", str(plan.uid)]
        if plan.port is not None:
            arguments += ["--port", str(plan.port)]
        if handover is not None:
            arguments += ["--handover-fd", str(handover)]
        return arguments

    def _next_handover(self) -> int | None:
        master = self._plan.handover
        if master is None:
            return None
        if not stat.S_ISREG(os.fstat(master).st_mode):
            if self._announced:
                raise ProcessFailed(
                    "The gateway ended, and this system cannot hand its env:// values over twice.",
                    advice="Start `keylease up` again.",
                )
            return os.dup(master)
        return copy_memory_file(master)

    async def _announce(self, message: ReadyMessage) -> None:
        if self._announced:
            output.say("The gateway is back.")
            return
        self._announced = True
        usable = await asyncio.to_thread(_usable_credentials, Path(self._plan.data_directory))
        for line in announcement(self._plan, message, usable=usable):
            output.emit(line)
        sys.stdout.flush()


def announcement(plan: Plan, message: ReadyMessage, *, usable: tuple[str, ...] | None) -> list[str]:
    """What a person sees when the product is up.

    ``usable`` names the credentials that can be had now; ``None`` when that is not known yet.
    """
    url = message.urls[0]
    lines = [
        "Keylease is running.",
        *(f"  gateway  {address}" for address in message.urls),
        f"  metrics  {message.metrics_url or 'off'}",
        f"  policy   {plan.policy_file}",
        f"  bounds   {plan.gateway_file}",
        f"  data     {plan.data_directory}",
        message.posture,
        "",
    ]
    name = _command_name()
    if usable == ():
        lines += [
            "No provider key is configured yet. Either",
            f"  - see a first call without one, in another terminal:  {name} demo",
            f"  - put a key into the sealed store:  {name} secret put openai",
            f"  - or say in {plan.policy_file} where yours lives.",
        ]
    else:
        if usable:
            lines += [f"Credentials that can be used now: {', '.join(usable)}.", ""]
        lines += [
            "A first call, in another terminal:",
            f"  {name} run -- python your_program.py",
            "or with any client of the provider's API:",
            f"  export OPENAI_BASE_URL={url}/v1",
            f'  export OPENAI_API_KEY="$({name} lease create)"',
        ]
    return [*lines, "Ctrl-C stops it."]


def _command_name() -> str:
    """How a person types the command here: by its name when the path has it."""
    if shutil.which("keylease"):
        return "keylease"
    command = Path(sys.prefix) / "bin" / "keylease"
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def _usable_credentials(data_directory: Path) -> tuple[str, ...] | None:
    try:
        with ControlClient(data_directory, timeout=_CHECK_SECONDS) as control:
            checks = control.call("credentials.check")
    except KeyleaseError:
        return None  # only the advice on the screen depends on it; `keylease doctor` says more
    return tuple(check["name"] for check in checks if check["available"])


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
    )


async def _run(plan: Plan) -> int:
    supervisor = Supervisor(plan, clock=SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    return await supervisor.run()


async def _read_ready(descriptor: int) -> ReadyMessage | None:
    """The one line the gateway writes when it takes calls; ``None`` when it ended before."""
    reader = asyncio.StreamReader(limit=_MAXIMUM_READY_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        line = await reader.readline()
    finally:
        transport.close()
    try:
        return msgspec.json.decode(line, type=ReadyMessage) if line else None
    except msgspec.MsgspecError:
        return None  # as good as not ready: the caller ends it


def _status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _ending(status: int) -> str:
    if status > 128:  # noqa: PLR2004 - the shell's convention for signals
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(status - 128).name}"
    return f"exit status {status}"


if __name__ == "__main__":
    sys.exit(main())
