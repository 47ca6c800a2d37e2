"""`keylease lease`: leases for people on this machine, revocations, signing keys.

Who you are is what the kernel tells the gateway about the other end of its control socket. The
lease itself is data and goes to stdout; everything else is talk.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.contracts.purposes import Purpose
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import isoformat
from keylease.sdk.control import ControlClient
from keylease.strongroom.config_files.values import parse_duration

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create and revoke leases.")
keys = typer.Typer(add_completion=False, no_args_is_help=True, help="The keys that sign leases.")
app.add_typer(keys, name="keys")
_MICROSECONDS: Final = 1_000_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class RevocableKind(StrEnum):
    """What `revoke` takes."""

    LEASE = "lease"
    PRINCIPAL = "principal"
    CREDENTIAL = "credential"
    ALL = "all"


@app.command()
def create(  # noqa: PLR0913 - one parameter per option of the command
    *,
    purpose: Annotated[
        Purpose, typer.Option(metavar="P", help="Why: production, development or eval.")
    ] = Purpose.DEVELOPMENT,
    environment: Annotated[
        str, typer.Option(metavar="E", help="Where, as the credentials' environment has it.")
    ] = "local",
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="A model, or a pattern with *; what your grants allow by default. Repeatable.",
            show_default=False,
        ),
    ] = None,
    ttl: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="How long, such as 15m or 1h; 15m by default.", show_default=False
        ),
    ] = "",
    project: Annotated[
        str, typer.Option(metavar="NAME", help="For the call records.", show_default=False)
    ] = "",
    principal: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="PRINCIPAL",
            help="Another principal than you, such as service_account:nightly.",
            show_default=False,
        ),
    ] = "",
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the lease alone.")] = False,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """Create a lease and print it. Send it in the place of an API key."""
    wish: dict[str, object] = {"purpose": purpose.value, "environment": environment}
    wish |= {"models": list(model or ()), "project": project, "principal": principal}
    if ttl:
        wish["lifetime"] = _seconds(ttl)
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        lease = control.call("lease.create", **wish)
    if as_json:
        output.emit_json(lease)
        return
    if not quiet:
        output.say(
            f"A lease for {lease['principal']}, {lease['purpose']} in {lease['environment']},"
            f" models {', '.join(lease['models'])}, until {_time(lease['expires_at'])}."
        )
        if lease["note"]:
            output.warn(f"The time was {lease['note']}.")
    output.emit(lease["token"])


@app.command()
def revoke(
    kind: Annotated[
        RevocableKind,
        typer.Argument(metavar="KIND", help="lease, principal, credential or all."),
    ],
    value: Annotated[
        str,
        typer.Argument(
            metavar="[VALUE]", help="Lease id, principal or credential name.", show_default=False
        ),
    ] = "",
    *,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """Revoke leases, or stop a credential; in force when the command returns."""
    if not value and kind is not RevocableKind.ALL:
        raise SettingsInvalid(
            f"`keylease lease revoke {kind.value}` needs to know which one.",
            advice="Or use `keylease lease revoke all`.",
        )
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        done = control.call("lease.revoke", kind=kind.value, value=value)
    if as_json:
        output.emit_json(done)
    else:
        what = "All leases issued until now" if kind is RevocableKind.ALL else f"{kind} {value}"
        output.say(f"Revoked: {what}. In force in {output.counted(done['workers'], 'worker')}.")


@app.command()
def lift(
    credential: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Name or id.")],
    *,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """Use a credential again whose revocation was lifted; leases stay revoked for good."""
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        done = control.call("lease.lift", credential=credential)
    output.say(
        f"{credential} is used again." if done["lifted"] else f"{credential} was not revoked."
    )


@app.command("list-revocations")
def list_revocations(
    *, as_json: AsJson = False, data_dir: DataDir = None, config_dir: ConfigDir = None
) -> None:
    """List what is revoked, until its leases have expired anyway."""
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        revocations: list[dict[str, Any]] = control.call("lease.revocations")
    if as_json:
        output.emit_json(revocations)
        return
    rows = [
        (item["kind"], item["name"] or item["value"], _time(item["at"])) for item in revocations
    ]
    output.emit_table(("KIND", "VALUE", "SINCE"), rows)
    if not rows:
        output.say("Nothing is revoked.")


@keys.command()
def rotate(
    *, as_json: AsJson = False, data_dir: DataDir = None, config_dir: ConfigDir = None
) -> None:
    """Sign leases with a new key from now on. Leases in use stay good."""
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        done = control.call("lease.keys.rotate")
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"Leases are signed with key {done['kid']} now.")


def _seconds(text: str) -> int:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise SettingsInvalid(
            f"--ttl {text!r} is no length of time.", advice="Write it like 90s, 15m or 1h."
        ) from error
    return int(seconds)


def _time(microseconds: int) -> str:
    return isoformat(microseconds - microseconds % _MICROSECONDS).replace(".000000", "")
