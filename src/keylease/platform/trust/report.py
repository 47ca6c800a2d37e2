"""The shape of the trust report, and how it is made of facts. Pure: it reads nothing.

Five questions are answered for every kind of secret the installation handles: where it is, what
protects it, which process holds it, what isolates that process, how long it lives, and what is
written down about it. Facts that are missing read "not known", never as something good.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

NOT_VERIFIED: Final = "not verified"


class Severity(StrEnum):
    """How much a weakness weighs."""

    PROBLEM = "problem"
    WARNING = "warning"


class HeldSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of secret, as it is kept in this installation."""

    kind: str
    """``provider key``, ``lease signing key`` ..."""
    subject: str = ""
    """Which one: a credential, a gateway; empty when there is one for the installation."""
    location: str
    protector: str
    holder: str
    isolation: str
    lifetime: str
    audit: str


class Weakness(msgspec.Struct, frozen=True, kw_only=True):
    """Something that weakens what is promised."""

    severity: Severity
    what: str
    advice: str = ""


class PromiseResult(msgspec.Struct, frozen=True, kw_only=True):
    """The last result of a promise's tests."""

    id: str
    says: str
    result: str = NOT_VERIFIED
    """``kept``, ``broken`` or ``not verified``."""
    at: str = ""
    commit: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0


class TrustReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    made_at: int
    software: str
    trace_store: str
    """Where spans are kept, in words."""
    secrets: tuple[HeldSecret, ...]
    weaknesses: tuple[Weakness, ...]
    promises: tuple[PromiseResult, ...]


class CredentialTrust(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with credentials, in numbers that name nobody."""

    credentials: int = 0
    unreachable: int = 0
    """No gateway can have them now."""
    overdue: int = 0
    """Older than their maximum age."""
    open_incidents: int = 0
    gateways: int = 0
    gateways_silent: int = 0
    """Not heard of for two minutes."""
    zones_not_isolated: int = 0
    """Gateways, and the platform itself."""
    witnesses: int = 0
    witnesses_dependent: int = 0
    """On the same host as the log: they prove nothing against its owner."""
    witnesses_failed: int = 0


class StatusState(StrEnum):
    """The whole in one word; never better than its worst part."""

    OPERATIONAL = "operational"
    DEGRADED = "degraded"
    AT_RISK = "at_risk"
    """It works, and a secret may not be safe."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the status page says: uptime and credential trust side by side."""

    state: StatusState
    up_since: int
    """Microseconds UTC."""
    database: str
    audit_log: str
    trace_store: str
    """``ok``, ``not in use`` or ``not reachable``: then spans are taken and cannot be read."""
    trust: CredentialTrust
    reasons: tuple[str, ...]
    """Why the state is not better."""


_PROMISES: Final = {
    "P1": "Nothing to steal at rest.",
    "P2": "A compromised platform cannot obtain or redirect a key.",
    "P3": "A stolen lease is worth little.",
    "P4": "Evals cannot touch production credentials.",
    "P5": "The audit log cannot be rewritten unnoticed.",
    "P6": "A rotation ends in proof.",
    "P7": "Use of a key that did not pass the gateway is noticed.",
    "P8": "Acknowledged is durable.",
    "P9": "It fails closed and says so.",
}


class _Results(msgspec.Struct):
    class One(msgspec.Struct):
        result: str
        passed: int = 0
        failed: int = 0
        skipped: int = 0
        commit: str = ""
        at: str = ""
        """Of its own run, where that was another one than the file's last."""

    format: int
    commit: str
    at: str
    promises: dict[str, One]


def promise_results(document: bytes | None) -> tuple[PromiseResult, ...]:
    """Every promise with its last result; without a readable document none is verified."""
    try:
        results = msgspec.json.decode(document, type=_Results) if document else None
    except msgspec.DecodeError:
        results = None
    if results is None or results.format != 1:
        return tuple(PromiseResult(id=name, says=says) for name, says in _PROMISES.items())
    return tuple(
        PromiseResult(
            id=name,
            says=says,
            result="broken" if one.failed else one.result,
            at=one.at or results.at,
            commit=one.commit or results.commit,
            passed=one.passed,
            failed=one.failed,
            skipped=one.skipped,
        )
        if (one := results.promises.get(name))
        else PromiseResult(id=name, says=says)
        for name, says in _PROMISES.items()
    )


def status_of(
    trust: CredentialTrust, *, up_since: int, database: str, audit_log: str, trace_store: str
) -> Status:
    """One word for the whole, and why it is not a better one."""
    at_risk = [
        (trust.open_incidents, "open incidents: {}"),
        (trust.overdue, "credentials overdue for rotation: {}"),
        (trust.zones_not_isolated, "processes not isolated from other zones: {}"),
        (trust.witnesses_failed, "witnesses that refused the audit log: {}"),
    ]
    degraded = [
        (trust.unreachable, "credentials that cannot be had from their stores: {}"),
        (trust.gateways_silent, "gateways that have not been heard of: {}"),
        (trust.witnesses_dependent, "witnesses of the audit log that are not independent: {}"),
        (int(not trust.witnesses), "nobody witnesses the audit log"),
        (int(database != "ok"), f"the database is {database}"),
        (int(audit_log != "ok"), f"the audit log is {audit_log}"),
        (int(trace_store == "not reachable"), f"the trace store is {trace_store}"),
    ]
    risks = tuple(words.format(count) for count, words in at_risk if count)
    faults = tuple(words.format(count) for count, words in degraded if count)
    state = StatusState.OPERATIONAL
    if faults:
        state = StatusState.DEGRADED
    if risks:
        state = StatusState.AT_RISK
    return Status(
        state=state,
        up_since=up_since,
        database=database,
        audit_log=audit_log,
        trace_store=trace_store,
        trust=trust,
        reasons=(*risks, *faults),
    )
