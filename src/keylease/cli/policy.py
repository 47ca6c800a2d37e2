"""`keylease policy`: check, show and reload the local policy, or begin one.

`check` and `show` read the files themselves and need no running gateway. Diagnostics are data, so
they go to stdout, one to a line, as compilers write them: ``file:line:column: error: what``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from keylease.cli import output, policy_platform, policy_standing
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.cli.platform_connection import ApiKeyFile, Server
from keylease.contracts.policy import Credential, Limits, PolicyBundle
from keylease.errors import ConfigurationError, Diagnostic, FileInvalid, Severity
from keylease.primitives.clock import isoformat
from keylease.sdk.control import ControlClient
from keylease.strongroom.config_files.default_files import gateway_text, policy_text
from keylease.strongroom.config_files.gateway_file import read_gateway
from keylease.strongroom.config_files.policy_checks import check_together
from keylease.strongroom.config_files.policy_file import LoadedPolicy, read_policy
from keylease.strongroom.configuration import GatewayConfiguration

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check and reload the policy file; compare and publish the platform's policy.",
)
_NO_ORGANIZATION: Final = "00000000-0000-0000-0000-000000000000"
"""Identifiers are derived from the organization's; nothing that is shown here depends on it."""

PolicyFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", help="The policy; keylease.toml of the configuration by default."
    ),
]
GatewayFile = Annotated[
    Path | None,
    typer.Option(
        "--gateway",
        metavar="FILE",
        help="The gateway.toml to check against; that of the configuration by default.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Checked(msgspec.Struct, frozen=True):
    """Both files, as far as they can be read, and everything there is to say about them."""

    policy: LoadedPolicy | None
    gateway: GatewayConfiguration | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> int:
        """How many diagnostics stop a file from being used."""
        return sum(item.severity is Severity.ERROR for item in self.diagnostics)


def examine(policy_file: Path, gateway_file: Path | None) -> Checked:
    """Read both files, each for itself and then together."""
    found: list[Diagnostic] = []
    policy = gateway = None
    if gateway_file is not None:
        try:
            loaded = read_gateway(gateway_file)
            gateway = loaded.configuration
            found += loaded.warnings
        except FileInvalid as error:
            found += error.diagnostics
    try:
        policy = read_policy(policy_file, organization_id=_NO_ORGANIZATION, version=1, now=0)
        found += policy.warnings
    except FileInvalid as error:
        found += error.diagnostics
    if policy is not None and gateway is not None:
        found += check_together(gateway, policy.bundle, path=str(policy_file), places=policy.places)
    return Checked(policy, gateway, tuple(found))


@app.command()
def check(
    *,
    file: PolicyFile = None,
    gateway: GatewayFile = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
) -> int:
    """Report every mistake in the policy and in gateway.toml, with its line.

    The exit status is 64 when there is an error, and 0 when there are at most warnings.
    """
    checked = examine(*_files(file, gateway, config_dir))
    if as_json:
        output.emit_json({"errors": checked.errors, "diagnostics": checked.diagnostics})
    else:
        for item in checked.diagnostics:
            output.emit_diagnostic(item)
        output.say(_summary(checked))
    return ConfigurationError.exit_status if checked.errors else 0


@app.command()
def show(
    *,
    file: PolicyFile = None,
    gateway: GatewayFile = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            metavar="NUMBER",
            help="Show a version that the platform has published, and not a file.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> int:
    """Show credentials, routes, grants and trust rules as they would be in force."""
    if version is not None:
        policy_platform.show_version(version, server, api_key_file)
        return 0
    checked = examine(*_files(file, gateway, config_dir))
    if checked.policy is None or checked.errors:
        for item in checked.diagnostics:
            output.emit_diagnostic(item)
        output.say(_summary(checked))
        return ConfigurationError.exit_status
    if as_json:
        output.emit_json(checked.policy.bundle)
    else:
        _show(checked.policy.bundle, checked.diagnostics)
    return 0


@app.command()
def reload(*, data_dir: DataDir = None, config_dir: ConfigDir = None) -> None:
    """Put the policy file as it is now in force. No call is interrupted.

    A file with mistakes is refused and the policy before it stays in force.
    """
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    with ControlClient(settings.data_dir) as control:
        status = control.call("policy.reload")
    changed = "is in force" if status["changed"] else "was in force already"
    output.say(
        f"{status['path']} {changed}: version {status['version']}, "
        f"{output.counted(status['credentials'], 'credential')}, "
        f"{output.counted(status['routes'], 'route')}, "
        f"{output.counted(status['grants'], 'grant')}, since {isoformat(status['loaded_at'])}."
    )


@app.command()
def example(
    *,
    for_gateway: Annotated[
        bool, typer.Option("--gateway", help="Print a gateway.toml instead.")
    ] = False,
) -> None:
    """Print a first keylease.toml, to begin from."""
    output.emit((gateway_text() if for_gateway else policy_text()).rstrip())


app.command()(policy_standing.status)
policy_platform.add_to(app)


def _files(
    file: Path | None, gateway: Path | None, config_dir: Path | None
) -> tuple[Path, Path | None]:
    settings = settings_from(data_dir=None, config_dir=config_dir)
    beside = settings.gateway_file
    # A gateway.toml that was not asked for may be missing; one that was must be there.
    return file or settings.policy_file, gateway or (beside if beside.exists() else None)


def _summary(checked: Checked) -> str:
    warnings = len(checked.diagnostics) - checked.errors
    return f"{output.counted(checked.errors, 'error')}, {output.counted(warnings, 'warning')}."


def _show(bundle: PolicyBundle, diagnostics: Iterable[Diagnostic]) -> None:
    names = {credential.id: credential.name for credential in bundle.credentials}
    _table(
        "Credentials",
        ("NAME", "PROVIDER", "REFERENCE", "PURPOSES", "ENVIRONMENT", "UPSTREAM"),
        [_credential(item) for item in bundle.credentials],
    )
    _table(
        "Routes",
        ("NAME", "MODELS", "TARGETS"),
        [
            (
                route.name,
                _list(route.models),
                _list(
                    names[target.credential_id]
                    + (f" as {target.model}" if target.model else "")
                    + (f" x{target.weight}" if target.weight > 1 else "")
                    for target in route.targets
                ),
            )
            for route in bundle.routes
        ],
    )
    _table(
        "Grants",
        ("NAME", "PRINCIPALS", "MODELS", "PURPOSES", "ENVIRONMENTS", "LIMITS", "LEASE"),
        [
            (
                grant.name,
                _list(grant.principals),
                _list(grant.models),
                _list(grant.purposes),
                _list(grant.environments),
                _limits(grant.limits),
                f"{grant.maximum_lease_seconds}s",
            )
            for grant in bundle.grants
        ],
    )
    _table(
        "Trust rules",
        ("NAME", "ISSUER", "PRINCIPAL", "PURPOSES", "MODELS", "LEASE"),
        [
            (
                rule.name,
                rule.issuer,
                rule.principal,
                _list(rule.purposes),
                _list(rule.models),
                f"{rule.maximum_lease_seconds}s",
            )
            for rule in bundle.trust_rules
        ],
    )
    for item in diagnostics:
        output.warn(f"{item.message} {item.suggestion}".strip())


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    output.emit(f"{title}: {len(rows) or 'none'}")
    output.emit_table(headings, rows)
    output.emit()


def _credential(credential: Credential) -> tuple[object, ...]:
    return (
        credential.name,
        credential.provider,
        credential.reference,
        _list(credential.purposes),
        credential.environment,
        credential.upstream or None,
    )


def _list(items: Iterable[str]) -> str:
    return ", ".join(str(item) for item in items)


def _limits(limits: Limits) -> str | None:
    parts = []
    if limits.requests_per_minute is not None:
        parts.append(f"{limits.requests_per_minute} calls/min")
    if limits.tokens_per_minute is not None:
        parts.append(f"{limits.tokens_per_minute} tokens/min")
    if limits.budget_micro_usd is not None:
        whole, micro = divmod(limits.budget_micro_usd, 1_000_000)
        fraction = f"{micro:06d}".rstrip("0").ljust(2, "0")
        parts.append(f"{whole}.{fraction} USD/{limits.budget_period.value}")
    return ", ".join(parts) or None
