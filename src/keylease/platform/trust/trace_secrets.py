"""What the platform is given for its traces: a password, and fingerprint keys. Both in memory."""

from __future__ import annotations

from keylease.platform.trust.interfaces import TraceTrust
from keylease.platform.trust.report import HeldSecret, Severity, Weakness

_PROCESS = "the platform's process, in memory only; read before it gave up its rights"
_OPERATORS_FILE = "the file system's permissions: a file that others can read is refused"


def trace_secrets(traces: TraceTrust, *, isolation: str) -> tuple[HeldSecret, ...]:
    """Those that an operator gives; keys that the platform makes are among its own."""
    held: list[HeldSecret] = []
    if traces.password_file:
        held.append(
            HeldSecret(
                kind="password of the trace store",
                subject=traces.store,
                location=f"{traces.password_file}, outside the platform's directory",
                protector=_OPERATORS_FILE,
                holder=_PROCESS,
                isolation=isolation,
                lifetime="until it is changed at the ClickHouse server; read again at each start",
                audit="the ClickHouse server's own log of queries; nothing is written down here",
            )
        )
    if traces.fingerprint_key:
        held.append(
            HeldSecret(
                kind="organization's fingerprint key",
                subject=traces.fingerprint_key,
                location="a file of the operator's outside the platform's directory, the same that "
                "scanners and gateways have",
                protector=f"{_OPERATORS_FILE}; who holds it can test a guess, and open nothing",
                holder=_PROCESS,
                isolation=isolation,
                lifetime="until it is rotated; read again at each start",
                audit="its use is not written down one by one; what was masked is a finding of the "
                "inventory, with the key's identifier and version",
            )
        )
    return tuple(held)


def trace_weaknesses(traces: TraceTrust) -> tuple[Weakness, ...]:
    """What weakens the way to the trace store."""
    if not traces.unprotected:
        return ()
    return (
        Weakness(
            severity=Severity.WARNING,
            what="Spans, and the password of the trace store, cross the network without TLS.",
            advice="Let the ClickHouse server speak TLS, and take secure=false out of"
            " trace_store_url.",
        ),
    )
