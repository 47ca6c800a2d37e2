"""Keylease as a benchmark subject: a gateway process with one worker, lease check, limits, metering
and recording on, exactly as ``keylease gateway`` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import payloads
import peers
import processes
from keylease.sdk.control import ControlClient

MODELS = json.dumps(list(payloads.MODELS))
_FORM = (
    "from keylease.strongroom.gateway.form import form_of_call_path; "
    "print(form_of_call_path().in_words())"
)


def strongroom_python() -> str:
    """The Python that the gateway runs in; it decides whether the call path is compiled."""
    return os.environ.get("KEYLEASE_STRONGROOM_PYTHON", sys.executable)


def form() -> str:
    """In which form the call path is measured, in words."""
    command = [strongroom_python(), "-I", "-c", _FORM]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Gateway:
    """One running gateway and what a benchmark asks of it."""

    def __init__(
        self,
        context: peers.Context,
        *,
        reference: str,
        stores: str = "",
        price: str = "",
        workers: int = 1,
    ) -> None:
        """``stores`` is the ``[stores]`` part of gateway.toml."""
        self.directory = context.directory
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        config = self.directory / "config"
        config.mkdir(mode=0o755)
        origin = f"http://127.0.0.1:{context.upstream_port}"
        (config / "gateway.toml").write_text(
            f"""version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = false
workers = {workers}
maximum_lease = "24h"
[[binding]]
reference = "{reference}"
provider = "openai-compatible"
hosts = ["{origin}"]
purposes = ["development"]
[limits]
upstream_connections = 4000
{stores}"""
        )
        (config / "keylease.toml").write_text(
            f"""version = 1
[[credential]]
name = "bench"
provider = "openai-compatible"
reference = "{reference}"
upstream = "{origin}/v1"
purposes = ["development"]
environment = "local"
{price}
[[route]]
name = "bench"
models = {MODELS}
targets = [{{ credential = "bench" }}]
[[grant]]
name = "bench"
principals = ["user:*"]
models = ["*"]
purposes = ["development"]
environments = ["local"]
requests_per_minute = 1000000000
tokens_per_minute = 1000000000000
maximum_lease = "24h"
"""
        )
        self.ready_seconds = 0.0
        self.process = self._start(config / "gateway.toml")

    def _start(self, gateway_file: Path) -> subprocess.Popen[str]:
        reading, writing = os.pipe()
        begun = time.monotonic()
        with (self.directory / "keylease.log").open("w") as log:
            process = subprocess.Popen(
                [
                    strongroom_python(),
                    "-I",
                    "-m",
                    "keylease.strongroom",
                    "gateway",
                    "--gateway-file",
                    gateway_file,
                    "--data-dir",
                    self.data,
                    "--ready-fd",
                    str(writing),
                ],
                env=peers.ENVIRONMENT,
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        os.close(writing)
        with os.fdopen(reading) as ready:
            line = ready.readline()
        self.ready_seconds = time.monotonic() - begun
        if not line:
            processes.stop(process)
            raise RuntimeError((self.directory / "keylease.log").read_text()[-2000:])
        self.url = json.loads(line)["urls"][0]
        return process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def control(self, operation: str, **arguments: object) -> object:
        with ControlClient(self.data) as client:
            return client.call(operation, **arguments)

    def lease(self) -> str:
        made = self.control(
            "lease.create", purpose="development", environment="local", lifetime=86_400
        )
        if not isinstance(made, dict):
            raise TypeError("lease.create")
        return str(made["token"])

    def running(self) -> peers.Running:
        return peers.Running(
            "keylease", self.process, self.port, headers=peers.bearer(self.lease())
        )


def start_with_file(context: peers.Context) -> Gateway:
    """The key is a file, as Kubernetes and Docker mount it."""
    mount = context.directory / "mount"
    mount.mkdir(mode=0o755)
    write_key(mount, context.upstream_key)
    return Gateway(
        context,
        reference=f"file://{mount}/key",
        stores=f'[stores]\nfile_directories = ["{mount}"]\n',
    )


def write_key(mount: Path, key: str) -> None:
    """Put a key into place at once, as a mount does it."""
    draft = mount / ".draft"
    draft.write_text(key)
    draft.chmod(0o644)
    draft.replace(mount / "key")
