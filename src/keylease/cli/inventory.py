"""`keylease inventory`: where every key is, whose it is, who uses it. Never the keys."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from keylease.cli import inventory_sync, inventory_webhooks, output
from keylease.cli.inventory_words import (
    believed_words,
    consumer_counts,
    consumer_words,
    day,
    live_words,
    minute,
    moment_of,
    place_words,
    reported_words,
    secret_words,
    stands_for_words,
    write_out,
)
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.policy_things import AsJson, plain
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import SystemClock

app: Final = typer.Typer(
    help="Say where every key is, whose it is and who uses it.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("sync")(inventory_sync.sync)
app.add_typer(inventory_webhooks.app, name="webhook")
Secret = Annotated[str, typer.Argument(metavar="ID", help="The secret; `list` shows its id.")]
Text = Annotated[
    str,
    typer.Option(
        "--text",
        metavar="TEXT",
        help="Part of a path, a name, a repository, an owner or a masked key.",
        show_default=False,
    ),
]
Provider = Annotated[
    str, typer.Option("--provider", metavar="NAME", help="Only of this one.", show_default=False)
]
Consumer = Annotated[
    str,
    typer.Option(
        "--consumer",
        metavar="TEXT",
        help="Part of what a consumer is called: a principal, a workflow, a deployment, a file.",
        show_default=False,
    ),
]
_SECRETS: Final = "/v1/inventory/secrets"


class ExportForm(StrEnum):
    """What the platform exports."""

    JSON = "json"
    CSV = "csv"
    CYCLONEDX = "cyclonedx"


class GraphForm(StrEnum):
    """How a graph is written."""

    JSON = "json"
    DOT = "dot"


class Works(StrEnum):
    """What a provider answers."""

    LIVE = "live"
    DEAD = "dead"


@app.command("list")
def list_them(  # noqa: PLR0913 - one parameter per option of the command
    *,
    text: Text = "",
    provider: Provider = "",
    owner: Annotated[
        str,
        typer.Option("--owner", metavar="NAME", help="Only this owner's.", show_default=False),
    ] = "",
    state: Annotated[
        str,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only in this state, such as unowned.",
            show_default=False,
        ),
    ] = "",
    consumer: Consumer = "",
    gone: Annotated[
        bool, typer.Option("--gone", help="Only what is nowhere any more; still exposed.")
    ] = False,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List secrets, the worst first."""
    query = {
        "text": text,
        "provider": provider,
        "owner": owner,
        "consumer": consumer,
        "present": str(not gone).lower(),
    }
    with connected(server, api_key_file) as api:
        found = list(api.pages(_SECRETS, limit=100, **query))
    chosen = [one for one in found if not state or state in one["states"]]
    chosen.sort(key=lambda one: (-one["risk"], one["first_seen"], one["id"]))
    if as_json:
        output.emit_json(chosen)
        return
    output.emit_table(
        ("RISK", "SECRET", "OWNER", "WORKS", "PLACES", "USED BY", "LAST SEEN", "STATES", "ID"),
        [
            (
                one["risk"],
                secret_words(one),
                one["owner"] or None,
                live_words(one["live"]),
                sum(place["removed_at"] is None for place in one["places"]),
                consumer_counts(one["consumers"]) or None,
                day(one["last_seen"]),
                plain(one["states"]),
                one["id"],
            )
            for one in chosen
        ],
    )
    output.say(f"{output.counted(len(chosen), 'secret')}.")


