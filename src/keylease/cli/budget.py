"""`keylease budget`: amounts of money that grants share."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from keylease.cli import output
from keylease.cli.platform_connection import ApiKeyFile, PlatformConnection, Server, connected
from keylease.cli.policy_things import AsJson, Things, micro_usd, usd

app: Final = typer.Typer(
    help="Say how much grants may cost together.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Period = Annotated[
    str | None,
    typer.Option("--period", metavar="day|month|total", help="A day by default."),
]


def _things(api: PlatformConnection) -> Things:
    return Things(api, "/v1/budgets", "budget")


@app.command()
def add(
    name: Name,
    amount: Annotated[str, typer.Argument(metavar="USD", help="Such as 25.00.")],
    *,
    period: Period = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a budget to the draft. Prints its id."""
    body = {"name": name, "micro_usd": micro_usd(amount), "period": period or "day"}
    with connected(server, api_key_file) as api:
        _things(api).add(body)


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List budgets."""
    with connected(server, api_key_file) as api:
        found = _things(api).all()
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("NAME", "USD", "PERIOD", "DRAFT"),
        [
            (item["name"], usd(item["micro_usd"]), item["period"], item["draft_state"])
            for item in found
        ],
    )


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one budget."""
    with connected(server, api_key_file) as api:
        _things(api).show(name, as_json=as_json)


@app.command()
def history(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List who changed a budget, when and how."""
    with connected(server, api_key_file) as api:
        _things(api).history(name, as_json=as_json)


@app.command()
def update(
    name: Name,
    *,
    amount: Annotated[
        str | None, typer.Option("--usd", metavar="USD", help="Such as 25.00.", show_default=False)
    ] = None,
    period: Period = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change a budget in the draft; what is not named stays."""
    with connected(server, api_key_file) as api:
        _things(api).change(name, {"micro_usd": micro_usd(amount), "period": period})


@app.command()
def remove(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Take a budget out of the draft; refused while a grant names it."""
    with connected(server, api_key_file) as api:
        _things(api).remove(name)
