"""`keylease route`: which credentials serve which models."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from keylease.cli import output
from keylease.cli.platform_connection import ApiKeyFile, PlatformConnection, Server, connected
from keylease.cli.policy_things import AsJson, Models, Things, listed, plain
from keylease.errors import SettingsInvalid

app: Final = typer.Typer(
    help="Say which credentials serve which models.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Targets = Annotated[
    list[str],
    typer.Option(
        "--to",
        metavar="CREDENTIAL[=MODEL][:WEIGHT]",
        help="A credential, the model's name there, and its share on a weighted route; more than "
        "once for more.",
        show_default=False,
    ),
]
Weighted = Annotated[
    bool | None,
    typer.Option(
        "--weighted/--ordered",
        help="Share calls by weight, or try targets in their order.",
        show_default=False,
    ),
]
Position = Annotated[
    int | None,
    typer.Option(
        "--position", metavar="NUMBER", help="Lower ones are asked first.", show_default=False
    ),
]
_TARGET: Final = re.compile(r"(?P<name>[^=:]+)(?:=(?P<model>.+?))?(?::(?P<weight>[0-9]{1,7}))?")


def _things(api: PlatformConnection) -> Things:
    return Things(api, "/v1/routes", "route")


def _targets(api: PlatformConnection, texts: list[str]) -> list[dict[str, object]] | None:
    credentials = Things(api, "/v1/credentials", "credential")
    found: list[dict[str, object]] = []
    for text in texts:
        match = _TARGET.fullmatch(text)
        if match is None:
            raise SettingsInvalid(f"{text!r} is no target.", advice="Such as --to openai=gpt-5:2.")
        target: dict[str, object] = {"credential_id": credentials.find(match["name"])["id"]}
        if match["model"]:
            target["model"] = match["model"]
        if match["weight"]:
            target["weight"] = int(match["weight"])
        found.append(target)
    return found or None


def _strategy(weighted: bool | None) -> str | None:  # noqa: FBT001 - what typer gives
    return None if weighted is None else "weighted" if weighted else "ordered"


@app.command()
def add(
    name: Name,
    *,
    model: Models = [],  # noqa: B006 - typer copies defaults
    to: Targets = [],  # noqa: B006 - as above
    weighted: Weighted = None,
    position: Position = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a route to the draft. Prints its id."""
    with connected(server, api_key_file) as api:
        body = {
            "name": name,
            "models": list(model),
            "targets": _targets(api, to) or [],
            "strategy": _strategy(weighted),
            "position": position,
        }
        _things(api).add({member: value for member, value in body.items() if value is not None})


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List routes in the order in which they are asked."""
    with connected(server, api_key_file) as api:
        found = sorted(_things(api).all(), key=lambda item: (item["position"], item["name"]))
        names = {item["id"]: item["name"] for item in api.pages("/v1/credentials")}
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("POSITION", "NAME", "MODELS", "TARGETS", "STRATEGY", "DRAFT"),
        [
            (
                item["position"],
                item["name"],
                plain(item["models"]),
                ", ".join(
                    names.get(target["credential_id"], target["credential_id"])
                    + (f"={target['model']}" if target["model"] else "")
                    + (f":{target['weight']}" if target["weight"] != 1 else "")
                    for target in item["targets"]
                ),
                item["strategy"],
                item["draft_state"],
            )
            for item in found
        ],
    )


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one route."""
    with connected(server, api_key_file) as api:
        _things(api).show(name, as_json=as_json)


@app.command()
def history(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List who changed a route, when and how."""
    with connected(server, api_key_file) as api:
        _things(api).history(name, as_json=as_json)


@app.command()
def update(
    name: Name,
    *,
    model: Models = [],  # noqa: B006 - as above
    to: Targets = [],  # noqa: B006 - as above
    weighted: Weighted = None,
    position: Position = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change a route in the draft; what is not named stays."""
    with connected(server, api_key_file) as api:
        _things(api).change(
            name,
            {
                "models": listed(model),
                "targets": _targets(api, to),
                "strategy": _strategy(weighted),
                "position": position,
            },
        )


@app.command()
def remove(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Take a route out of the draft."""
    with connected(server, api_key_file) as api:
        _things(api).remove(name)
