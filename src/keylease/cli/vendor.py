"""`keylease vendor`: outside tools, and what they were given."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from keylease.cli import output
from keylease.cli.inventory_words import day, minute, moment_of
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson, plain
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import SystemClock

app: Final = typer.Typer(
    help="Say which outside tools were given keys, prompts or logs.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as braintrust.")]
Title = Annotated[
    str | None, typer.Option("--title", metavar="TEXT", help="For people.", show_default=False)
]
Connector = Annotated[
    str | None,
    typer.Option(
        "--connector", metavar="NAME", help="The connector that reads it.", show_default=False
    ),
]
Given = Annotated[
    list[str],
    typer.Option(
        "--given",
        metavar="WHAT",
        help="What it was given: keys, prompts, logs; more than once for more.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="A date, or 30d ago.", show_default=False),
]
Note = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="Anything else.", show_default=False)
]
_PATH: Final = "/v1/vendors"
_SAID: Final = ("title", "connector", "given", "since", "note")


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List vendors, what they were given, and who says so."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", _PATH).body
    if as_json:
        output.emit_json(found)
        return
    found = [one for one in found if one["archived_at"] is None]
    if not found:
        output.say("No vendor is known.")
        output.hint("`keylease vendor add NAME` names one; `keylease inventory sync` finds some.")
    output.emit_table(
        ("NAME", "GIVEN", "SINCE", "CONNECTOR", "ATTESTED", "BY"),
        [
            (
                one["name"],
                plain(one["given"]),
                day(one["since"]),
                one["connector"] or None,
                day(one["attested_at"]),
                one["attested_by"],
            )
            for one in found
        ],
    )


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one vendor."""
    with connected(server, api_key_file) as api:
        vendor = api.ask("GET", f"{_PATH}/{quote(name, safe='')}").body
    if as_json:
        output.emit_json(vendor)
        return
    moments = {"since", "attested_at", "archived_at"}
    output.emit_table(
        ("MEMBER", "VALUE"),
        [
            (member, minute(value) if member in moments else plain(value))
            for member, value in vendor.items()
        ],
    )


@app.command()
def add(  # noqa: PLR0913 - one parameter per option of the command
    name: Name,
    *,
    title: Title = None,
    connector: Connector = None,
    given: Given = [],  # noqa: B006 - typer copies defaults
    since: Since = None,
    note: Note = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Say that an outside tool was given something, also where no connector exists."""
    body = {"name": name, **_said(title, connector, given, since, note)}
    with connected(server, api_key_file) as api:
        made = api.ask("POST", _PATH, body=body).body
    output.emit(made["id"])


@app.command("set")
def change(  # noqa: PLR0913 - one parameter per option of the command
    name: Name,
    *,
    title: Title = None,
    connector: Connector = None,
    given: Given = [],  # noqa: B006 - as above
    since: Since = None,
    note: Note = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Say anew what a vendor was given; what is not named stays. You attest the whole."""
    said = _said(title, connector, given, since, note)
    if not said:
        raise SettingsInvalid("Nothing is changed.", advice="Say what, with an option.")
    path = f"{_PATH}/{quote(name, safe='')}"
    with connected(server, api_key_file) as api:
        found = api.ask("GET", path)
        body = {member: found.body[member] for member in _SAID} | said
        api.ask("PUT", path, body=body, version=found.version)
    output.say("The vendor is changed.")


@app.command()
def archive(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Say that a vendor is used no more. What it was given stays known; `set` brings it back."""
    path = f"{_PATH}/{quote(name, safe='')}"
    with connected(server, api_key_file) as api:
        found = api.ask("GET", path)
        body = {member: found.body[member] for member in _SAID} | {"archived": True}
        api.ask("PUT", path, body=body, version=found.version)
    output.say("The vendor is archived. What it was given is exposed all the same.")


def _said(
    title: str | None,
    connector: str | None,
    given: list[str],
    since: str | None,
    note: str | None,
) -> dict[str, Any]:
    body = {
        "title": title,
        "connector": connector,
        "given": list(given) or None,
        "since": moment_of(since, now=SystemClock().now()) if since else None,
        "note": note,
    }
    return {member: value for member, value in body.items() if value is not None}