@app.command()
def show(
    secret: Secret, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one secret with its places, consumers, owner and states."""
    with connected(server, api_key_file) as api:
        seen = _read(api, secret).body
    if as_json:
        output.emit_json(seen)
        return
    credential = seen["credential"]
    rows: list[tuple[str, object]] = [
        ("secret", secret_words(seen)),
        ("provider's id", seen["key_id"] or None),
        ("works", live_words(seen["live"])),
        ("belongs to", seen["belongs_to"] or None),
        ("owner", _owner(seen)),
        ("credential", credential["name"] if credential else "none of the policy"),
        ("states", plain(seen["states"])),
        ("risk", seen["risk"]),
        ("first seen", minute(seen["first_seen"])),
        ("last seen", minute(seen["last_seen"])),
        ("removed", minute(seen["removed_at"])),
        ("last used", minute(seen["last_used"])),
        *(("place", place_words(place)) for place in seen["places"]),
        *(("believed in", believed_words(one)) for one in seen["believed_places"]),
        *(("fetched for", reported_words(one)) for one in seen["reported"]),
        *(("consumer", consumer_words(one)) for one in seen["consumers"]),
        *(("accepted", _accepted(one)) for one in seen["exceptions"]),
    ]
    output.emit_table(("MEMBER", "VALUE"), rows)


def _owner(seen: dict[str, Any]) -> str:
    if seen["owner"]:
        return f"{seen['owner']}{'' if seen['owner_confirmed'] else ' (not confirmed)'}"
    candidates = ", ".join(seen["owner_candidates"])
    return f"nobody; perhaps {candidates}" if candidates else "nobody"


def _accepted(one: dict[str, Any]) -> str:
    until = f"withdrawn {day(one['withdrawn_at'])}" if one["withdrawn_at"] else day(one["ends_at"])
    return f"{one['state']} until {until}, by {one['owner']}: {one['reason']} ({one['id']})"


@app.command()
def history(
    secret: Annotated[
        str, typer.Argument(metavar="[ID]", help="One secret; default: everything.")
    ] = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many changes.")] = 100,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List what changed, when and by whom; newest first."""
    path = f"{_SECRETS}/{_id(secret)}/history" if secret else "/v1/inventory/history"
    with connected(server, api_key_file) as api:
        pages = api.pages(path, limit=min(limit, 100))
        lines = [line for line, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        output.emit_json(lines)
        return
    output.emit_table(
        ("AT", "WHAT", "BY", "DETAILS", "SECRET"),
        [
            (minute(one["at"]), one["what"], one["by"], plain(one["details"]), one["secret_id"])
            for one in lines
        ],
    )


@app.command()
def sources(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List where reports come from, and when they last came."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", "/v1/inventory/sources").body
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("KIND", "NAME", "LAST SCAN", "LAST COMPLETE", "PLACES", "PUSHED BY", "RETIRED", "ID"),
        [
            (
                one["kind"],
                one["name"],
                minute(one["last_scan_at"]),
                minute(one["last_complete_at"]),
                one["present"],
                one["pushed_by"],
                day(one["retired_at"]),
                one["id"],
            )
            for one in found
        ],
    )


@app.command()
def retire(
    source: Annotated[str, typer.Argument(metavar="ID", help="The source; `sources` shows it.")],
    *,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Take a source out of the view: it is gone, or its scanner lied. Its history stays."""
    with connected(server, api_key_file) as api:
        api.ask("DELETE", f"/v1/inventory/sources/{_id(source)}")
    output.say("The source is retired; a new report of it brings it back.")


@app.command()
def own(
    secret: Secret,
    owner: Annotated[
        str | None,
        typer.Argument(metavar="[OWNER]", help='Who answers for it; "" for nobody.'),
    ] = None,
    *,
    credential: Annotated[
        str | None,
        typer.Option(
            "--credential",
            metavar="NAME",
            help='The credential of the policy that it is; "" for none.',
            show_default=False,
        ),
    ] = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Name a secret's owner, or the credential that it is."""
    if owner is None and credential is None:
        raise SettingsInvalid("Nothing is changed.", advice="Name an OWNER or a --credential.")
    with connected(server, api_key_file) as api:
        body = {"owner": owner, "credential_id": credential and _credential(api, credential)}
        given = {name: value for name, value in body.items() if value is not None}
        version = _read(api, secret).version
        api.ask("PATCH", f"{_SECRETS}/{_id(secret)}", body=given, version=version)
    output.say("Done.")


def _credential(api: PlatformConnection, name: str) -> str:
    for one in api.pages("/v1/credentials", name=name):
        return str(one["id"])
    raise SettingsInvalid(
        "There is no credential with this name.", advice="`keylease credential list` lists them."
    )


@app.command()
def accept(
    secret: Secret,
    state: Annotated[str, typer.Argument(metavar="STATE", help="As `show` names it.")],
    *,
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Who answers for that.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")],
    until: Annotated[
        str,
        typer.Option("--until", metavar="WHEN", help="A date, or 30d; at most a year from now."),
    ],
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Accept a state until a day; until then it does not count."""
    ends_at = moment_of(until, now=SystemClock().now(), ahead=True)
    body = {"state": state, "reason": reason, "owner": owner, "ends_at": ends_at}
    with connected(server, api_key_file) as api:
        api.ask("POST", f"{_SECRETS}/{_id(secret)}/exceptions", body=body)
    output.say(f"{state} is accepted until {minute(ends_at)} UTC.")


@app.command()
def withdraw(
    secret: Secret,
    exception: Annotated[
        str, typer.Argument(metavar="EXCEPTION", help="The exception; `show` has its id.")
    ],
    *,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """End an exception before its day; its state counts again."""
    with connected(server, api_key_file) as api:
        api.ask("DELETE", f"{_SECRETS}/{_id(secret)}/exceptions/{_id(exception)}")
    output.say("The exception is withdrawn.")


@app.command()
def works(
    secret: Secret,
    answer: Annotated[Works, typer.Argument(help="What the provider answered.")],
    *,
    belongs_to: Annotated[
        str,
        typer.Option(
            "--belongs-to", metavar="TEXT", help="Whose it is, as it said.", show_default=False
        ),
    ] = "",
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Keep what a provider answered when it was asked outside of a scan; see `scan --verify`."""
    body = {"live": answer is Works.LIVE, "belongs_to": belongs_to}
    with connected(server, api_key_file) as api:
        api.ask("POST", f"{_SECRETS}/{_id(secret)}/liveness", body=body)
    output.say(f"It is {answer.value}.")


@app.command()
def mentions(
    *,
    provider: Provider = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many places.")] = 1000,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """List places where the name of a secret stands, without its value; newest first."""
    with connected(server, api_key_file) as api:
        pages = api.pages("/v1/inventory/mentions", limit=min(limit, 100), provider=provider)
        found = [place for place, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("NAME", "PROVIDER", "PLACE", "LAST SEEN", "STANDS FOR"),
        [
            (
                one["location"].get("name"),
                one["provider"] or None,
                place_words(one),
                day(one["last_seen"]),
                stands_for_words(one["stands_for"]) or None,
            )
            for one in found
        ],
    )


@app.command()
def export(
    *,
    form: Annotated[ExportForm, typer.Option("--format", help="How it is written.")] = (
        ExportForm.JSON
    ),
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it there.", show_default=False),
    ] = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Export the whole inventory, the worst first."""
    with connected(server, api_key_file) as api:
        write_out(api.fetch(f"/v1/inventory/export?format={form.value}"), file)


@app.command()
def graph(
    *,
    text: Text = "",
    provider: Provider = "",
    consumer: Consumer = "",
    form: Annotated[
        GraphForm, typer.Option("--format", help="JSON, or dot for Graphviz.")
    ] = GraphForm.JSON,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Write the graph: credential - location - consumer - owner - vendor."""
    query = urlencode({"text": text, "provider": provider, "consumer": consumer})
    with connected(server, api_key_file) as api:
        found = api.ask("GET", f"/v1/inventory/graph?{query}").body
    if form is GraphForm.JSON:
        output.emit_json(found)
        return
    output.emit("graph inventory {")
    for node in found["nodes"]:
        label = output.printable(f"{node['kind']}: {node['label']}")
        output.emit(f"  {_quoted(node['id'])} [label={_quoted(label)}];")
    for edge in found["edges"]:
        ends = f"{_quoted(edge['source'])} -- {_quoted(edge['target'])}"
        output.emit(f"  {ends} [label={_quoted(edge['relation'])}];")
    output.emit("}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _id(text: str) -> str:
    return quote(text, safe="")


def _read(api: PlatformConnection, secret: str) -> Any:  # noqa: ANN401 - JSON
    return api.ask("GET", f"{_SECRETS}/{_id(secret)}")
