"""Real gateways for tests: a coordinator process with its workers, on free ports.

with running_gateway(tmp_path, upstream=simulator.openai_url, key=secret) as gateway:
    lease = gateway.lease()
    answer = gateway.chat(lease)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack

import httpx
import msgspec
from tests.support.readable import readable

from keylease.sdk.control import ControlClient
from keylease.strongroom.options import ReadyMessage

READY_SECONDS = 30
MODEL = "gpt-4o-mini"


class Options(TypedDict, total=False):
    """Lines of TOML for the parts of the files."""

    workers: int
    limits: str
    """Of the grant."""
    spool: str
    stores: str
    top: str
    """Of [gateway]."""
    wire: str


class GatewayFiles:
    """The configuration of one gateway below a directory of the test."""

    def __init__(
        self, home: Path, *, upstream: str, key: bytes, **options: Unpack[Options]
    ) -> None:
        self.limits = options.get("limits", "")
        self.config = home / "config"
        self.data = home / "data"
        self.keys = home / "keys"
        self.upstream = upstream
        for directory in (self.config, self.keys):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.key_file = self.keys / "provider"
        self.write_key(key)
        self.gateway_file = self.config / "gateway.toml"
        self.policy_file = self.config / "keylease.toml"
        origin = upstream.removesuffix("/v1")
        self.gateway_file.write_text(
            f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
policy = "keylease.toml"
workers = {options.get("workers", 1)}
{options.get("top", "")}
[stores]
file_directories = ["{self.keys}"]
{options.get("stores", "")}
[spool]
{options.get("spool", "")}
[limits]
drain_timeout = "5s"
{options.get("wire", "")}
[[binding]]
reference = "file://{self.keys}/*"
provider = "openai-compatible"
hosts = ["{origin}"]
purposes = ["development", "eval"]
"""
        )
        self.write_policy()

    def write_key(self, key: bytes) -> None:
        draft = self.keys / ".draft"
        draft.write_bytes(key)
        draft.chmod(0o600)
        draft.rename(self.key_file)

    def write_policy(self, *, limits: str | None = None, top: str = "", extra: str = "") -> None:
        if limits is not None:
            self.limits = limits
        draft = self.config / ".draft"
        draft.write_text(
            f"""
version = 1
{top}
[[credential]]
name = "upstream"
provider = "openai-compatible"
upstream = "{self.upstream}"
reference = "file://{self.key_file}"
purposes = ["development", "eval"]
environment = "local"

[[route]]
name = "all"
models = ["*"]
targets = [{{ credential = "upstream" }}]

[[grant]]
name = "people"
principals = ["user:*", "service_account:*"]
models = ["*"]
purposes = ["development", "eval"]
environments = ["local"]
{self.limits}
{extra}
"""
        )
        draft.rename(self.policy_file)


class RunningGateway:
    """A gateway process that takes calls."""

    def __init__(
        self, files: GatewayFiles, process: subprocess.Popen[bytes], ready: ReadyMessage, log: Path
    ) -> None:
        self.files = files
        self.process = process
        self.ready = ready
        self.url = ready.urls[0]
        self.log = log
        self.client = httpx.Client(timeout=30, trust_env=False)

    def control(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        with ControlClient(self.files.data) as client:
            return client.call(operation, **arguments)

    def lease(self, **arguments: object) -> str:
        arguments.setdefault("purpose", "development")
        arguments.setdefault("environment", "local")
        token: str = self.control("lease.create", **arguments)["token"]
        return token

    def chat(self, lease: str, *, model: str = MODEL, **members: object) -> httpx.Response:
        """A call on the connection that is kept."""
        return self._chat(self.client, lease, model, members)

    def chat_anew(self, lease: str, *, model: str = MODEL, **members: object) -> httpx.Response:
        """A call on a new connection, which any worker may get."""
        with httpx.Client(timeout=30, trust_env=False) as client:
            return self._chat(client, lease, model, members)

    def _chat(
        self, client: httpx.Client, lease: str, model: str, members: dict[str, object]
    ) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **members}
        return client.post(
            f"{self.url}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {lease}"},
        )

    @property
    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.control("status")["workers"]]

    def log_lines(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self) -> int:
        """As `keylease up` stops it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """The coordinator dies at once; its workers notice by themselves."""
        self.process.kill()
        self.process.wait(timeout=30)


def start_gateway(files: GatewayFiles, *, log: Path | None = None) -> RunningGateway:
    """Start and wait until it is ready; raises ``AssertionError`` with its log otherwise."""
    log = log or files.data.parent / "gateway.log"
    reading, writing = os.pipe()
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-m",
                "keylease.strongroom",
                "gateway",
                "--gateway-file",
                str(files.gateway_file),
                "--data-dir",
                str(files.data),
                "--ready-fd",
                str(writing),
                "--stop-with-parent",
            ],
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            env={"PATH": "/usr/bin:/bin", "HOME": str(files.data.parent), "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline() if readable(pipe.fileno(), READY_SECONDS) else b""
    if not line:
        process.kill()
        status = process.wait()
        raise AssertionError(f"not ready (status {status}):\n{log.read_text()}")
    return RunningGateway(files, process, msgspec.json.decode(line, type=ReadyMessage), log)


@contextmanager
def running_gateway(
    home: Path, *, upstream: str, key: bytes, **options: Unpack[Options]
) -> Iterator[RunningGateway]:
    """A gateway while the block runs."""
    gateway = start_gateway(GatewayFiles(home, upstream=upstream, key=key, **options))
    try:
        yield gateway
    finally:
        gateway.client.close()
        if gateway.process.poll() is None:
            gateway.stop()
