"""`keylease up` as real processes: what it throws away, keeps running, refuses and ends."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.users import open_directory

from keylease.sdk.control import ControlClient
from keylease.strongroom.config_files.default_files import write_first_files

READY_SECONDS = 30.0


class Up:
    """A running `keylease up`, with what it has said."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self.data_dir = directory / "data"
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _collect(stream: Iterator[str], into: list[str]) -> None:
        for line in stream:
            into.append(line)  # noqa: PERF402 - read while it is being written

    def wait_for(self, text: str, *, seconds: float = READY_SECONDS) -> None:
        until = time.monotonic() + seconds
        while text not in self.said:
            if time.monotonic() > until or self.process.poll() is not None:
                time.sleep(0.2)
                assert text in self.said, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return "".join([*self.out, *self.err])

    @property
    def url(self) -> str:
        found = re.search(r"gateway  (http://\S+)", self.said)
        assert found, self.said
        return found[1]

    def gateway_pid(self) -> int:
        with ControlClient(self.data_dir) as control:
            return int(control.call("status")["pid"])

    def workers(self) -> list[int]:
        with ControlClient(self.data_dir) as control:
            return [worker["pid"] for worker in control.call("status")["workers"]]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join(timeout=5)
        return status


@contextlib.contextmanager
def up(
    directory: Path,
    *,
    environment: dict[str, str] | None = None,
    python: str = sys.executable,
    options: tuple[str, ...] = (),
) -> Iterator[Up]:
    process = subprocess.Popen(
        [python, *command(directory)[1:], *options],
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Up(process, directory)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.end()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def command(directory: Path, *, port: int = 0) -> list[str]:
    line = [sys.executable, "-m", "keylease", "up", "--no-server", "--port", str(port)]
    return [*line, "--data-dir", str(directory / "data"), "--config-dir", str(directory / "config")]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def memory_of(pid: int) -> bytes:
    """Every readable page of a process; needs root."""
    pieces = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or "[v" in line:
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                pieces.append(memory.read(end - start))
    return b"\0".join(pieces)


def test_the_first_start_sets_up_and_says_where(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_for("Ctrl-C stops it.")
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        assert f"Wrote {tmp_path}/config/gateway.toml" in running.said
        assert f"Wrote {tmp_path}/config/keylease.toml" in running.said
        bound = r"sealed://openai\* +may go to api\.openai\.com for development, eval"
        assert re.search(bound, running.said)
        assert "posture: " in running.said
        assert "keylease demo" in running.said  # no key is configured
        assert running.end() == 0
        assert "Stopped." in running.said
    with up(tmp_path) as running:
        running.wait_for("Ctrl-C stops it.")
        assert "Wrote" not in running.said


def test_no_provider_key_stays_in_any_environment_or_in_the_supervisor(tmp_path: Path) -> None:
    key = f"sk-test-{secrets.token_hex(20)}"
    other = f"test-{secrets.token_hex(20)}"
    given = {"OPENAI_API_KEY": key, "SOME_TOKEN": other, "https_proxy": "http://127.0.0.1:9"}
    with up(tmp_path, environment=given) as running:
        running.wait_for("Ctrl-C stops it.")
        assert "Credentials that can be used now: openai." in running.said
        gateway = running.gateway_pid()
        workers = running.workers()
        assert workers
        for pid in (running.process.pid, gateway, *workers):
            seen = environment_of(pid)
            assert key.encode() not in seen
            assert other.encode() not in seen
            assert b"proxy" not in seen.lower()
        if os.geteuid() == 0:
            assert key.encode() not in memory_of(running.process.pid)
            # The same search does find it in the process that may hold it.
            assert key.encode() in memory_of(gateway)


def test_a_gateway_that_dies_is_started_again_with_its_values(tmp_path: Path) -> None:
    key = f"sk-test-{secrets.token_hex(20)}"
    with up(tmp_path, environment={"OPENAI_API_KEY": key}) as running:
        running.wait_for("Ctrl-C stops it.")
        before = running.gateway_pid()
        os.kill(before, signal.SIGKILL)
        running.wait_for("signal SIGKILL")
        running.wait_for("The gateway is back.")
        assert running.gateway_pid() != before
        with ControlClient(running.data_dir) as control:
            checks = {check["name"]: check for check in control.call("credentials.check")}
        assert checks["openai"]["available"]


def test_a_second_start_is_refused_in_one_line(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_for("Ctrl-C stops it.")
        second = subprocess.run(
            command(tmp_path),
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert second.returncode == 75
        assert second.stderr.startswith("error: Keylease is already running on ")
        assert f"(process {running.gateway_pid()})" in second.stderr
        assert len(second.stderr.splitlines()) == 2
        assert running.process.poll() is None


def test_a_port_in_use_is_said_and_not_tried_again(tmp_path: Path) -> None:
    with up(tmp_path / "one") as running:
        running.wait_for("Ctrl-C stops it.")
        port = int(running.url.rpartition(":")[2])
        other = subprocess.run(
            command(tmp_path / "two", port=port),
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert other.returncode == 75
        assert f"port {port}" in other.stderr


def test_a_broken_policy_file_stops_the_start(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "keylease.toml").write_text('version = 1\n[[credentail]]\nname = "x"\n')
    result = subprocess.run(
        command(tmp_path),
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 64
    assert "keylease.toml:2" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path: Path, number: int) -> None:
    with up(tmp_path) as running:
        running.wait_for("Ctrl-C stops it.")
        pids = [running.gateway_pid(), *running.workers()]
        assert running.end(number) == 0
        for pid in pids:
            assert not Path(f"/proc/{pid}").exists()


def test_the_gateway_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_for("Ctrl-C stops it.")
        gateway = running.gateway_pid()
        running.end(signal.SIGKILL)
        until = time.monotonic() + 20
        while alive(gateway) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(gateway)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not collected yet does not."""
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a process a user of its own")
def test_root_may_choose_the_gateways_user(shared_python: str) -> None:
    with open_directory() as directory:
        config = directory / "config"
        config.mkdir()
        write_first_files(config / "gateway.toml", config / "keylease.toml")
        for path in config.iterdir():
            path.chmod(0o644)
        config.chmod(0o755)
        with up(directory, python=shared_python, options=("--strongroom-uid", "61177")) as running:
            running.wait_for("Ctrl-C stops it.")
            for pid in (running.gateway_pid(), *running.workers()):
                status = Path(f"/proc/{pid}/status").read_text()
                assert re.search(r"^Uid:(\s+61177){4}$", status, re.MULTILINE)
            assert running.end() == 0
