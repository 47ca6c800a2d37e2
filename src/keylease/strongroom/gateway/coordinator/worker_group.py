"""Starts workers, restarts those that die, tells all of them, drains them.

Connections wait in the listening sockets' queues while a worker is replaced: the coordinator holds
the sockets, so they stay open.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from keylease.errors import ProcessFailed
from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.channel import CoordinatorEnd, coordinator_end
from keylease.strongroom.gateway.coordinator.log import Log

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
"""A worker that lived this long is restarted without a growing pause."""
_START_SECONDS: Final = 30.0
_KILL_SECONDS: Final = 5.0

OnMessage = Callable[["RunningWorker", messages.ToCoordinator], None]


class RunningWorker:
    """One worker process and the channel to it. A restarted worker is another one."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Unique in the coordinator's life; never used again."""
        self.serving = asyncio.Event()
        self.drained = asyncio.Event()
        self.gone = asyncio.Event()
        self.process: asyncio.subprocess.Process
        self.channel: CoordinatorEnd
        self.confirmed = 0
        """The newest order of revocations that this worker has in force."""

    def send(self, message: messages.ToWorker) -> None:
        """Say something; nothing happens when the worker is gone."""
        if not self.gone.is_set():
            self.channel.send(message)


class WorkerGroup:
    """All workers of one gateway."""

    def __init__(  # noqa: PLR0913 - its collaborators, by keyword
        self,
        *,
        listeners: Sequence[socket.socket],
        readable: Sequence[str],
        begin: Callable[[], messages.Begin],
        on_message: OnMessage,
        on_block: Callable[[bytes], None],
        on_gone: Callable[[RunningWorker], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._listeners = list(listeners)
        self._readable = list(readable)
        self._begin = begin
        self._on_message = on_message
        self._on_block = on_block
        self._on_gone = on_gone
        self._clock = clock
        self._log = log
        self._numbers = 0
        self._running: dict[int, RunningWorker] = {}
        self._stopping = False
        self._tasks = TaskOwner(self._failed)
        self.restarts = 0

    def _failed(self, error: BaseException) -> None:
        self._log.error("worker_slot_failed", error=type(error).__name__)

    @property
    def running(self) -> tuple[RunningWorker, ...]:
        """The workers that are there now."""
        return tuple(self._running.values())

    def tell(self, message: messages.ToWorker) -> None:
        """Say the same to every worker."""
        for worker in self.running:
            worker.send(message)

    async def start(self, count: int) -> None:
        """Start all workers; returns when every one serves. Raises ``ProcessFailed``."""
        first = [await self._start_one() for _ in range(count)]
        for worker in first:
            await self._wait_until_serving(worker)
        for worker in first:
            self._tasks.start(self._keep(worker), name=f"worker-{worker.number}")

    async def _wait_until_serving(self, worker: RunningWorker) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS), asyncio.TaskGroup() as group:
                waits = [
                    group.create_task(worker.serving.wait()),
                    group.create_task(worker.gone.wait()),
                ]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        except TimeoutError as error:
            worker.process.kill()
            raise ProcessFailed("A worker was started and does not serve.") from error
        if not worker.serving.is_set():
            raise ProcessFailed(
                "A worker ended before it served.", advice="Its own message is above."
            )

    async def _start_one(self) -> RunningWorker:
        self._numbers += 1
        worker = RunningWorker(self._numbers)
        ours, theirs = socket.socketpair()
        arguments = ["--channel-fd", str(theirs.fileno()), "--number", str(worker.number)]
        for listener in self._listeners:
            arguments += ["--listen-fd", str(listener.fileno())]
        for path in self._readable:
            arguments += ["--readable", path]
        try:
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "keylease.strongroom", "worker", *arguments),
                pass_fds=[theirs.fileno(), *(listener.fileno() for listener in self._listeners)],
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            raise ProcessFailed(f"A worker cannot be started: {error.strerror}.") from error
        finally:
            theirs.close()
        worker.channel = coordinator_end(
            on_message=lambda message: self._received(worker, message),
            on_block=self._on_block,
            on_closed=lambda error: self._closed(worker, error),
        )
        self._running[worker.number] = worker
        await worker.channel.open(ours)
        worker.send(self._begin())
        return worker

    def _received(self, worker: RunningWorker, message: messages.ToCoordinator) -> None:
        match message:
            case messages.Serving():
                worker.serving.set()
            case messages.Drained():
                worker.drained.set()
            case messages.RevocationsInForce(order):
                worker.confirmed = max(worker.confirmed, order)
                self._on_message(worker, message)
            case _:
                self._on_message(worker, message)

    def _closed(self, worker: RunningWorker, error: Exception | None) -> None:
        self._running.pop(worker.number, None)
        worker.gone.set()
        if error is not None:
            self._log.error("worker_channel_broken", error=type(error).__name__)
        self._on_gone(worker)

    async def _keep(self, worker: RunningWorker) -> None:
        """Keep one slot filled."""
        pause = _FIRST_PAUSE
        while True:
            started = self._clock.monotonic()
            await worker.gone.wait()
            status = await self._reap(worker)
            if self._stopping:
                return
            self._log.error("worker_died", worker=worker.number, status=status)
            if self._clock.monotonic() - started > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE
            while True:
                self.restarts += 1
                try:
                    worker = await self._start_one()
                    await self._wait_until_serving(worker)
                except (ProcessFailed, OSError) as error:
                    self._log.warning("worker_not_started", reason=str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    break

    async def _reap(self, worker: RunningWorker) -> int:
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                return await worker.process.wait()
        except TimeoutError:
            worker.process.kill()
            return await worker.process.wait()

    async def drain(self, seconds: float) -> None:
        """Have every worker finish what runs and end; kill those that do not in time."""
        self._stopping = True
        workers = self.running
        self.tell(messages.Drain())
        try:
            async with asyncio.timeout(seconds + _KILL_SECONDS):
                for worker in workers:
                    await worker.gone.wait()
        except TimeoutError:
            self._log.error("workers_did_not_drain")
        for worker in workers:
            await self._reap(worker)
        await self._tasks.close()


def describe(workers: Sequence[RunningWorker]) -> list[dict[str, msgspec.Raw | int | bool]]:
    """Workers for the status operation."""
    return [
        {"number": worker.number, "pid": worker.process.pid, "serving": worker.serving.is_set()}
        for worker in workers
    ]
