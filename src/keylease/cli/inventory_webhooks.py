"""`keylease inventory webhook`: who is told when the inventory changes."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

import typer

from keylease.cli import output
from keylease.cli.inventory_words import minute
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson, plain

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
def enable(webhook: Webhook, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Deliver again to a webhook that was disabled."""
    path = f"{_PATH}/{quote(webhook, safe='')}"
    with connected(server, api_key_file) as api:
        found = api.ask("GET", path)
        body = {"url": found.body["url"], "events": found.body["events"], "enabled": True}
        api.ask("PUT", path, body=body, version=found.version)
    output.say("It is enabled. What changed meanwhile is in `keylease inventory history`.")


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
