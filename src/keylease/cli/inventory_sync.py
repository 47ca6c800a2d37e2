"""`keylease inventory sync`: let connectors list what they keep, and push it.

The listing is made by a strongroom process, which alone sees the connectors' credentials; what
comes out of it holds no key.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from keylease.cli import output
from keylease.cli.options import ApiKeyFile, ConfigDir, DataDir, Server, settings_from
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.pushing import PUSH_SECONDS, push
from keylease.cli.strongroom_process import spawn_strongroom
from keylease.contracts.findings import ScanReport
from keylease.contracts.references import Reference
from keylease.errors import ConnectorUnknown, ProcessFailed, SettingsInvalid
from keylease.settings import Settings
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.configuration import ConnectorSettings
from keylease.strongroom.connectors.registry import connector_of

_STORE_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "VAULT_TOKEN",
)
"""With which the stores are reached, when they are set."""
INCOMPLETE_STATUS: Final = 4
"""Something could not be listed, or not wholly."""
_LARGEST_REPORT: Final = 256 * 1024 * 1024


def sync(  # noqa: PLR0913 - one parameter per option of the command
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Connectors of gateway.toml."),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every connector.")] = False,
    values: Annotated[
        bool,
        typer.Option(
            "--values", help="Also look at values, in memory, where the system gives them out."
        ),
    ] = False,
    fingerprint_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --values: the organization's key.", show_default=False
        ),
    ] = None,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """List what outside systems keep, and push it to the inventory.

    Exit status: 0 all was listed; 4 something could not be, and the rest was.
    """
    if bool(names) == every:
        raise SettingsInvalid("Which connectors?", advice="Name them, or use --all.")
    if values and fingerprint_key is None:
        raise SettingsInvalid(
            "--values is of use with the organization's fingerprint key only.",
            advice="Add --fingerprint-key FILE.",
        )
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    chosen = _chosen(settings, names or ())
    options = [*(["--values"] if values else [])]
    if fingerprint_key is not None:
        options.append(f"--fingerprint-key={fingerprint_key.absolute()}")
    complete = True
    with connected(server, api_key_file, seconds=PUSH_SECONDS) as api:
        for connector in chosen:
            try:
                complete &= _sync(api, settings, connector, options)
            except (ProcessFailed, ConnectorUnknown) as error:
                if len(chosen) == 1:
                    raise
                complete = False  # the others are listed all the same
                output.show_error(error)
    return 0 if complete else INCOMPLETE_STATUS


def _chosen(settings: Settings, names: list[str] | tuple[()]) -> list[ConnectorSettings]:
    listed = {one.name: one for one in load_gateway(settings.gateway_file).connectors}
    unknown = [name for name in names if name not in listed]
    if unknown or not listed:
        known = ", ".join(listed) or "none"
        raise ConnectorUnknown(
            f"gateway.toml lists no connector {unknown[0]!r}."
            if unknown
            else "gateway.toml lists no connector.",
            advice=f"Listed: {known}. docs/guides/inventory.md shows how to add one.",
        )
    return [listed[name] for name in names] if names else list(listed.values())


def _sync(
    api: PlatformConnection, settings: Settings, connector: ConnectorSettings, options: list[str]
) -> bool:
    report = _listing(settings, connector, options)
    for problem in report.problems:
        output.warn(output.printable(f"{connector.name}: {problem.message}"))
    query = {"connector": connector.name, "vendor": vendor_of(connector)}
    pushed = push(api, report, query=query)
    found = len(report.findings) + len(report.mentions)
    output.say(
        f"{connector.name}: {output.counted(found, 'secret')} listed, "
        f"{output.counted(pushed.new_locations, 'new location')}, {pushed.removed} removed."
    )
    return report.complete


def vendor_of(connector: ConnectorSettings) -> str:
    """The inventory's name of the vendor; empty for one's own infrastructure."""
    if connector.vendor:
        return connector.vendor
    kind = connector_of(connector.system)
    return kind.system.replace("_", "-") if kind.vendor else ""


def _listing(settings: Settings, connector: ConnectorSettings, options: list[str]) -> ScanReport:
    variables: tuple[str, ...] = _STORE_VARIABLES
    if connector.reference:
        reference = Reference.parse(connector.reference)
        variables += (reference.path,) if reference.scheme == "env" else ()
    process = spawn_strongroom(
        [
            "connector",
            f"--gateway-file={settings.gateway_file}",
            f"--data-dir={settings.data_dir}",
            *options,
            connector.name,
        ],
        python=str(settings.strongroom_python),
        stdin=None,  # a store may ask for its passphrase
        stdout=subprocess.PIPE,
        variables=variables,
    )
    with process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        written = process.stdout.read(_LARGEST_REPORT)
    if process.returncode:
        raise ProcessFailed(f"The connector {connector.name} could not be asked; see above.")
    try:
        return msgspec.json.decode(written, type=ScanReport)
    except msgspec.DecodeError as error:
        raise ProcessFailed(f"The connector {connector.name} gave no report.") from error
