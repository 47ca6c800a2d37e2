"""`keylease whoami`: as whom commands act."""

from __future__ import annotations

from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.platform_connection import ApiKeyFile, Server, connected
from keylease.primitives.clock import MICROSECONDS, isoformat


def command(
    *,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say as whom commands act at the platform."""
    with connected(server, api_key_file) as platform:
        caller = platform.ask("GET", "/v1/caller").body
    if as_json:
        output.emit_json(caller)
        return
    rows = [("principal", caller["principal"])]
    rows += [(name, caller[name]) for name in ("name", "email") if caller[name]]
    rows.append(("organization", caller["organization_id"]))
    if caller["api_key_id"]:
        rows.append(("API key", caller["api_key_id"]))
        rows.append(("permissions", " ".join(caller["permissions"])))
    if caller["project_id"]:
        rows.append(("project", caller["project_id"]))
    rows.append(("until", _time(caller["expires_at"])))
    output.emit_table(("WHAT", "VALUE"), rows)


def _time(microseconds: int) -> str:
    return isoformat(microseconds - microseconds % MICROSECONDS).replace(".000000", "")
