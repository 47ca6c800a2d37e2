"""`keylease grant`: which principals may use which models, for what, within which limits."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.platform_connection import ApiKeyFile, PlatformConnection, Server, connected
from keylease.cli.policy_things import (
    AsJson,
    Environments,
    Models,
    Purposes,
    Things,
    listed,
    micro_usd,
    plain,
    seconds,
    usd,
)

app: Final = typer.Typer(
    help="Say who may use which models through a gateway.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Principals = Annotated[
    list[str],
    typer.Option(
        "--principal",
        metavar="PATTERN",
        help="user:ID, service_account:ID, workload:NAME, or a pattern such as user:*; more than "
        "once for more.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option("--requests-per-minute", metavar="NUMBER", help="Calls.", show_default=False),
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens-per-minute", metavar="NUMBER", help="Tokens.", show_default=False),
]
Usd = Annotated[
    str | None,
    typer.Option(
        "--usd", metavar="AMOUNT", help="What it may cost in a period.", show_default=False
    ),
]
Period = Annotated[
    str | None,
    typer.Option(
        "--period", metavar="day|month|total", help="The period of --usd.", show_default=False
    ),
]
Budgets = Annotated[
    list[str],
    typer.Option(
        "--budget",
        metavar="NAME",
        help="A budget to share with other grants; more than once for more.",
        show_default=False,
    ),
]
Lease = Annotated[
    str | None,
    typer.Option("--maximum-lease", metavar="DURATION", help="Such as 15m.", show_default=False),
]
Recorded = Annotated[
    bool | None,
    typer.Option(
        "--record-content/--no-content",
        help="Whether prompts and answers are recorded, masked.",
        show_default=False,
    ),
]
Position = Annotated[
    int | None,
    typer.Option(
        "--position",
        metavar="NUMBER",
        help="The first grant that allows a call gives its limits; lower ones come first.",
        show_default=False,
    ),
]


def _things(api: PlatformConnection) -> Things:
    return Things(api, "/v1/policy-grants", "grant")


def _budgets(api: PlatformConnection, names: list[str]) -> list[str] | None:
    budgets = Things(api, "/v1/budgets", "budget")
    return [budgets.find(name)["id"] for name in names] or None


def _limits(
    before: dict[str, Any],
    requests: int | None,
    tokens: int | None,
    amount: str | None,
    period: str | None,
) -> dict[str, Any] | None:
    given = {
        "requests_per_minute": requests,
        "tokens_per_minute": tokens,
        "budget_micro_usd": micro_usd(amount),
        "budget_period": period,
    }
    said = {member: value for member, value in given.items() if value is not None}
    return {**before, **said} if said else None


def _content(recorded: bool | None) -> str | None:  # noqa: FBT001 - what typer gives
    return None if recorded is None else "masked" if recorded else "none"


@app.command()
def add(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    principal: Principals = [],  # noqa: B006 - typer copies defaults
    model: Models = [],  # noqa: B006 - as above
    purpose: Purposes = [],  # noqa: B006 - as above
    environment: Environments = [],  # noqa: B006 - as above
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    amount: Usd = None,
    period: Period = None,
    budget: Budgets = [],  # noqa: B006 - as above
    maximum_lease: Lease = None,
    record_content: Recorded = None,
    position: Position = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a grant to the draft. Prints its id."""
    with connected(server, api_key_file) as api:
        body = {
            "name": name,
            "principals": list(principal),
            "models": list(model),
            "purposes": list(purpose),
            "environments": listed(environment),
            "limits": _limits({}, requests_per_minute, tokens_per_minute, amount, period),
            "budgets": _budgets(api, budget),
            "maximum_lease_seconds": seconds(maximum_lease),
            "content": _content(record_content),
            "position": position,
        }
        _things(api).add({member: value for member, value in body.items() if value is not None})


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List grants in the order in which they are asked."""
    with connected(server, api_key_file) as api:
        found = sorted(_things(api).all(), key=lambda item: (item["position"], item["name"]))
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("NAME", "PRINCIPALS", "MODELS", "PURPOSES", "ENVIRONMENTS", "LIMITS", "LEASE", "DRAFT"),
        [
            (
                item["name"],
                plain(item["principals"]),
                plain(item["models"]),
                plain(item["purposes"]),
                plain(item["environments"]),
                _limits_text(item["limits"]),
                f"{item['maximum_lease_seconds']}s",
                item["draft_state"],
            )
            for item in found
        ],
    )


def _limits_text(limits: dict[str, Any]) -> str | None:
    parts = []
    if limits["requests_per_minute"] is not None:
        parts.append(f"{limits['requests_per_minute']} calls/min")
    if limits["tokens_per_minute"] is not None:
        parts.append(f"{limits['tokens_per_minute']} tokens/min")
    if limits["budget_micro_usd"] is not None:
        parts.append(f"{usd(limits['budget_micro_usd'])} USD/{limits['budget_period']}")
    return ", ".join(parts) or None


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one grant."""
    with connected(server, api_key_file) as api:
        _things(api).show(name, as_json=as_json)


@app.command()
def history(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List who changed a grant, when and how."""
    with connected(server, api_key_file) as api:
        _things(api).history(name, as_json=as_json)


@app.command()
def update(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    principal: Principals = [],  # noqa: B006 - as above
    model: Models = [],  # noqa: B006 - as above
    purpose: Purposes = [],  # noqa: B006 - as above
    environment: Environments = [],  # noqa: B006 - as above
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    amount: Usd = None,
    period: Period = None,
    budget: Budgets = [],  # noqa: B006 - as above
    maximum_lease: Lease = None,
    record_content: Recorded = None,
    position: Position = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change a grant in the draft; what is not named stays."""
    with connected(server, api_key_file) as api:
        things = _things(api)
        before = things.find(name)["limits"]
        things.change(
            name,
            {
                "principals": listed(principal),
                "models": listed(model),
                "purposes": listed(purpose),
                "environments": listed(environment),
                "limits": _limits(before, requests_per_minute, tokens_per_minute, amount, period),
                "budgets": _budgets(api, budget),
                "maximum_lease_seconds": seconds(maximum_lease),
                "content": _content(record_content),
                "position": position,
            },
        )


@app.command()
def remove(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Take a grant out of the draft."""
    with connected(server, api_key_file) as api:
        _things(api).remove(name)
