"""`keylease policy status`: what is in force at the gateway here, and what the platform has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keylease.cli import output, policy_platform
from keylease.cli.options import ApiKeyFile, ConfigDir, DataDir, Server, settings_from
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson
from keylease.errors import FileInvalid, GatewayNotRunning
from keylease.primitives.clock import isoformat
from keylease.sdk.control import ControlClient
from keylease.strongroom.config_files.gateway_file import load_gateway


def status(
    *,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> None:
    """Say which policy is in force at the gateway here, and what the platform has.

    A file or bundle that the gateway refuses is named with the reason. Of the platform it says what
    is published, what the draft changes, and what waits; a gateway without one is asked alone.
    """
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    named = bool(server) or api_key_file is not None
    alone = not named and takes_policy_from_a_file(settings.gateway_file)
    # A platform that was named may not be the one of the gateway here.
    here = None if named else _asked(settings.data_dir, required=alone)
    if here is not None and not as_json:
        for line in in_force(here):
            output.emit(line)
    standing: dict[str, Any] = {}
    if not alone:
        with connected(server, api_key_file) as api:
            standing = api.ask("GET", "/v1/policy").body
        if not as_json:
            policy_platform.show_standing(standing)
    if as_json:
        output.emit_json({**standing, "gateway": here})


def _asked(data_dir: Path, *, required: bool) -> dict[str, Any] | None:
    """What the gateway here says; nothing of one that does not run, unless it is ``required``."""
    try:
        with ControlClient(data_dir) as control:
            found: dict[str, Any] = control.call("policy.status")
    except GatewayNotRunning:
        if required:
            raise
        return None
    return found


def takes_policy_from_a_file(gateway_file: Path) -> bool:
    """Whether there is a gateway.toml here that names no platform."""
    try:
        return gateway_file.exists() and load_gateway(gateway_file).platform is None
    except FileInvalid:
        return False  # what is wrong with it is said by `keylease policy check`


def in_force(status: dict[str, Any]) -> list[str]:
    """What a gateway says of its policy."""
    lines = [f"No policy of {status['path']} is in force at this gateway."]
    if status["version"]:
        counts = ", ".join(
            output.counted(status[f"{thing}s"], thing) for thing in ("credential", "route", "grant")
        )
        since = f"since {isoformat(status['loaded_at'])}"
        version = f"version {status['version']}, {counts}, {since}"
        lines = [f"{status['path']} is in force at this gateway: {version}."]
    if status["error"]:
        lines.append(f"What is there now is refused since {isoformat(status['error_at'])}:")
        lines += [f"  {line.strip()}" for line in str(status["error"]).splitlines()]
    return lines
