"""``keylease demo``: a first call, step by step, without an account and without a network.

Everything it claims it checks, and it ends with status 1 if a claim does not hold. It plays two
parts that are not ours: the provider (a simulator in a process of its own) and the person who
copies a key from the provider's page. That is why the demo key, made for this one run and good
nowhere else, is known to this process; a real key never is.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer

from keylease.cli import output
from keylease.cli.demo_house import QUESTION, DemoHouse, Provider, authorization, question
from keylease.cli.demo_search import search
from keylease.cli.options import settings_from
from keylease.errors import SettingsInvalid

_SHORT_LEASE: Final = 2
"""Seconds."""
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
        return _Demo(DemoHouse(base, python, stack)).run()


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


class _Demo:
    """One run."""

    def __init__(self, house: DemoHouse) -> None:
        self._house = house
        self._step = 0
        self._failed: list[str] = []

    def run(self) -> int:
        begun = time.monotonic()
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

    def _start_provider(self) -> Provider:
        with self._step_of("A simulated provider starts, in a process of its own") as lines:
            provider = self._house.start_provider()
            lines.append(f"It speaks OpenAI's wire format at {provider.openai_url}")
            lines.append("and accepts one key, which was made for this run and of which it has")
            lines.append("the hash.")
        return provider

    def _seal_key(self, provider: Provider) -> None:
        with self._step_of("The key goes into the sealed store, once, through a pipe") as lines:
            self._house.seal_key(provider.host)
            lines.append("$ keylease secret put demo        (reads from the terminal or stdin)")
            lines.append("Encrypted under a key that lies outside the data directory.")

    def _start_gateway(self, provider: Provider) -> str:
        with self._step_of("The gateway starts: the only process that can open the key") as lines:
            ready = self._house.start_gateway(provider)
            lines.append(f"It listens at {ready.urls[0]}")
            lines.append(f"and sends sealed://demo to {provider.origin} and nowhere else:")
            lines.append("gateway.toml says so, and no request can change it.")
        return ready.urls[0]

    def _make_lease(self) -> dict[str, Any]:
        with self._step_of("A lease: what programs get instead of the key") as lines:
            lease = self._house.create_lease()
            lines.append("$ keylease lease create --purpose development --environment demo")
            lines.append(f"{lease['token'][:_SHOWN]}...   good for 15 minutes, for models gpt-*")
        return lease

    def _plain_call(self, url: str, token: str) -> None:
        with self._step_of(
            "A plain call: an ordinary OpenAI request, the lease as API key"
        ) as lines:
            answer = self._house.ask(url, token)
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
            with self._house.client.stream(
                "POST",
                f"{url}/v1/chat/completions",
                json=question(stream=True),
                headers=authorization(token),
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

    def _show_calls(self, provider: Provider) -> None:
        with self._step_of("What the gateway wrote down, and what the provider counted") as lines:
            calls = self._house.recorded_calls()
            lines.append("$ keylease calls")
            lines.extend(_table(calls))
            rows = self._house.counted(provider)
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

    def _lease_dies(self, url: str, provider: Provider, lease: dict[str, Any]) -> None:
        with self._step_of("Somebody steals the lease") as lines:
            token = lease["token"]
            direct = self._house.ask(provider.origin, token)
            self._claim(
                lines,
                f"straight at the provider it is worth nothing: {direct.status_code}",
                holds=direct.status_code == httpx.codes.UNAUTHORIZED,
            )
            before = self._house.ask(url, token).status_code
            begun = time.monotonic()
            self._house.revoke_lease(lease["lease_id"])
            after = self._house.ask(url, token)
            took = 1000 * (time.monotonic() - begun)
            self._claim(
                lines,
                f"revoked: {before} before, {after.status_code} {_code_of(after)} within "
                f"{took:.0f} ms",
                holds=(before, after.status_code) == (httpx.codes.OK, httpx.codes.UNAUTHORIZED),
            )
            short = self._house.create_lease(lifetime=_SHORT_LEASE)["token"]
            fresh = self._house.ask(url, short).status_code
            time.sleep(_SHORT_LEASE + 0.2)
            late = self._house.ask(url, short)
            self._claim(
                lines,
                f"a lease of {_SHORT_LEASE} seconds: {fresh} at first, {late.status_code} "
                f"{_code_of(late)} afterwards",
                holds=(fresh, late.status_code) == (httpx.codes.OK, httpx.codes.UNAUTHORIZED),
            )

    def _key_is_nowhere(self) -> None:
        with self._step_of("Looking for the key in every file that was written") as lines:
            house = self._house
            planted = house.logs / "planted"
            planted.write_bytes(b"The search must find this: " + house.key)
            control = search([house.logs], house.key)
            planted.unlink()
            self._claim(
                lines,
                "a copy that was planted on purpose is found",
                holds=(str(planted), "plain") in control.hits,
            )
            found = search([house.data, house.config, house.logs], house.key)
            self._claim(
                lines,
                f"{found.files} files, {found.size:,} bytes: data, configuration, logs; plain,"
                " hex, base64, URL, JSON: no key",
                holds=not found.hits and not found.unreadable and found.files > 0,
            )
            lines.extend(f"found in {path} ({form})" for path, form in found.hits)
            lines.extend(f"could not be read: {path}" for path in found.unreadable)


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
