"""``keylease simulator``: simulated providers on the loopback interface."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from keylease.cli import output
from keylease.errors import SettingsInvalid
from keylease.simulator import Failure, FailureKind, Simulator, SimulatorOptions
from keylease.simulator.server import DEFAULT_PORT

_FAILURE: Final = re.compile(r"([a-z0-9-]+?)(?::(\d+))?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def command(  # noqa: PLR0913 - each is a flag
    *,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65534,
            help="Port of the OpenAI listener; the Anthropic one takes the next. 0: free ports.",
        ),
    ] = DEFAULT_PORT,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before an answer begins.")] = 0.0,
    chunk_delay: Annotated[
        float, typer.Option(min=0, help="Seconds before each further piece of a stream.")
    ] = 0.0,
    slow_seconds: Annotated[
        float, typer.Option(min=0, help="How long the model sim-slow waits.")
    ] = 5.0,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Rate limit of each key. Default: none.")
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:EVERY]",
            help="Let every call, or each EVERY-th, fail: a status such as 500, or one of "
            "reset, reset-midstream, slow, slow-stream, echo-key, echo-key-split, redirect, "
            "garbage, encoded. May be repeated.",
        ),
    ] = None,
    key_sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX", help="SHA-256 of a key to accept. May be repeated."),
    ] = None,
    accept_any_key: Annotated[
        bool, typer.Option("--accept-any-key", help="Accept whatever key is sent.")
    ] = False,
    control_token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File with the bearer of the control surface; - reads it from stdin. "
            "Default: a random one, printed at start.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it is as one line of JSON.")
    ] = False,
) -> None:
    """Run simulated providers: OpenAI and Anthropic wire formats, deterministic answers.

    Model names make calls fail in a chosen way: sim-fail-500, sim-reset-midstream, sim-slow ...
    The guide docs/guides/simulator.md lists them, and the control surface /_sim.
    """
    failures = [_failure(text) for text in fail or []]
    for digest in key_sha256 or []:
        if not _SHA256.fullmatch(digest):
            raise SettingsInvalid(
                "--key-sha256 takes 64 hex digits.",
                advice='printf %s "$KEY" | sha256sum gives them.',
            )
    simulator = Simulator(
        SimulatorOptions(
            openai_port=port,
            anthropic_port=port + 1 if port else 0,
            latency=latency,
            chunk_delay=chunk_delay,
            slow_seconds=slow_seconds,
            requests_per_minute=requests_per_minute,
            accept_any_key=accept_any_key,
            control_token=_control_token(control_token_file),
        )
    )
    for digest in key_sha256 or []:
        simulator.accept_key_hash(digest)
    for failure in failures:
        simulator.inject(failure)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(simulator, as_json=as_json, told=control_token_file is None))


async def _serve(simulator: Simulator, *, as_json: bool, told: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await simulator.start()
    places = {
        "openai_url": simulator.openai_url,
        "anthropic_url": simulator.anthropic_url,
        "control_url": simulator.control_url,
    }
    if told:
        places["control_token"] = simulator.control_token
    if as_json:
        output.emit_json(places, indent=0)
    else:
        for name, value in places.items():
            output.emit(f"{name.ljust(14)} {value}")
        output.hint("Ctrl-C stops it.")
    sys.stdout.flush()
    try:
        await stopping.wait()
    finally:
        await simulator.stop()


def _failure(text: str) -> Failure:
    found = _FAILURE.fullmatch(text)
    kind, every = (found[1], int(found[2] or 1)) if found else ("", 0)
    if every and re.fullmatch(r"[45]\d\d", kind):
        return Failure(kind=FailureKind.STATUS, status=int(kind), every=every)
    if every and kind in set(FailureKind) - {FailureKind.STATUS}:
        return Failure(kind=FailureKind(kind), every=every)
    known = ", ".join(k for k in FailureKind if k is not FailureKind.STATUS)
    raise SettingsInvalid(
        f"There is no failure `{text}`.",
        advice=f"Give a status from 400 to 599, or one of {known}; `500:10` fails each tenth call.",
    )


def _control_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"The control token cannot be read from {path}.") from error
    if len(text.strip()) < 16:  # noqa: PLR2004 - said in the message
        raise SettingsInvalid("The control token has fewer than 16 characters.")
    return text.strip()
