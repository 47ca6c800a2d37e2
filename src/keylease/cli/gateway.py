"""`keylease gateway`: the gateway alone, in the foreground, for service managers.

This process becomes the gateway (same pid): it hands the values that ``env://`` references need
over in a descriptor and is then replaced, so nothing of the environment stays in a memory image.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from keylease.cli.environment import handover_environment, kept_names
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.cli.strongroom_process import log_arguments, strongroom_command
from keylease.errors import ProcessFailed, SettingsInvalid


def command(
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
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    for path in (settings.gateway_file, settings.policy_file):
        if not path.exists():
            raise SettingsInvalid(
                f"There is no {path}.",
                advice="`keylease up` writes first ones.",
            )
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
