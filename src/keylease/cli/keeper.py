"""Keeps one child process running: starts it, awaits that it is ready, starts it again, drains it.

The environment of a child is what its charge names; nothing is inherited.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from typing import Final, NamedTuple, Protocol

from keylease.cli import output
from keylease.errors import ProcessFailed
from keylease.primitives.clock import Clock

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between two starts; doubled after each failure."""
FAILURES_ALLOWED: Final = 6
FAILURE_WINDOW: Final = 120.0
"""Seconds. More failures than allowed within this time, and the keeper gives up."""
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 45.0
"""How long a child may drain before it is killed; over the drain time of gateway.toml."""
PERMANENT: Final = frozenset({64, 65, 75, 78})
"""Exit statuses after which another try cannot help: configuration, data format, in use."""
_ENDING_SECONDS: Final = 5.0
_MAXIMUM_READY_BYTES: Final = 64 * 1024


class Launch(NamedTuple):
    """How the child is started this time."""

    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    """Inherited by the child, and closed here once it has them."""


class Charge(Protocol):
    """The program that is kept running."""

    @property
    def name(self) -> str:
        """As in "The NAME ended"."""
        ...

    @property
    def draining(self) -> str:
        """What a person is told while it ends, or nothing."""
        ...

    def launch(self, *, ready: int) -> Launch:
        """How to start it; it writes one line to the descriptor ``ready`` when it is ready."""
        ...

    async def announce(self, line: bytes) -> bool:
        """Tell a person that it is ready; false when the line is not what it should say."""
        ...


class Keeper:
    """Runs one child after another until it is told to stop."""

    def __init__(self, charge: Charge, *, clock: Clock) -> None:
        self.ready: Final = asyncio.Event()
        """Set once the child was ready for the first time."""
        self._charge = charge
        self._clock = clock
        self._stopping = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._failures: deque[float] = deque()

    def stop(self) -> None:
        """Drain and end; called a second time, end now."""
        if self._stopping.is_set() and self._child is not None:
            output.say("Stopping now.")
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
        self._stopping.set()

    async def run(self) -> int:
        """Keep it running; gives the exit status, 0 when it was told. Raises ``ProcessFailed``."""
        pause = FIRST_PAUSE
        while True:
            started = self._clock.monotonic()
            status = await self._one_child()
            if self._stopping.is_set():
                return 0
            if status in PERMANENT or not self.ready.is_set():
                return status  # the child has said why on the same stderr
            if self._clock.monotonic() - started > FAILURE_WINDOW:
                pause = FIRST_PAUSE
            self._count_failure(status)
            name = self._charge.name
            output.warn(f"The {name} ended ({_ending(status)}); starting it again in {pause:g} s.")
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
                f"The {self._charge.name} ended {len(self._failures)} times within"
                f" {FAILURE_WINDOW:g} seconds, last with {_ending(status)}.",
                advice="`keylease doctor` may say why; its own messages are above.",
            )

    async def _one_child(self) -> int:
        ready, ready_end = os.pipe()
        try:
            self._child = await self._spawn(ready_end)
        finally:
            os.close(ready_end)
        child = self._child
        try:
            async with asyncio.TaskGroup() as group:
                ending = group.create_task(child.wait())
                stopping = group.create_task(self._stopping.wait())
                reading = group.create_task(_read_line(ready))
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
        reading: asyncio.Task[bytes],
    ) -> None:
        """Return when the child has ended, or was told to."""
        done, _ = await asyncio.wait(
            {stopping, reading}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if reading in done and await self._announced(reading.result()):
            self.ready.set()
        elif stopping not in done:
            # It ended before it was ready (its own message says why), or it hangs.
            await asyncio.wait(
                {ending, stopping},
                timeout=_ENDING_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not ending.done() and not stopping.done():
                name = self._charge.name
                output.warn(f"The {name} was not ready after {READY_SECONDS:g} s; it is ended.")
                child.kill()
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await self._drain(child)

    async def _announced(self, line: bytes) -> bool:
        if not line:
            return False
        if self.ready.is_set():
            output.say(f"The {self._charge.name} is back.")
            return True
        return await self._charge.announce(line)

    async def _spawn(self, ready: int) -> asyncio.subprocess.Process:
        launch = self._charge.launch(ready=ready)
        try:
            return await asyncio.create_subprocess_exec(
                *launch.command,
                env=launch.environment,
                pass_fds=(ready, *launch.descriptors),
                stdin=asyncio.subprocess.DEVNULL,
                # Its own session: Ctrl-C reaches the supervisor alone, which then drains it once.
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessFailed(
                f"{launch.command[0]} cannot be started: {error.strerror}."
            ) from error
        finally:
            for descriptor in launch.descriptors:
                os.close(descriptor)

    async def _drain(self, child: asyncio.subprocess.Process) -> None:
        if self._charge.draining:
            output.say(self._charge.draining)
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), timeout=STOP_SECONDS)
        except TimeoutError:
            output.warn(
                f"The {self._charge.name} did not end in {STOP_SECONDS:g} s and was killed."
            )
            with contextlib.suppress(ProcessLookupError):
                child.kill()


async def _read_line(descriptor: int) -> bytes:
    """The one line the child writes when it is ready; empty when it ended before."""
    reader = asyncio.StreamReader(limit=_MAXIMUM_READY_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return await reader.readline()
    finally:
        transport.close()


def _status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _ending(status: int) -> str:
    if status > 128:  # noqa: PLR2004 - the shell's convention for signals
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(status - 128).name}"
    return f"exit status {status}"
