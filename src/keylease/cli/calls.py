"""`keylease calls`: what went through the gateway, newest last."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import MICROSECONDS, SystemClock, isoformat
from keylease.sdk.control import ControlClient

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_HEADINGS: Final = (
    "TIME",
    "STATUS",
    "MODEL",
    "PRINCIPAL",
    "PURPOSE",
    "TOKENS",
    "COST",
    "LATENCY",
    "FIRST",
    "ERROR",
)
_WIDTHS: Final = (20, 6, 28, 24, 11, 11, 10, 9, 9, 0)


def command(  # noqa: PLR0913 - one parameter per option of the command
    *,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Calls from then on: 10m, 2h, 1d, or 2026-11-30T08:00Z.",
            show_default=False,
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="PATTERN", help="A model, with *.", show_default=False)
    ] = "",
    principal: Annotated[
        str, typer.Option(metavar="PATTERN", help="A principal, with *.", show_default=False)
    ] = "",
    status: Annotated[
        str,
        typer.Option(metavar="STATUS", help="429, 5xx, ok or failed.", show_default=False),
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="How many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new calls.")] = False,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """List the calls that were made, and follow them."""
    wanted: dict[str, object] = {"model": model, "principal": principal, "status": status}
    wanted["limit"] = limit
    if since:
        wanted["since"] = _moment(since)
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        calls: list[dict[str, Any]] = control.call("calls.list", **wanted)
        if follow:
            _show_each(calls, as_json=as_json)
            _show_each(control.follow("calls.follow", **wanted), as_json=as_json, heading=False)
        elif as_json:
            _show_each(calls, as_json=True)
        else:
            output.emit_table(_HEADINGS, [_row(call) for call in calls])
            if not calls:
                output.say("No call matches.")


def _show_each(calls: Iterable[dict[str, Any]], *, as_json: bool, heading: bool = True) -> None:
    """Print line by line, for calls that come one after the other."""
    if heading and not as_json:
        output.emit(_fixed(_HEADINGS))
    for call in calls:
        if as_json:
            output.emit_json(call, indent=0)
        else:
            output.emit(_fixed(_row(call)))
        sys.stdout.flush()


def _row(call: dict[str, Any]) -> tuple[str, ...]:
    usage = call.get("usage")
    tokens = f"{usage.get('input_tokens', 0)}+{usage.get('output_tokens', 0)}" if usage else "-"
    cost = call.get("cost")
    marked = "~" if call.get("estimated") else ""
    return (
        isoformat(call["started_at"])[:19] + "Z",
        str(call["status"]),
        call.get("requested_model") or "-",
        call["principal"],
        call["purpose"],
        marked + tokens,
        "-" if cost is None else f"{marked}${cost / MICROSECONDS:.6f}",
        _milliseconds(call["duration"]),
        _milliseconds(call.get("time_to_first_chunk")),
        call.get("error") or ("client left" if call.get("client_gone") else ""),
    )


def _fixed(cells: tuple[str, ...]) -> str:
    return "  ".join(
        _printable(cell).ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)
    ).rstrip()


def _printable(text: str) -> str:
    """Foreign text, such as the name of a model, must not move the cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _milliseconds(microseconds: int | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1000:.1f}ms"


def _moment(text: str) -> int:
    """Microseconds UTC of a time or of a time ago."""
    if ago := _AGO.fullmatch(text):
        seconds = int(ago[1]) * _SECONDS[ago[2]]
        return SystemClock().now() - seconds * MICROSECONDS
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsInvalid(
            f"--since {text!r} is no time.", advice="Write it like 10m, 2h or 2026-11-30T08:00Z."
        ) from error
    if moment.tzinfo is None:
        raise SettingsInvalid(f"--since {text!r} has no time zone.", advice="Add Z for UTC.")
    return int(moment.timestamp() * MICROSECONDS)
