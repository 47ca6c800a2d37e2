"""`keylease inventory webhook`: who is told when the inventory changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from keylease.cli import output
from keylease.cli.inventory_words import minute
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson, plain
from keylease.errors import SettingsInvalid

app: Final = typer.Typer(
    help="Say who is told when the inventory changes.", no_args_is_help=True, add_completion=False
)
Webhook = Annotated[str, typer.Argument(metavar="ID", help="The webhook; `list` shows its id.")]
_PATH: Final = "/v1/inventory/webhooks"


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List webhooks, and whether they are delivered."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", _PATH).body
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("URL", "EVENTS", "STATE", "FAILURES", "WAITING", "ID"),
        [
            (
                one["url"],
                plain(one["events"]) or "all",
                "enabled" if one["enabled"] else f"disabled: {one['disabled_reason']}",
                one["failures"],
                one["waiting"],
                one["id"],
            )
            for one in found
        ],
    )


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="https, and without a query.")],
    *,
    event: Annotated[
        list[str],
        typer.Option(
            "--event",
            metavar="EVENT",
            help="Such as found or removed_everywhere; all by default.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a webhook. Prints its id; stderr says by which key messages are signed."""
    with connected(server, api_key_file) as api:
        made = api.ask("POST", _PATH, body={"url": url, "events": list(event)}).body
    output.emit(made["id"])
    output.say(f"Messages are signed. Let the receiver verify them with {made['public_key']}.")


@app.command()
def show(
    webhook: Webhook,
    *,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show one webhook, and the key that its messages are verified with."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", f"{_PATH}/{quote(webhook, safe='')}").body
    if as_json:
        output.emit_json(found)
        return
    moments = {"disabled_at", "next_at", "made_at"}
    output.emit_table(
        ("MEMBER", "VALUE"),
        [
            (member, minute(value) if member in moments else plain(value))
            for member, value in found.items()
        ],
    )


@app.command("set")
def change(
    webhook: Webhook,
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Another address.", show_default=False),
    ] = None,
    event: Annotated[
        list[str],
        typer.Option(
            "--event", metavar="EVENT", help="Only these from now on.", show_default=False
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    all_events: Annotated[bool, typer.Option("--all-events", help="Every change.")] = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change where a webhook's messages go, or about which changes."""
    if url is None and not event and not all_events:
        raise SettingsInvalid("Nothing is changed.", advice="Say what, with an option.")
    if event and all_events:
        raise SettingsInvalid("--event and --all-events contradict each other.")
    said = {"url": url, "events": [] if all_events else list(event) or None}
    _put(
        webhook,
        {name: value for name, value in said.items() if value is not None},
        server,
        api_key_file,
    )
    output.say("It is changed.")


@app.command()
def disable(webhook: Webhook, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Deliver nothing more until it is enabled again; what waits for it is forgotten."""
    _put(webhook, {"enabled": False}, server, api_key_file)
    output.say("It is disabled.")


@app.command()
def enable(webhook: Webhook, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Deliver again to a webhook that was disabled."""
    _put(webhook, {"enabled": True}, server, api_key_file)
    output.say("It is enabled. What changed meanwhile is in `keylease inventory history`.")


def _put(webhook: str, said: dict[str, Any], server: str, api_key_file: Path | None) -> None:
    """Say the whole of it again, with what is new."""
    path = f"{_PATH}/{quote(webhook, safe='')}"
    with connected(server, api_key_file) as api:
        found = api.ask("GET", path)
        kept = {member: found.body[member] for member in ("url", "events", "enabled")}
        api.ask("PUT", path, body=kept | said, version=found.version)


@app.command()
def remove(webhook: Webhook, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Remove a webhook."""
    path = f"{_PATH}/{quote(webhook, safe='')}"
    with connected(server, api_key_file) as api:
        api.ask("DELETE", path, version=api.ask("GET", path).version)
    output.say("It is removed.")


@app.command()
def deliveries(
    webhook: Webhook,
    *,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List the last attempts to deliver, newest first."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", f"{_PATH}/{quote(webhook, safe='')}/deliveries").body
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("AT", "MESSAGE", "CHANGES", "RESULT", "STATUS", "PROBLEM"),
        [
            (
                minute(one["at"]),
                one["message_id"],
                one["changes"],
                "delivered" if one["delivered"] else "failed",
                one["status"] or None,
                one["problem"] or None,
            )
            for one in found
        ],
    )
