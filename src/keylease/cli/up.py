"""`keylease up`: set up what is missing, throw the environment away, supervise.

The process that a person starts holds their whole environment, provider keys included. It becomes
a strongroom process (same pid) that puts the values of ``env://`` references into a memory file,
and that becomes the supervisor, with an allow-listed environment. Nothing of the first process is
left: not its memory, not the block that /proc/<pid>/environ shows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.environment import handover_environment, kept_names
from keylease.cli.options import ConfigDir, DataDir
from keylease.cli.server import WithoutBackup, server_document
from keylease.cli.strongroom_process import log_arguments, strongroom_command
from keylease.cli.trace_options import (
    TraceFingerprintKey,
    TraceStoreCluster,
    TraceStorePasswordFile,
    TraceStoreUrl,
    server_settings,
)
from keylease.errors import DataDirectoryLocked, ProcessFailed
from keylease.primitives.clock import SystemClock
from keylease.primitives.fingerprints import LOCAL_KEY_FILE, local_keys
from keylease.settings import Settings, process_environment
from keylease.strongroom.config_files.default_files import (
    VARIABLES,
    first_policy,
    write_first_files,
)
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.data_directory import owner_of
from keylease.strongroom.options import STRONGROOM_UID


def command(  # noqa: PLR0913 - one for each flag
    *,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65534,
            metavar="N",
            help="Listen on this port, and serve metrics on the next one, instead of those in"
            " gateway.toml. 0 takes free ones.",
            show_default=False,
        ),
    ] = None,
    server_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="Let the server listen on this port instead of the configured one.",
            show_default=False,
        ),
    ] = None,
    no_server: Annotated[
        bool,
        typer.Option(
            "--no-server", help="Run the gateway alone, on the local policy file keylease.toml."
        ),
    ] = False,
    trace_store_url: TraceStoreUrl = None,
    trace_store_password_file: TraceStorePasswordFile = None,
    trace_store_cluster: TraceStoreCluster = None,
    trace_fingerprint_key: TraceFingerprintKey = None,
    without_backup: WithoutBackup = False,
    strongroom_uid: Annotated[
        int,
        typer.Option(
            min=1,
            max=2**31 - 1,
            metavar="UID",
            help="Started as root: the user and group that the gateway becomes.",
        ),
    ] = STRONGROOM_UID,
) -> None:
    """Start the product on this machine and keep it running: the gateway, and the server.

    The first start writes gateway.toml, and shows where it is and what it allows. A gateway.toml
    without [platform] means the gateway alone, on its local policy file. Ctrl-C stops it.
    """
    settings = server_settings(
        data_dir=data_dir,
        config_dir=config_dir,
        trace_store_url=trace_store_url,
        trace_store_password_file=trace_store_password_file,
        trace_store_cluster=trace_store_cluster,
        trace_fingerprint_key=trace_fingerprint_key,
    )
    pid = owner_of(settings.data_dir)
    if pid is not None:
        raise DataDirectoryLocked(
            f"Keylease is already running on {settings.data_dir} (process {pid}).",
            advice="Use it, stop it first, or choose other directories with --data-dir and"
            " --config-dir, and another --port.",
        )
    platform_url = "" if no_server else _server_url(settings, server_port)
    write_missing_files(settings, platform_url=platform_url)
    configuration = load_gateway(settings.gateway_file)
    own_key = organization_key(settings, configuration)
    arguments = _supervisor_command(settings, port=port, uid=strongroom_uid)
    if configuration.platform is not None and not no_server:
        document = _server_document(
            settings,
            configuration,
            port=server_port,
            without_backup=without_backup,
            fingerprint_key=own_key,
        )
        arguments += ["--server", document]
    _become(settings, arguments)


def write_missing_files(settings: Settings, *, platform_url: str = "") -> None:
    """Write the first gateway.toml and keylease.toml, and say so. Existing ones stay."""
    present = process_environment()
    files = write_first_files(
        settings.gateway_file,
        settings.policy_file,
        variables=[name for name in VARIABLES if present.get(name)],
        platform_url=platform_url,
        fingerprint_key=str(settings.config_dir / LOCAL_KEY_FILE),
    )
    if files.gateway_written:
        output.say(f"Wrote {files.gateway_file}: what this gateway may ever do.")
        for line in bindings_in_words(load_gateway(settings.gateway_file)):
            output.say(f"  {line}")
    if files.policy_written:
        output.say(f"Wrote {files.policy_file}: credentials, routes and grants.")


def bindings_in_words(configuration: GatewayConfiguration) -> list[str]:
    """Which secret may go where, and what for; aligned, a line for each binding."""
    width = max((len(binding.reference) for binding in configuration.bindings), default=0)
    return [
        f"{binding.reference.ljust(width)}  may go to "
        f"{', '.join(dict.fromkeys(origin.host for origin in binding.origins))} for "
        f"{', '.join(purpose.value for purpose in binding.purposes)}"
        for binding in configuration.bindings
    ] or ["nothing may go anywhere: there is no [[binding]] in it"]


def _server_url(settings: Settings, port: int | None) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    configured = settings.server_listen.rpartition(":")[2]
    return f"http://localhost:{configured if port is None else port}"


def _server_document(
    settings: Settings,
    gateway: GatewayConfiguration,
    *,
    port: int | None,
    without_backup: bool,
    fingerprint_key: str,
) -> str:
    """The server's configuration, with the first policy and a place for this gateway in it."""
    present = process_environment()
    platform_url = gateway.platform.url if gateway.platform else ""
    policy = first_policy(
        variables=[name for name in VARIABLES if present.get(name)],
        platform_url=platform_url,
        group=gateway.group,
        now=SystemClock().now(),
    )
    masking: dict[str, object] = {}
    if fingerprint_key and not settings.trace_fingerprint_key:
        masking["trace_fingerprint_keys"] = {"": fingerprint_key}
    enrolled = (settings.data_dir / "strongroom" / "platform" / "enrolment").exists()
    return server_document(
        settings,
        port=port,
        first_policy=policy,
        same_machine=True,
        local_group="" if enrolled else gateway.group,
        without_backup=without_backup,
        **masking,
    )


