"""`keylease trust-rule`: which tokens of outside issuers become leases of which principal."""

from __future__ import annotations

from typing import Annotated, Final

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
    plain,
    seconds,
)
from keylease.errors import SettingsInvalid

app: Final = typer.Typer(
    help="Say whose tokens are exchanged for leases.", no_args_is_help=True, add_completion=False
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Issuer = Annotated[
    str | None,
    typer.Option("--issuer", metavar="URL", help="Who signs the tokens.", show_default=False),
]
Audience = Annotated[
    str | None,
    typer.Option("--audience", metavar="TEXT", help="Exactly theirs.", show_default=False),
]
Claims = Annotated[
    list[str],
    typer.Option(
        "--claim",
        metavar="NAME=VALUE",
        help="A claim that must have exactly this value; more than once for more.",
        show_default=False,
    ),
]
Principal = Annotated[
    str | None,
    typer.Option(
        "--principal",
        metavar="TEXT",
        help="Whose lease it becomes, such as workload:{repository_id}.",
        show_default=False,
    ),
]
Once = Annotated[
    bool | None,
    typer.Option(
        "--once/--again", help="Whether a token is admitted one time only.", show_default=False
    ),
]
Lease = Annotated[
    str | None,
    typer.Option("--maximum-lease", metavar="DURATION", help="Such as 15m.", show_default=False),
]


def _things(api: PlatformConnection) -> Things:
    return Things(api, "/v1/trust-rules", "trust-rule")


def _claims(texts: list[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise SettingsInvalid(f"{text!r} is not NAME=VALUE.")
        found[name] = value
    return found or None


@app.command()
def add(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    issuer: Issuer = None,
    audience: Audience = None,
    claim: Claims = [],  # noqa: B006 - typer copies defaults
    principal: Principal = None,
    purpose: Purposes = [],  # noqa: B006 - as above
    model: Models = [],  # noqa: B006 - as above
    environment: Environments = [],  # noqa: B006 - as above
    once: Once = None,
    maximum_lease: Lease = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a trust rule to the draft. Prints its id."""
    body = {
        "name": name,
        "issuer": issuer or "",
        "audience": audience or "",
        "claims": _claims(claim) or {},
        "principal": principal or "",
        "purposes": list(purpose),
        "models": listed(model),
        "environments": listed(environment),
        "subject_once": once,
        "maximum_lease_seconds": seconds(maximum_lease),
    }
    with connected(server, api_key_file) as api:
        _things(api).add({member: value for member, value in body.items() if value is not None})


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List trust rules."""
    with connected(server, api_key_file) as api:
        found = _things(api).all()
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("NAME", "ISSUER", "CLAIMS", "PRINCIPAL", "PURPOSES", "DRAFT"),
        [
            (
                item["name"],
                item["issuer"],
                plain(item["claims"]),
                item["principal"],
                plain(item["purposes"]),
                item["draft_state"],
            )
            for item in found
        ],
    )


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one trust rule."""
    with connected(server, api_key_file) as api:
        _things(api).show(name, as_json=as_json)


@app.command()
def history(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List who changed a trust rule, when and how."""
    with connected(server, api_key_file) as api:
        _things(api).history(name, as_json=as_json)


@app.command()
def update(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    issuer: Issuer = None,
    audience: Audience = None,
    claim: Claims = [],  # noqa: B006 - as above
    principal: Principal = None,
    purpose: Purposes = [],  # noqa: B006 - as above
    model: Models = [],  # noqa: B006 - as above
    environment: Environments = [],  # noqa: B006 - as above
    once: Once = None,
    maximum_lease: Lease = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change a trust rule in the draft; what is not named stays."""
    changes = {
        "issuer": issuer,
        "audience": audience,
        "claims": _claims(claim),
        "principal": principal,
        "purposes": listed(purpose),
        "models": listed(model),
        "environments": listed(environment),
        "subject_once": once,
        "maximum_lease_seconds": seconds(maximum_lease),
    }
    with connected(server, api_key_file) as api:
        _things(api).change(name, changes)


@app.command()
def remove(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Take a trust rule out of the draft."""
    with connected(server, api_key_file) as api:
        _things(api).remove(name)
