"""`keylease status`: whether the platform is up, and whether secrets are safe."""

from __future__ import annotations

from typing import Final

from keylease.cli import output
from keylease.cli.inventory_words import minute
from keylease.cli.options import Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson

_STATUSES: Final = {"operational": 0, "degraded": 4, "at_risk": 3}


def command(*, as_json: AsJson = False, server: Server = "") -> int:
    """Say how it stands with the platform and with credential trust. Needs no sign-in.

    Exit status: 0 operational; 4 degraded; 3 at risk, a secret may not be safe.
    """
    with connected(server, None) as api:
        status = api.ask("GET", "/status").body
    if as_json:
        output.emit_json(status)
    else:
        output.emit(
            f"{status['state'].replace('_', ' ')}, up since {minute(status['up_since'])} UTC"
        )
        for reason in status["reasons"]:
            output.emit(output.printable(f"  - {reason}"))
        rows: list[tuple[str, object]] = [
            ("database", status["database"]),
            ("audit log", status["audit_log"]),
            ("trace store", status["trace_store"]),
            *((name.replace("_", " "), count) for name, count in status["trust"].items()),
        ]
        output.emit_table(("WHAT", "NOW"), rows)
    return _STATUSES.get(status["state"], 1)