def organization_key(settings: Settings, gateway: GatewayConfiguration) -> str:
    """The file of the one fingerprint key of this installation's organization; made if need be.

    It is the key of this machine, which scans here use anyway, unless gateway.toml names another:
    so what a scan finds, what the gateway fetches and what is masked in spans meets. Nothing for a
    gateway that is alone. Raises ``FingerprintKeyInvalid``.
    """
    if gateway.platform is None:
        return ""
    own = settings.config_dir / LOCAL_KEY_FILE
    named = gateway.platform.fingerprint_key_file
    if named and Path(named).resolve() != own.resolve():
        return named
    before = own.exists()
    keys = local_keys(own)
    if not before:
        output.say(f"Made {own}: fingerprint key {keys.current}, by which secrets are recognised.")
    return str(own)


def _supervisor_command(settings: Settings, *, port: int | None, uid: int) -> list[str]:
    command_line = [sys.executable, "-I", "-m", "keylease.cli.supervisor"]
    command_line += ["--strongroom-python", str(settings.strongroom_python)]
    command_line += ["--gateway-file", str(settings.gateway_file)]
    command_line += ["--policy-file", str(settings.policy_file)]
    command_line += ["--data-dir", str(settings.data_dir), *log_arguments(settings)]
    command_line += ["--uid", str(uid)]
    if port is not None:
        command_line += ["--port", str(port)]
    return command_line


def _become(settings: Settings, supervisor: list[str]) -> None:
    arguments = ["handover", "--gateway-file", str(settings.gateway_file)]
    arguments += ["--policy-file", str(settings.policy_file)]
    for name in kept_names():
        arguments += ["--keep", name]
    line = strongroom_command(
        [*arguments, "--", *supervisor], python=str(settings.strongroom_python)
    )
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(line[0], line, handover_environment())  # noqa: S606 - our own program, no shell
    except OSError as error:
        raise ProcessFailed(
            f"The strongroom's Python {line[0]} cannot be started: {error.strerror}.",
            advice="Set KEYLEASE_STRONGROOM_PYTHON to the Python of the strongroom's environment.",
        ) from error
