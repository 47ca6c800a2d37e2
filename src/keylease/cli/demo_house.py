"""What the demo is played with: its directory, its processes, its key, and how it calls them.

The demo key is made for one run and good nowhere else; that is why it is known to this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from keylease.cli.environment import strongroom_environment
from keylease.cli.strongroom_process import strongroom_command
from keylease.errors import ProcessFailed
from keylease.sdk.control import ControlClient
from keylease.strongroom.options import ReadyMessage

QUESTION: Final = "Where does my provider key live now?"
MODEL: Final = "gpt-5-mini"
_STOP_SECONDS: Final = 10.0
_READY_SECONDS: Final = 30.0


class Provider(msgspec.Struct):
    """Where the simulator is."""

    openai_url: str
    anthropic_url: str
    control_url: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.openai_url.removesuffix("/v1")

    @property
    def host(self) -> str:
        """What the key is bound to."""
        return urlsplit(self.openai_url).hostname or ""


class DemoHouse:
    """The directory of one run and everything that runs on it; ``stack`` ends what was started."""

    def __init__(self, base: Path, python: str, stack: contextlib.ExitStack) -> None:
        self.data, self.config, self.logs = base / "data", base / "config", base / "logs"
        self.key: Final = f"sk-demo-{secrets.token_urlsafe(30)}".encode()
        self.client: Final = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        self._python = python
        self._stack = stack
        self._control_token = secrets.token_urlsafe(32)
        for directory in (self.config, self.logs):
            directory.mkdir(mode=0o700)

    # --- processes -----------------------------------------------------------------------------

    def start_provider(self) -> Provider:
        """Start the simulator, which accepts the demo key and has its hash only."""
        arguments = ["simulator", "--port=0", "--json", "--chunk-delay=0.03"]
        arguments += [f"--key-sha256={hashlib.sha256(self.key).hexdigest()}"]
        arguments += ["--control-token-file=-"]
        process = self._keylease(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stack.callback(_stop, process)
        answer = _first_line(process, f"{self._control_token}\n".encode())
        return msgspec.json.decode(answer, type=Provider)

    def seal_key(self, host: str) -> None:
        """Put the demo key into the sealed store, bound to the simulator's host."""
        arguments = ["secret", "put", "demo", "--provider=openai-compatible", f"--host={host}"]
        arguments += [f"--data-dir={self.data}", f"--config-dir={self.config}"]
        process = self._keylease(arguments, stdin=subprocess.PIPE)
        process.communicate(self.key, timeout=_READY_SECONDS)
        if process.returncode:
            raise ProcessFailed(
                "The demo key could not be sealed.", advice=self._tail("keylease.log")
            )

    def start_gateway(self, provider: Provider) -> ReadyMessage:
        """Start a gateway of its own files, and wait until it takes calls."""
        self._write_files(provider)
        arguments = ["gateway", f"--gateway-file={self.config / 'gateway.toml'}"]
        arguments += [f"--data-dir={self.data}", "--stop-with-parent"]
        reading, writing = os.pipe()
        with (self.logs / "gateway.log").open("wb") as log, os.fdopen(reading, "rb") as ready:
            process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                strongroom_command([*arguments, f"--ready-fd={writing}"], python=self._python),
                env=strongroom_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                start_new_session=True,
            )
            self._stack.callback(_stop, process)
            os.close(writing)
            line = ready.readline()
        if not line:
            raise ProcessFailed(
                "The demo's gateway did not start.", advice=self._tail("gateway.log")
            )
        return msgspec.json.decode(line, type=ReadyMessage)

    def _keylease(
        self, arguments: list[str], *, stdin: int, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a command of ours as a person would, away from the terminal's signals."""
        environment = strongroom_environment() | {"KEYLEASE_STRONGROOM_PYTHON": self._python}
        with (self.logs / "keylease.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-m", "keylease.cli.main", *arguments],
                env=environment,
                stdin=stdin,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                start_new_session=True,
            )

    def _tail(self, name: str) -> str:
        text = (self.logs / name).read_text(errors="replace").strip()
        return f"It said: {text[-400:]}"

    def _write_files(self, provider: Provider) -> None:
        (self.config / "gateway.toml").write_text(
            f"""version = 1

[gateway]
listen = "127.0.0.1:0"
metrics = false

[[binding]]
reference = "sealed://demo"
provider = "openai-compatible"
hosts = ["{provider.origin}"]
purposes = ["development"]
"""
        )
        (self.config / "keylease.toml").write_text(
            f"""version = 1

[[credential]]
name = "demo"
provider = "openai-compatible"
reference = "sealed://demo"
upstream = "{provider.openai_url}"
purposes = ["development"]
environment = "demo"

[[route]]
name = "demo"
models = ["gpt-*"]
targets = [{{ credential = "demo" }}]

[[grant]]
name = "people"
principals = ["user:*"]
models = ["gpt-*"]
purposes = ["development"]
environments = ["demo"]
requests_per_minute = 600
"""
        )

    # --- asking --------------------------------------------------------------------------------

    def create_lease(self, **wish: object) -> dict[str, Any]:
        """A lease for the person who runs the demo."""
        with ControlClient(self.data) as control:
            made = control.call("lease.create", purpose="development", environment="demo", **wish)
        return dict(made)

    def recorded_calls(self) -> list[dict[str, Any]]:
        """The two calls, oldest first; records reach the disk within 50 ms."""
        deadline = time.monotonic() + 5
        while True:
            with ControlClient(self.data) as control:
                calls = list(control.call("calls.list"))
            if len(calls) > 1 or time.monotonic() > deadline:
                return sorted(calls, key=lambda call: call["started_at"])
            time.sleep(0.02)

    def revoke_lease(self, lease_id: str) -> None:
        """Take a lease back."""
        with ControlClient(self.data) as control:
            control.call("lease.revoke", kind="lease", value=lease_id)

    def counted(self, provider: Provider) -> list[dict[str, Any]]:
        """What the provider counted: one row for each minute and model."""
        usage = self.client.get(
            f"{provider.control_url}/usage", headers=authorization(self._control_token)
        ).json()
        return [row for bucket in usage["data"] for row in bucket["results"]]

    def ask(self, url: str, token: str) -> httpx.Response:
        """A plain call."""
        return self.client.post(
            f"{url}/v1/chat/completions", json=question(stream=False), headers=authorization(token)
        )


def question(*, stream: bool) -> dict[str, Any]:
    """The body of a call."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 24,
        "stream": stream,
    }


def authorization(token: str) -> dict[str, str]:
    """The header that every OpenAI client sends."""
    return {"Authorization": f"Bearer {token}"}


def _first_line(process: subprocess.Popen[bytes], given: bytes) -> bytes:
    """Hand a process its input and read the first line of its output."""
    if process.stdin is None or process.stdout is None:
        raise ProcessFailed("A process was started without pipes.")
    process.stdin.write(given)
    process.stdin.close()
    line = process.stdout.readline()
    if not line:
        raise ProcessFailed(f"The simulator ended with status {process.wait(_STOP_SECONDS)}.")
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it if it does not."""
    if process.stdout is not None:
        process.stdout.close()
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
