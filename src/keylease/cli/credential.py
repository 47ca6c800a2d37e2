"""`keylease credential`: where secrets live and what they are for. Never the secrets."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.platform_connection import (
    ApiKeyFile,
    PlatformConnection,
    Server,
    connected,
)
from keylease.cli.policy_things import (
    AsJson,
    Purposes,
    Things,
    listed,
    moment,
    plain,
    seconds,
)
from keylease.errors import SettingsInvalid

app: Final = typer.Typer(
    help="Say where secrets live and what they are for.",
    no_args_is_help=True,
    add_completion=False,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Reference = Annotated[
    str | None,
    typer.Option(
        "--ref",
        metavar="URI",
        help="Where the secret lives, such as vault://mount/path#field.",
        show_default=False,
    ),
]
Environment = Annotated[
    str | None,
    typer.Option("--environment", metavar="NAME", help="Where it is used.", show_default=False),
]
Owner = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="PRINCIPAL",
        help="Who answers for it: user:ID or service_account:ID.",
        show_default=False,
    ),
]
Upstream = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        metavar="URL",
        help="Base URL, where it is not the provider's own.",
        show_default=False,
    ),
]
Groups = Annotated[
    list[str],
    typer.Option(
        "--gateway-group",
        metavar="PATTERN",
        help="Which gateway groups are told of it; every one by default.",
        show_default=False,
    ),
]
MaximumAge = Annotated[
    str | None,
    typer.Option(
        "--maximum-age",
        metavar="DURATION",
        help="How old a version of the secret may be, such as 90d; 0s for no maximum.",
        show_default=False,
    ),
]
WhenOld = Annotated[
    str | None,
    typer.Option(
        "--when-old",
        metavar="warn|refuse",
        help="What happens then: a warning, or gateways refuse it.",
        show_default=False,
    ),
]
_INCLUDE: Final = {"include": ["versions", "boundary", "reach", "audit"]}


def _things(api: PlatformConnection) -> Things:
    return Things(api, "/v1/credentials", "credential")


@app.command()
def add(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    reference: Reference = None,
    purpose: Purposes = [],  # noqa: B006 - typer copies defaults
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Whose API it opens.", show_default=False),
    ] = None,
    environment: Environment = None,
    owner: Owner = None,
    upstream: Upstream = None,
    gateway_group: Groups = [],  # noqa: B006 - as above
    maximum_age: MaximumAge = None,
    when_old: WhenOld = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Add a credential to the draft. Prints its id.

    The provider is the name itself, where that is one: `keylease credential add openai ...`.
    """
    if not reference:
        raise SettingsInvalid(
            "--ref is missing: where does the secret live?",
            advice="Such as --ref vault://secret/ai/openai#key. The platform never has the secret.",
        )
    body = {
        "name": name,
        "reference": reference,
        "provider": provider or name,
        "purposes": list(purpose),
        "environment": environment,
        "owner": owner,
        "upstream": upstream,
        "gateway_groups": listed(gateway_group),
        "maximum_age_seconds": seconds(maximum_age),
        "age_action": when_old,
    }
    with connected(server, api_key_file) as api:
        _things(api).add({member: value for member, value in body.items() if value is not None})


@app.command("list")
def list_them(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List credentials: what lives where, for what, for how long, within which gateways."""
    with connected(server, api_key_file) as api:
        found = _things(api).all(**_INCLUDE)
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("NAME", "PROVIDER", "REFERENCE", "PURPOSES", "ENVIRONMENT", "GATEWAYS", "STATE", "DUE"),
        [
            (
                item["name"],
                item["provider"],
                item["reference"],
                plain(item["purposes"]),
                item["environment"],
                plain(item["gateway_groups"]),
                _state(item),
                moment(item["age"]["due_at"]),
            )
            for item in found
        ],
    )


def _state(item: dict[str, Any]) -> str:
    if item["revoked"]:
        return "revoked"
    if item["age"]["refused"]:
        return "refused: too old"
    if item["age"]["overdue"]:
        return f"{item['state']}, overdue"
    return str(item["state"])


@app.command()
def show(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Show one credential from all sides."""
    with connected(server, api_key_file) as api:
        _things(api).show(name, as_json=as_json, query=_INCLUDE)


@app.command()
def versions(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List the versions of the secret that gateways have used."""
    with connected(server, api_key_file) as api:
        thing = _things(api).find(name)
        found = api.ask("GET", f"/v1/credentials/{thing['id']}/versions").body
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("FINGERPRINT", "FIRST USED", "LAST USED", "CALLS"),
        [
            (
                item["fingerprint"],
                moment(item["first_used"]),
                moment(item["last_used"]),
                item["calls"],
            )
            for item in found
        ],
    )


@app.command()
def history(
    name: Name, *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List who changed a credential, when and how."""
    with connected(server, api_key_file) as api:
        _things(api).history(name, as_json=as_json)


@app.command()
def update(  # noqa: PLR0913 - one option for each member
    name: Name,
    *,
    reference: Reference = None,
    purpose: Purposes = [],  # noqa: B006 - as above
    environment: Environment = None,
    owner: Owner = None,
    upstream: Upstream = None,
    gateway_group: Groups = [],  # noqa: B006 - as above
    maximum_age: MaximumAge = None,
    when_old: WhenOld = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="active|suspended|retired", help="Whether it is in use."),
    ] = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Change a credential in the draft; what is not named stays."""
    changes = {
        "reference": reference,
        "purposes": listed(purpose),
        "environment": environment,
        "owner": owner,
        "upstream": upstream,
        "gateway_groups": listed(gateway_group),
        "maximum_age_seconds": seconds(maximum_age),
        "age_action": when_old,
        "state": state,
    }
    with connected(server, api_key_file) as api:
        _things(api).change(name, changes)


@app.command()
def remove(name: Name, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Take a credential out of the draft; refused while a route leads to it."""
    with connected(server, api_key_file) as api:
        _things(api).remove(name)
