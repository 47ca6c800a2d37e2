"""Simulated providers for tests: in a thread of the test process, or as a process of their own.

    def test_something(simulator: RunningSimulator) -> None:
        secret = fresh_key()
        key_id = simulator.accept_key(secret)
        ... a client that calls simulator.openai_url with the key ...
        assert simulator.requests[-1].key_id == key_id

Import the fixture into the test module: ``from tests.support.simulated_provider import simulator``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import pytest

from keylease.simulator import Failure, RecordedRequest, Simulator, SimulatorOptions
from keylease.simulator.exchange import ProviderName

T = TypeVar("T")
READY_SECONDS = 20


def fresh_key(prefix: str = "sk-test-") -> bytes:
    """A key that looks like one and is none."""
    return f"{prefix}{secrets.token_hex(20)}".encode()


class RunningSimulator:
    """A simulator in a thread; every method may be called from the test's thread."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator = simulator
        self._loop = loop
        self.openai_url = simulator.openai_url
        self.anthropic_url = simulator.anthropic_url
        self.control_url = simulator.control_url
        self.control_token = simulator.control_token

    def _call(self, work: Callable[[], T]) -> T:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(timeout=READY_SECONDS)

    def accept_key(self, secret: bytes, *, provider: ProviderName | None = None) -> str:
        return self._call(lambda: self._simulator.accept_key(secret, provider=provider))

    def revoke(self, key_id: str) -> None:
        self._call(lambda: self._simulator.revoke(key_id))

    def inject(self, failure: Failure) -> None:
        self._call(lambda: self._simulator.inject(failure))

    def clear_failures(self) -> None:
        self._call(self._simulator.clear_failures)

    def set_pace(self, *, latency: float = 0.0, chunk_delay: float = 0.0) -> None:
        def change() -> None:
            self._simulator.pace.latency = latency
            self._simulator.pace.chunk_delay = chunk_delay

        self._call(change)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Copies, so that what a test looks at does not change under it."""
        return self._call(
            lambda: [msgspec.structs.replace(request) for request in self._simulator.requests]
        )

    def usage(self) -> dict[str, Any]:
        return self._call(self._simulator.usage)


@contextmanager
def running_simulator(
    options: SimulatorOptions | None = None,
) -> Iterator[RunningSimulator]:
    """Run a simulator in a thread while the block runs."""
    started: concurrent.futures.Future[RunningSimulator] = concurrent.futures.Future()
    stopping = asyncio.Event()

    async def serve() -> None:
        simulator = Simulator(options)
        try:
            await simulator.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result(RunningSimulator(simulator, asyncio.get_running_loop()))
        try:
            await stopping.wait()
        finally:
            await simulator.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="simulator", daemon=True)
    thread.start()
    running = started.result(timeout=READY_SECONDS)
    try:
        yield running
    finally:
        running._loop.call_soon_threadsafe(stopping.set)
        thread.join(timeout=READY_SECONDS)
        assert not thread.is_alive(), "the simulator did not stop"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    """A simulator of this test alone, without latency, which accepts no key yet."""
    with running_simulator() as running:
        yield running


class SimulatorProcess:
    """``keylease simulator`` as a process of its own, told about keys by its control surface."""

    def __init__(self, process: subprocess.Popen[str], places: dict[str, str]) -> None:
        self.process = process
        self.openai_url = places["openai_url"]
        self.anthropic_url = places["anthropic_url"]
        self.control_url = places["control_url"]
        self.control_token = places["control_token"]


@contextmanager
def simulator_process(*arguments: str) -> Iterator[SimulatorProcess]:
    """Run ``keylease simulator --port 0 --json ARGUMENTS`` while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keylease.cli.main", "simulator", "--port=0", "--json", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the simulator ended with {process.wait(READY_SECONDS)}"
        yield SimulatorProcess(process, json.loads(line))
    finally:
        process.terminate()
        try:
            process.wait(READY_SECONDS)
        finally:
            process.kill()
            process.stdout.close()
