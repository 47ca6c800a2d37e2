"""`keylease trust`: who stores what secret, where, isolated how, for how long, audited how."""

from __future__ import annotations

from typing import Any, Final

from keylease.cli import output
from keylease.cli.inventory_words import minute
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import connected
from keylease.cli.policy_things import AsJson

_QUESTIONS: Final = (
    ("where", "location"),
    ("protected by", "protector"),
    ("held by", "holder"),
    ("isolated", "isolation"),
    ("lives", "lifetime"),
    ("audit", "audit"),
)
_WIDTH: Final = max(len(word) for word, _ in _QUESTIONS) + 2
_COMMIT: Final = 12


def command(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """Say of every kind of secret where it is, what protects it, and what weakens that."""
    with connected(server, api_key_file) as api:
        report = api.ask("GET", "/v1/trust").body
    if as_json:
        output.emit_json(report)
        return
    output.emit(f"{report['software']}, {minute(report['made_at'])} UTC")
    output.emit(output.printable(f"Spans are kept in: {report['trace_store']}"))
    for secret in report["secrets"]:
        _say_secret(secret)
    output.emit()
    output.emit("Weaknesses:" if report["weaknesses"] else "No weakness is known.")
    for weakness in report["weaknesses"]:
        output.emit(output.printable(f"  {weakness['severity']}: {weakness['what']}"))
        if weakness["advice"]:
            output.emit(output.printable(f"    {weakness['advice']}"))
    output.emit()
    output.emit("Promises, with the last result of their tests:")
    output.emit_table(("PROMISE", "RESULT", "AT", "COMMIT", "SAYS"), promise_rows(report))


def promise_rows(report: dict[str, Any]) -> list[tuple[object, ...]]:
    """Each promise with its last result, and of which commit and day that is."""
    return [
        (
            promise["id"],
            promise["result"],
            promise["at"] or None,
            _short(promise["commit"]) or None,
            promise["says"],
        )
        for promise in report["promises"]
    ]


def _short(commit: str) -> str:
    """Enough of it to find it, and that something was changed besides."""
    number, dash, changed = commit.partition("-")
    return f"{number[:_COMMIT]}{dash}{changed}"


def _say_secret(secret: dict[str, Any]) -> None:
    subject = f" ({secret['subject']})" if secret["subject"] else ""
    output.emit()
    output.emit(output.printable(f"{secret['kind']}{subject}"))
    for word, member in _QUESTIONS:
        output.emit(output.printable(f"  {word.ljust(_WIDTH)}{secret[member]}"))
