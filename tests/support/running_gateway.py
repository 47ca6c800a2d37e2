"""A real gateway for tests: coordinator and workers as processes, on free ports, in a directory.

    def test_something(tmp_path: Path) -> None:
        with running_gateway(tmp_path, gateway_toml=..., policy_toml=...) as gateway:
            lease = gateway.lease(purpose="development", environment="local")
            httpx.get(f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {lease}"})

In ``gateway_toml`` the ``[gateway]`` table is written by this module unless the text has one; give
the bindings and whatever else the test is about. What the gateway wrote to stderr is in
``gateway.stderr()`` and is printed when the block fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from keylease.sdk.control import ControlClient
from keylease.strongroom.options import ReadyMessage

READY_SECONDS = 30.0
STOP_SECONDS = 45.0


class GatewayDidNotStart(AssertionError):
    """With the exit status and everything it said."""

    def __init__(self, status: int | None, stderr: str) -> None:
        super().__init__(f"the gateway did not become ready (status {status}):\n{stderr}")
        self.status = status
        self.stderr = stderr


class RunningGateway:
    """A gateway that takes calls."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ready: ReadyMessage,
        *,
        data_dir: Path,
        config_dir: Path,
        errors: list[bytes],
    ) -> None:
        self.process = process
        self.ready = ready
        self.url = ready.urls[0]
        """Base URL, such as ``http://127.0.0.1:41234``."""
        self.metrics_url = ready.metrics_url
        self.posture = ready.posture
        self.data_dir = data_dir
        self.config_dir = config_dir
        self._errors = errors

    @property
    def gateway_file(self) -> Path:
        return self.config_dir / "gateway.toml"

    @property
    def policy_file(self) -> Path:
        return self.config_dir / "keylease.toml"

    @property
    def control_socket(self) -> Path:
        return self.data_dir / "strongroom" / "control.sock"

    @property
    def pid(self) -> int:
        """Of the coordinator."""
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """Pids of the workers, as the coordinator says."""
        return [worker["pid"] for worker in self.control("status")["workers"]]

    def control(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Ask on the control socket."""
        with ControlClient(self.data_dir) as client:
            return client.call(operation, **arguments)

    def lease(self, **wish: object) -> str:
        """A lease for the user who runs the test."""
        wanted: dict[str, object] = {"purpose": "development", "environment": "local", **wish}
        return str(self.control("lease.create", **wanted)["token"])

    def stderr(self) -> str:
        """What it has said so far."""
        return b"".join(self._errors).decode(errors="replace")

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = STOP_SECONDS) -> int:
        """Send a signal and wait; gives the exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@contextlib.contextmanager
def running_gateway(  # noqa: PLR0913 - what a gateway is started with, by keyword
    directory: Path,
    *,
    gateway_toml: str = "",
    policy_toml: str = "",
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    session: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    python: str = sys.executable,
) -> Iterator[RunningGateway]:
    """Start a gateway in ``directory`` (``data/`` and ``config/`` in it) and stop it at the end.

    ``environment`` is what ``env://`` references find: it reaches the gateway by the handover, as
    under `keylease up`. ``session`` are variables of its own process. Calling it again with the
    same directory restarts on the same data; empty texts then leave the files as they are. Raises
    ``GatewayDidNotStart``.
    """
    config_dir, data_dir = directory / "config", directory / "data"
    config_dir.mkdir(mode=0o700, exist_ok=True)
    _write(config_dir / "gateway.toml", _with_defaults(gateway_toml, workers), given=gateway_toml)
    _write(config_dir / "keylease.toml", policy_toml or "version = 1\n", given=policy_toml)
    errors: list[bytes] = []
    process, ready_end = _start(
        [
            "--gateway-file",
            str(config_dir / "gateway.toml"),
            "--data-dir",
            str(data_dir),
            *arguments,
        ],
        environment or {},
        session or {},
        python,
    )
    assert process.stderr is not None
    reader = threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True)
    reader.start()
    try:
        ready = _read_ready(ready_end, process)
        if ready is None:
            process.kill()
            status = process.wait()
            reader.join(timeout=5)
            raise GatewayDidNotStart(status, b"".join(errors).decode(errors="replace"))
        gateway = RunningGateway(
            process, ready, data_dir=data_dir, config_dir=config_dir, errors=errors
        )
        try:
            yield gateway
        except BaseException:
            sys.stderr.write(f"--- the gateway's stderr ---\n{gateway.stderr()}\n")
            raise
    finally:
        _end(process)
        reader.join(timeout=5)
        process.stderr.close()


def _with_defaults(text: str, workers: int) -> str:
    if "[gateway]" in text:
        return text
    return (
        "version = 1\n"
        "[gateway]\n"
        'listen = "127.0.0.1:0"\n'
        'metrics = "127.0.0.1:0"\n'
        'policy = "keylease.toml"\n'
        f"workers = {workers}\n"
        f"{text.removeprefix('version = 1').lstrip()}"
    )


def _write(path: Path, text: str, *, given: str) -> None:
    if given or not path.exists():
        path.write_text(text)
        path.chmod(0o600)


def _start(
    arguments: list[str], values: Mapping[str, str], session: Mapping[str, str], python: str
) -> tuple[subprocess.Popen[bytes], int]:
    ready, ready_end = os.pipe()
    descriptors = [ready_end]
    command = [python, "-I", "-m", "keylease.strongroom", "gateway", *arguments]
    command += ["--ready-fd", str(ready_end), "--stop-with-parent"]
    if values:
        handover = os.memfd_create("test-environment")
        encoded = {name: value.encode() for name, value in values.items()}
        os.write(handover, msgspec.msgpack.encode(encoded))
        os.lseek(handover, 0, os.SEEK_SET)
        descriptors.append(handover)
        command += ["--handover-fd", str(handover)]
    try:
        process = subprocess.Popen(
            command,
            env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **session},
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return process, ready


def _collect(stream: Any, into: list[bytes]) -> None:  # noqa: ANN401 - a binary pipe
    for line in stream:
        into.append(line)  # noqa: PERF402 - read while it is being written


def _read_ready(descriptor: int, process: subprocess.Popen[bytes]) -> ReadyMessage | None:
    killer = threading.Timer(READY_SECONDS, process.kill)
    killer.start()
    try:
        with os.fdopen(descriptor, "rb") as pipe:
            line = pipe.readline()
    finally:
        killer.cancel()
        killer.join()
    return msgspec.json.decode(line, type=ReadyMessage) if line else None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The whole session: a coordinator that hangs must not leave its workers behind.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
