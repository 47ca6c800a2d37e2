"""`keylease incident`: what breaks, and what has to be done, if this was breached?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from keylease.cli import output
from keylease.cli.incident_words import preview_csv, preview_lines
from keylease.cli.inventory_words import moment_of, write_out
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import SystemClock

app: Final = typer.Typer(
    help="Say what breaks if a vendor or a key was breached.", add_completion=False
)


class PreviewForm(StrEnum):
    """How a preview is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.callback()
def incident() -> None:
    """Say what breaks if a vendor or a key was breached."""


@app.command()
def preview(  # noqa: PLR0913 - one parameter per option of the command
    *,
    vendor: Annotated[
        str, typer.Option(metavar="NAME", help="An outside tool.", show_default=False)
    ] = "",
    credential: Annotated[
        str,
        typer.Option(metavar="NAME", help="A credential of the policy.", show_default=False),
    ] = "",
    location: Annotated[
        str,
        typer.Option(
            metavar="ID", help="A place; `inventory show --json` has ids.", show_default=False
        ),
    ] = "",
    principal: Annotated[
        str,
        typer.Option(
            metavar="PRINCIPAL",
            help="Who owns or uses keys: user:ID, or a consumer as `inventory show` names it.",
            show_default=False,
        ),
    ] = "",
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FROM TO",
            help="Only what was there in this time: dates, or 30d for 30 days ago, or now.",
            show_default=False,
        ),
    ] = None,
    owner: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Only this owner's part; nobody for what has none.",
            show_default=False,
        ),
    ] = "",
    form: Annotated[
        PreviewForm, typer.Option("--format", help="How it is written.")
    ] = PreviewForm.TABLE,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it there.", show_default=False),
    ] = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show the blast radius: what is affected, where else it is, who uses it, what is not known.

    Changes nothing but the audit log, which says that somebody looked.
    """
    subjects = {
        "vendor": vendor,
        "credential": credential,
        "location": location,
        "principal": principal,
    }
    asked = {kind: name for kind, name in subjects.items() if name}
    if len(asked) != 1:
        raise SettingsInvalid(
            "What was breached?",
            advice="Name one of --vendor, --credential, --location and --principal.",
        )
    ((kind, name),) = asked.items()
    query: dict[str, object] = {"kind": kind, "name": name, "owner": owner}
    if between is not None:
        now = SystemClock().now()
        since, until = (now if text == "now" else moment_of(text, now=now) for text in between)
        query |= {"since": since, "until": until}
    with connected(server, api_key_file) as api:
        found = api.ask("GET", "/v1/incidents/preview", query=query).body
    if form is PreviewForm.JSON:
        write_out((output.json_text(found) + "\n").encode(), file)
    elif form is PreviewForm.CSV:
        write_out(preview_csv(found).encode(), file)
    else:
        lines = map(output.printable, preview_lines(found))
        write_out(("\n".join(lines) + "\n").encode(), file)
