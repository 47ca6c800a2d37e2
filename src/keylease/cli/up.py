"""`keylease up`: set up what is missing, throw the environment away, supervise.

The process that a person starts holds their whole environment, provider keys included. It becomes
a strongroom process (same pid) that puts the values of ``env://`` references into a memory file,
and that becomes the supervisor, with an allow-listed environment. Nothing of the first process is
left: not its memory, not the block that /proc/<pid>/environ shows.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.environment import handover_environment, kept_names
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.cli.server import WithoutBackup, server_document
from keylease.cli.strongroom_process import log_arguments, strongroom_command
from keylease.errors import DataDirectoryLocked, ProcessFailed
from keylease.primitives.clock import SystemClock
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


def command(
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

    The first start writes gateway.toml and says where. A gateway.toml without [platform] means the
    gateway alone, on its local policy file. Ctrl-C stops it.
    """
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
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
    arguments = _supervisor_command(settings, port=port, uid=strongroom_uid)
    if configuration.platform is not None and not no_server:
        document = _server_document(
            settings, configuration, port=server_port, without_backup=without_backup
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
    )
    if files.gateway_written:
        output.say(f"Wrote {files.gateway_file}: what this gateway may ever do.")
    if files.policy_written:
        output.say(f"Wrote {files.policy_file}: credentials, routes and grants.")


def _server_url(settings: Settings, port: int | None) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    configured = settings.server_listen.rpartition(":")[2]
    return f"http://localhost:{configured if port is None else port}"


def _server_document(
    settings: Settings, gateway: GatewayConfiguration, *, port: int | None, without_backup: bool
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
    enrolled = (settings.data_dir / "strongroom" / "platform" / "enrolment").exists()
    return server_document(
        settings,
        port=port,
        first_policy=policy,
        same_machine=True,
        local_group="" if enrolled else gateway.group,
        without_backup=without_backup,
    )


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
