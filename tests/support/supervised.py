"""`keylease up` and other commands as real processes, with everything they say kept in files."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.home_databases import told_of
from tests.support.ports import free_port

from keylease.errors import GatewayNotRunning
from keylease.sdk.control import ControlClient

READY_SECONDS = 40.0
STOP_SECONDS = 60.0


class Home:
    """The directories of one installation, all below one, so that a search misses nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.config = directory / "config"
        self.logs = directory / "logs"
        self.temporary = directory / "tmp"
        self.working = directory / "working"
        for path in (self.config, self.logs, self.temporary, self.working):
            path.mkdir(mode=0o700, parents=True)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.directory),
            "TMPDIR": str(self.temporary),
            "LANG": "C.UTF-8",
            **self._elsewhere(),
            **more,
        }

    def _elsewhere(self) -> dict[str, str]:
        told = told_of(self.data / "platform")
        return {f"KEYLEASE_{name.upper()}": value for name, value in told.items()}

    def line(self, *arguments: str) -> list[str]:
        """`keylease ARGUMENTS`; the directories go behind the name of the command."""
        places = ["--data-dir", str(self.data), "--config-dir", str(self.config)]
        command, *rest = arguments
        if command in {"secret", "policy", "lease"}:
            return [sys.executable, "-m", "keylease", command, rest[0], *places, *rest[1:]]
        return [sys.executable, "-m", "keylease", command, *places, *rest]

    def run(
        self,
        *arguments: str,
        entered: bytes = b"",
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; its output is kept below ``logs`` too."""
        result = subprocess.run(
            self.line(*arguments),
            input=entered,
            capture_output=True,
            env=self.environment(**(variables or {})),
            cwd=self.working,
            timeout=90,
            check=False,
        )
        with (self.logs / "commands").open("ab") as log:
            log.write(result.stdout + result.stderr)
        return result

    def start(self, name: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command; what it says goes to ``logs/NAME.out`` and ``.err``."""
        with (
            (self.logs / f"{name}.out").open("ab") as out,
            (self.logs / f"{name}.err").open("ab") as err,
        ):
            return subprocess.Popen(
                self.line(*arguments),
                env=self.environment(**variables),
                cwd=self.working,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )

    def said(self, name: str) -> str:
        return "".join(
            (self.logs / f"{name}.{end}").read_text(errors="replace") for end in ("out", "err")
        )

    def control(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        with ControlClient(self.data) as client:
            return client.call(operation, **arguments)

    def lease(self, **wish: object) -> str:
        wanted: dict[str, object] = {"purpose": "development", "environment": "local", **wish}
        return str(self.control("lease.create", **wanted)["token"])


class Supervised:
    """A running `keylease up`."""

    def __init__(self, home: Home, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process

    @property
    def url(self) -> str:
        found = re.search(r"gateway  (http://\S+)", self.home.said("up"))
        assert found
        return found[1]

    @property
    def metrics_url(self) -> str:
        found = re.search(r"metrics  (http://\S+)", self.home.said("up"))
        assert found
        return found[1]

    @property
    def coordinator(self) -> int:
        return int(self.home.control("status")["pid"])

    @property
    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.home.control("status")["workers"]]

    def answers(self) -> bool:
        """Whether the gateway is up with at least one worker."""
        try:
            return bool(self.workers)
        except GatewayNotRunning:
            return False

    def kill_coordinator(self) -> None:
        """Kill -9 it and wait until the supervisor has started another one."""
        before = self.coordinator
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.answers() and self.coordinator != before)

    def kill_worker(self) -> None:
        before = self.workers[0]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.answers() and before not in self.workers)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


@contextlib.contextmanager
def supervised(home: Home, variables: Mapping[str, str] | None = None) -> Iterator[Supervised]:
    """Run `keylease up` until the block ends, on ports that stay the same over restarts."""
    process = home.start(
        "up", "up", "--no-server", "--port", str(_two_free_ports()), **(variables or {})
    )
    running = Supervised(home, process)
    try:
        wait_until(
            lambda: "Ctrl-C stops it." in home.said("up") or process.poll() is not None,
            seconds=READY_SECONDS,
        )
        assert process.poll() is None, home.said("up")
        yield running
    finally:
        if process.poll() is None:
            running.stop()
        assert process.stdin is not None
        process.stdin.close()


def _two_free_ports() -> int:
    """The first of two neighbours: metrics are served on the second."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", first + 1)):
            return first


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Return when ``condition`` holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
