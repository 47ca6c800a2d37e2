"""`keylease server`: the platform alone, in the foreground, for service managers.

This process becomes the server (same pid) with an allow-listed environment, so that no provider
key of the shell that started it lies in the platform's memory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from keylease.cli.environment import strongroom_environment
from keylease.cli.options import ConfigDir, DataDir
from keylease.cli.trace_options import (
    TraceFingerprintKey,
    TraceStoreCluster,
    TraceStorePasswordFile,
    TraceStoreUrl,
    server_settings,
    trace_members,
)
from keylease.errors import ConfigurationError, ProcessFailed
from keylease.platform.db.database import database_url, sqlite_url
from keylease.settings import Settings

WithoutBackup = Annotated[
    bool,
    typer.Option(
        "--without-backup",
        help="Upgrade the database without a back-up of it: for once, when you have made one.",
    ),
]


def command(  # noqa: PLR0913 - one for each flag
    *,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Listen on this port instead of the configured one."),
    ] = None,
    otlp_grpc: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Take spans by OTLP over gRPC, too, at this host and port: 127.0.0.1:4317."
            " Needs keylease[grpc].",
        ),
    ] = "",
    trace_store_url: TraceStoreUrl = None,
    trace_store_password_file: TraceStorePasswordFile = None,
    trace_store_cluster: TraceStoreCluster = None,
    trace_fingerprint_key: TraceFingerprintKey = None,
    without_backup: WithoutBackup = False,
    pg_dump: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="PostgreSQL's pg_dump for the back-up before an upgrade, where it is in none of"
            " the usual places.",
        ),
    ] = "",
) -> None:
    """Run the platform alone, in the foreground. SIGTERM lets requests end first."""
    settings = server_settings(
        data_dir=data_dir,
        config_dir=config_dir,
        trace_store_url=trace_store_url,
        trace_store_password_file=trace_store_password_file,
        trace_store_cluster=trace_store_cluster,
        trace_fingerprint_key=trace_fingerprint_key,
    )
    line = server_command(
        settings, port=port, without_backup=without_backup, otlp_grpc=otlp_grpc, pg_dump=pg_dump
    )
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(line[0], line, strongroom_environment())  # noqa: S606 - our own program, no shell
    except OSError as error:
        raise ProcessFailed(f"The server cannot be started: {error.strerror}.") from error


def server_command(settings: Settings, *, port: int | None = None, **more: object) -> list[str]:
    """The command line of the platform's process; ``more`` are members of its configuration."""
    document = server_document(settings, port=port, **more)
    return [sys.executable, "-I", "-m", "keylease.platform", document]


def server_document(settings: Settings, *, port: int | None = None, **more: object) -> str:
    """The configuration of the platform's process; ``more`` are members of it.

    It stands in the list of processes, which everybody on the machine can read. Raises
    ``ConfigurationError`` for an address of a store with a password in it.
    """
    address = database_url(settings.database_url or sqlite_url(Path()))
    if address.password is not None or "password" in address.query:
        raise ConfigurationError(
            "The database's address contains a password, which would be seen in the list of"
            " processes.",
            advice="Put it into a file of PostgreSQL's .pgpass form, mode 0600, that the server's"
            " user can read, and name that: postgresql://user@host/name?passfile=/path/to/file.",
        )
    host, _, configured = settings.server_listen.rpartition(":")
    configuration = {
        "data_directory": str(settings.platform_dir),
        "database_url": settings.database_url,
        "public_url": settings.public_url,
        "host": host.strip("[]"),
        "private_hosts": [
            name for part in settings.private_hosts.split(",") if (name := part.strip().lower())
        ],
        "port": int(configured) if port is None else port,
        "promises_file": settings.promises_file,
        "log_level": settings.log_level.value,
        "log_format": settings.log_format.value,
        **trace_members(settings),
        **more,
    }
    return msgspec.json.encode(configuration).decode()
