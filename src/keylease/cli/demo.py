"""``keylease demo``: a first call, step by step, without an account and without a network.

Everything it claims it checks, and it ends with status 1 if a claim does not hold. It plays two
parts that are not ours: the provider (a simulator in a process of its own) and the person who
copies a key from the provider's page. That is why the demo key, made for this one run and good
nowhere else, is known to this process; a real key never is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import typer

from keylease.cli import output
from keylease.cli.demo_search import search
from keylease.cli.environment import strongroom_environment
from keylease.cli.options import settings_from
from keylease.cli.strongroom_process import strongroom_command
from keylease.errors import ProcessFailed, SettingsInvalid
from keylease.sdk.control import ControlClient
from keylease.strongroom.options import ReadyMessage

QUESTION: Final = "Where does my provider key live now?"
MODEL: Final = "gpt-5-mini"
_SHORT_LEASE: Final = 2
"""Seconds."""
_STOP_SECONDS: Final = 10.0
_READY_SECONDS: Final = 30.0
_SHOWN: Final = 12
"""Characters of a lease that are shown."""


def command(
    *,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="PATH",
            help="Work in this new directory and keep it. Default: a temporary one.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary directory.")] = False,
) -> int:
    """Show a first call with a simulated provider: no account, no network, nothing is left behind.

    Ends with status 1 if anything it claims does not hold.
    """
    python = str(settings_from(data_dir=None, config_dir=None).strongroom_python)
    with contextlib.ExitStack() as stack:
        # Ended by a signal as by Ctrl-C: processes are stopped and the directory goes.
        previous = signal.signal(signal.SIGTERM, _interrupt)
        stack.callback(signal.signal, signal.SIGTERM, previous)
        base = _directory(stack, directory, keep=keep)
        return _Demo(base, python, stack).run()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _directory(stack: contextlib.ExitStack, wanted: Path | None, *, keep: bool) -> Path:
    if wanted is not None:
        try:
            wanted.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise SettingsInvalid(
                f"The directory {wanted} cannot be made: {error.strerror}.",
                advice="Give --dir a path that does not exist yet.",
            ) from error
        output.say(f"Working in {wanted.absolute()}, which is kept.")
        return wanted.absolute()
    # Short, because the path of a socket may have about a hundred characters only.
    base = Path(tempfile.mkdtemp(prefix="keylease-demo-", dir="/tmp"))
    if keep:
        output.say(f"Working in {base}, which is kept.")
    else:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
    return base


class _Provider(msgspec.Struct):
    """Where the simulator is."""

    openai_url: str
    anthropic_url: str
    control_url: str

    @property
    def origin(self) -> str:
        return self.openai_url.removesuffix("/v1")

    @property
    def host(self) -> str:
        return urlsplit(self.openai_url).hostname or ""


class _Demo:
    """One run."""

    def __init__(self, base: Path, python: str, stack: contextlib.ExitStack) -> None:
        self._base = base
        self._data, self._config, self._logs = base / "data", base / "config", base / "logs"
        self._python = python
        self._stack = stack
        self._key = f"sk-demo-{secrets.token_urlsafe(30)}".encode()
        self._control_token = secrets.token_urlsafe(32)
        self._client = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        self._step = 0
        self._failed: list[str] = []

    def run(self) -> int:
        begun = time.monotonic()
        for directory in (self._config, self._logs):
            directory.mkdir(mode=0o700)
        output.emit("Keylease demo: a model call whose key stays in your own secret store.")
        provider = self._start_provider()
        self._seal_key(provider)
        url = self._start_gateway(provider)
        lease = self._make_lease()
        self._plain_call(url, lease["token"])
        self._streamed_call(url, lease["token"])
        self._show_calls(provider)
        self._lease_dies(url, provider, lease)
        self._key_is_nowhere()
        output.emit()
        if self._failed:
            output.emit(f"{len(self._failed)} of the claims above did not hold:")
            for claim in self._failed:
                output.emit(f"  - {claim}")
            return 1
        output.emit(f"Everything held, in {time.monotonic() - begun:.1f} s.")
        output.hint("`keylease up` starts it with your own keys.")
        return 0

    # --- telling -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _step_of(self, title: str) -> Iterator[list[str]]:
        """Tell a step: its title with the time it took, then the lines it collected."""
        self._step += 1
        begun = time.monotonic()
        lines: list[str] = []
        yield lines
        took = f"{1000 * (time.monotonic() - begun):,.0f} ms"
        output.emit(f"\n{self._step}. {title.ljust(66)} {took.rjust(9)}")
        for line in lines:
            output.emit(f"   {line}")
        sys.stdout.flush()

    def _claim(self, lines: list[str], text: str, *, holds: bool) -> None:
        lines.append(f"{'ok' if holds else 'NOT SO'}: {text}")
        if not holds:
            self._failed.append(text)

    # --- the steps -----------------------------------------------------------------------------

    def _start_provider(self) -> _Provider:
        with self._step_of("A simulated provider starts, in a process of its own") as lines:
            arguments = ["simulator", "--port=0", "--json", "--chunk-delay=0.03"]
            arguments += [f"--key-sha256={hashlib.sha256(self._key).hexdigest()}"]
            arguments += ["--control-token-file=-"]
            process = self._keylease(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._stack.callback(_stop, process)
            answer, _ = _first_line(process, f"{self._control_token}\n".encode())
            provider = msgspec.json.decode(answer, type=_Provider)
            lines.append(f"It speaks OpenAI's wire format at {provider.openai_url}")
            lines.append("and accepts one key, which was made for this run and of which it has")
            lines.append("the hash.")
        return provider

    def _seal_key(self, provider: _Provider) -> None:
        with self._step_of("The key goes into the sealed store, once, through a pipe") as lines:
            arguments = ["secret", "put", "demo", "--provider=openai-compatible"]
            arguments += [f"--host={provider.host}", *self._directories()]
            process = self._keylease(arguments, stdin=subprocess.PIPE)
            process.communicate(self._key, timeout=_READY_SECONDS)
            if process.returncode:
                raise ProcessFailed(
                    "The demo key could not be sealed.", advice=self._tail("keylease.log")
                )
            lines.append("$ keylease secret put demo        (reads from the terminal or stdin)")
            lines.append("Encrypted under a key that lies outside the data directory.")

    def _start_gateway(self, provider: _Provider) -> str:
        self._write_files(provider)
        with self._step_of("The gateway starts: the only process that can open the key") as lines:
            ready = self._spawn_gateway()
            lines.append(f"It listens at {ready.urls[0]}")
            lines.append(f"and sends sealed://demo to {provider.origin} and nowhere else:")
            lines.append("gateway.toml says so, and no request can change it.")
        return ready.urls[0]

    def _make_lease(self) -> dict[str, Any]:
        with self._step_of("A lease: what programs get instead of the key") as lines:
            lease = self._create_lease()
            lines.append("$ keylease lease create --purpose development --environment demo")
            lines.append(f"{lease['token'][:_SHOWN]}...   good for 15 minutes, for models gpt-*")
        return lease

    def _plain_call(self, url: str, token: str) -> None:
        with self._step_of(
            "A plain call: an ordinary OpenAI request, the lease as API key"
        ) as lines:
            answer = self._ask(url, token)
            if answer.status_code == httpx.codes.OK:
                lines.append(f"> {QUESTION}")
                lines.append(f"< {_text_of(answer.json())}")
            self._claim(
                lines,
                f"the provider answered {answer.status_code}; it got its key, we sent a lease",
                holds=answer.status_code == httpx.codes.OK,
            )

    def _streamed_call(self, url: str, token: str) -> None:
        with self._step_of("A streamed call: every piece passes as it comes") as lines:
            times: list[float] = []
            text = ""
            begun = time.monotonic()
            with self._client.stream(
                "POST", f"{url}/v1/chat/completions", json=_chat(stream=True), headers=_auth(token)
            ) as answer:
                for line in answer.iter_lines():
                    if not line.startswith("data: {"):
                        continue
                    choices = msgspec.json.decode(line[6:])["choices"]
                    times.append(time.monotonic())
                    text += (choices[0]["delta"].get("content") or "") if choices else ""
            lines.append(f"< {text}")
            spread = times[-1] - times[0] if times else 0.0
            self._claim(
                lines,
                f"{len(times)} pieces in {spread:.2f} s, the first after "
                f"{1000 * (times[0] - begun if times else 0):.0f} ms",
                holds=len(times) > 10 and spread > 0.3,  # noqa: PLR2004 - 25 pieces at 30 ms
            )

    def _show_calls(self, provider: _Provider) -> None:
        with self._step_of("What the gateway wrote down, and what the provider counted") as lines:
            calls = self._recorded_calls()
            lines.append("$ keylease calls")
            lines.extend(_table(calls))
            usage = self._client.get(
                f"{provider.control_url}/usage", headers=_auth(self._control_token)
            ).json()
            rows = [row for bucket in usage["data"] for row in bucket["results"]]
            counted = (
                sum(row["num_model_requests"] for row in rows),
                sum(row["input_tokens"] for row in rows),
                sum(row["output_tokens"] for row in rows),
            )
            written = (
                len(calls),
                sum((call.get("usage") or {}).get("input_tokens", 0) for call in calls),
                sum((call.get("usage") or {}).get("output_tokens", 0) for call in calls),
            )
            self._claim(
                lines,
                f"both say {counted[0]} calls, {counted[1]} tokens in, {counted[2]} out",
                holds=counted == written,
            )

    def _lease_dies(self, url: str, provider: _Provider, lease: dict[str, Any]) -> None:
        with self._step_of("Somebody steals the lease") as lines:
            token = lease["token"]
            direct = self._ask(provider.origin, token)
            self._claim(
                lines,
                f"straight at the provider it is worth nothing: {direct.status_code}",
                holds=direct.status_code == httpx.codes.UNAUTHORIZED,
            )
            before = self._ask(url, token).status_code
            begun = time.monotonic()
            with ControlClient(self._data) as control:
                control.call("lease.revoke", kind="lease", value=lease["lease_id"])
            after = self._ask(url, token)
            took = 1000 * (time.monotonic() - begun)
            self._claim(
                lines,
                f"revoked: {before} before, {after.status_code} {_code_of(after)} within "
                f"{took:.0f} ms",
                holds=(before, after.status_code) == (httpx.codes.OK, httpx.codes.UNAUTHORIZED),
            )
            short = self._create_lease(lifetime=_SHORT_LEASE)["token"]
            fresh = self._ask(url, short).status_code
            time.sleep(_SHORT_LEASE + 0.2)
            late = self._ask(url, short)
            self._claim(
                lines,
                f"a lease of {_SHORT_LEASE} seconds: {fresh} at first, {late.status_code} "
                f"{_code_of(late)} afterwards",
                holds=(fresh, late.status_code) == (httpx.codes.OK, httpx.codes.UNAUTHORIZED),
            )

    def _key_is_nowhere(self) -> None:
        with self._step_of("Looking for the key in every file that was written") as lines:
            places = [self._data, self._config, self._logs]
            planted = self._logs / "planted"
            planted.write_bytes(b"The search must find this: " + self._key)
            control = search([self._logs], self._key)
            planted.unlink()
            self._claim(
                lines,
                "a copy that was planted on purpose is found",
                holds=(str(planted), "plain") in control.hits,
            )
            found = search(places, self._key)
            self._claim(
                lines,
                f"{found.files} files, {found.size:,} bytes: data, configuration, logs; plain,"
                " hex, base64, URL, JSON: no key",
                holds=not found.hits and not found.unreadable and found.files > 0,
            )
            lines.extend(f"found in {path} ({form})" for path, form in found.hits)
            lines.extend(f"could not be read: {path}" for path in found.unreadable)

    # --- means ---------------------------------------------------------------------------------

    def _directories(self) -> list[str]:
        return [f"--data-dir={self._data}", f"--config-dir={self._config}"]

    def _keylease(
        self, arguments: list[str], *, stdin: int, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a command of ours as a person would, away from the terminal's signals."""
        environment = strongroom_environment() | {"KEYLEASE_STRONGROOM_PYTHON": self._python}
        with (self._logs / "keylease.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-m", "keylease.cli.main", *arguments],
                env=environment,
                stdin=stdin,
                stdout=stdout if stdout is not None else log,
                stderr=log,
                start_new_session=True,
            )

    def _spawn_gateway(self) -> ReadyMessage:
        arguments = ["gateway", f"--gateway-file={self._config / 'gateway.toml'}"]
        arguments += [f"--data-dir={self._data}", "--stop-with-parent"]
        reading, writing = os.pipe()
        with (self._logs / "gateway.log").open("wb") as log, os.fdopen(reading, "rb") as ready:
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

    def _tail(self, name: str) -> str:
        text = (self._logs / name).read_text(errors="replace").strip()
        return f"It said: {text[-400:]}"

    def _write_files(self, provider: _Provider) -> None:
        (self._config / "gateway.toml").write_text(
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
        (self._config / "keylease.toml").write_text(
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

    def _create_lease(self, **wish: object) -> dict[str, Any]:
        with ControlClient(self._data) as control:
            made = control.call("lease.create", purpose="development", environment="demo", **wish)
        return dict(made)

    def _recorded_calls(self) -> list[dict[str, Any]]:
        """The two calls, oldest first; records reach the disk within 50 ms."""
        deadline = time.monotonic() + 5
        while True:
            with ControlClient(self._data) as control:
                calls = list(control.call("calls.list"))
            if len(calls) > 1 or time.monotonic() > deadline:
                return sorted(calls, key=lambda call: call["started_at"])
            time.sleep(0.02)

    def _ask(self, url: str, token: str) -> httpx.Response:
        return self._client.post(
            f"{url}/v1/chat/completions", json=_chat(stream=False), headers=_auth(token)
        )


def _chat(*, stream: bool) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 24,
        "stream": stream,
    }


def _auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def _code_of(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(error.get("code") or "") if isinstance(error, dict) else ""


def _table(calls: list[dict[str, Any]]) -> list[str]:
    lines = ["MODEL        STATUS  IN   OUT  FIRST MS  ALL MS  STREAMED"]
    for call in calls:
        usage = call.get("usage") or {}
        first = call.get("time_to_first_chunk")
        lines.append(
            f"{call['requested_model'][:12]:12} {call['status']:<6}"
            f"  {usage.get('input_tokens', 0):<4} {usage.get('output_tokens', 0):<4}"
            f" {(first or 0) / 1000:<9.1f} {call['duration'] / 1000:<7.1f}"
            f" {'yes' if call.get('streamed') else 'no'}"
        )
    return lines


def _first_line(process: subprocess.Popen[bytes], given: bytes) -> tuple[bytes, bytes]:
    """Hand a process its input and read the first line of its output."""
    if process.stdin is None or process.stdout is None:
        raise ProcessFailed("A process was started without pipes.")
    process.stdin.write(given)
    process.stdin.close()
    line = process.stdout.readline()
    if not line:
        raise ProcessFailed(f"The simulator ended with status {process.wait(_STOP_SECONDS)}.")
    return line, given


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
