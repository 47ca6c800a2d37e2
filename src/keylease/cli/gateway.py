"""`keylease gateway`: the gateway alone, in the foreground, for service managers; its enrolment.

This process becomes the gateway (same pid): it hands the values that ``env://`` references need
over in a descriptor and is then replaced, so nothing of the environment stays in a memory image.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from keylease.cli.environment import handover_environment, kept_names
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.cli.strongroom_process import (
    log_arguments,
    run_strongroom,
    strongroom_command,
)
from keylease.contracts.enrolment_codes import EnrolmentCode
from keylease.errors import ProcessFailed, SettingsInvalid
from keylease.strongroom.config_files.gateway_file import load_gateway

app = typer.Typer(add_completion=False, invoke_without_command=True)


@app.callback()
def run(
    context: typer.Context,
    *,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Listen on this port instead of the one in gateway.toml."
        ),
    ] = None,
) -> None:
    """Run the gateway alone, in the foreground. SIGTERM drains it, SIGHUP reloads the policy."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    _require(settings.gateway_file)
    if load_gateway(settings.gateway_file).platform is None:
        _require(settings.policy_file)
    python = str(settings.strongroom_python)
    gateway = ["gateway", "--gateway-file", str(settings.gateway_file)]
    gateway += ["--data-dir", str(settings.data_dir), *log_arguments(settings)]
    if port is not None:
        gateway += ["--port", str(port)]
    arguments = ["handover", "--gateway-file", str(settings.gateway_file)]
    arguments += ["--policy-file", str(settings.policy_file)]
    for name in kept_names():
        arguments += ["--keep", name]
    line = strongroom_command(
        [*arguments, "--", *strongroom_command(gateway, python=python)], python=python
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


@app.command()
def enroll(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE",
            help="The one-time code that the platform showed; read from standard input without it.",
            show_default=False,
        ),
    ] = "",
    *,
    name: Annotated[
        str, typer.Option(help="What people call this gateway.", show_default="the machine's name")
    ] = "",
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Register this gateway with the platform that gateway.toml names. It may be running."""
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    _require(settings.gateway_file)
    parsed = EnrolmentCode.parse(code or sys.stdin.read(1024))
    arguments = ["enroll", f"--gateway-file={settings.gateway_file}"]
    arguments += [f"--data-dir={settings.data_dir}", *([f"--name={name}"] if name else [])]
    sys.stdout.flush()
    with tempfile.TemporaryFile() as handed:
        # Not as an argument: the code would stand in the process list once more.
        handed.write(parsed.text.encode())
        handed.seek(0)
        return run_strongroom(
            arguments, python=str(settings.strongroom_python), stdin=handed.fileno()
        )


def _require(path: Path) -> None:
    if not path.exists():
        raise SettingsInvalid(f"There is no {path}.", advice="`keylease up` writes first ones.")
