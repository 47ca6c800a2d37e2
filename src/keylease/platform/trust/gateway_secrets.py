"""The secrets that gateways handle, from what each gateway says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from keylease.contracts.self_report import SelfReport
from keylease.platform.trust.report import HeldSecret, Severity, Weakness

_FETCH_AUDIT = "every fetch is an audit entry, written before the secret is used"
_UNKNOWN = "not known: the gateway has not said"


def gateway_secrets(
    gateway: str,
    report: SelfReport | None,
    references: dict[str, str],
) -> Iterator[HeldSecret]:
    """What one gateway handles; ``references`` maps credential ids to their references."""
    if report is None:
        yield HeldSecret(
            kind="provider keys",
            subject=gateway,
            location=_UNKNOWN,
            protector=_UNKNOWN,
            holder="gateway",
            isolation=_UNKNOWN,
            lifetime=_UNKNOWN,
            audit=_FETCH_AUDIT,
        )
        return
    isolation = isolation_in_words(report)
    protectors = {store.scheme: store.protector for store in report.stores}
    for credential in report.credentials:
        yield HeldSecret(
            kind="provider key",
            subject=f"credential {credential.credential_id} at {gateway}",
            location=references.get(credential.credential_id, f"{credential.scheme}://..."),
            protector=protectors.get(credential.scheme, _UNKNOWN),
            holder="gateway: coordinator and workers, in memory only",
            isolation=isolation,
            lifetime=_lifetime(report),
            audit=_FETCH_AUDIT,
        )
    yield HeldSecret(
        kind="lease signing key",
        subject=gateway,
        location=f"{report.signing_key_scheme}://..." if report.signing_key_scheme else _UNKNOWN,
        protector=protectors.get(report.signing_key_scheme, _UNKNOWN),
        holder="gateway: coordinator, in memory only",
        isolation=isolation,
        lifetime=f"leases live at most {report.maximum_lease_seconds // 60} minutes",
        audit="every lease that is issued or refused is an audit entry",
    )
    for own in report.secrets:
        yield HeldSecret(
            kind=own.kind,
            subject=f"{own.subject} at {gateway}" if own.subject else gateway,
            location=own.location,
            protector=own.protector,
            holder=own.holder,
            isolation=isolation,
            lifetime=own.lifetime,
            audit=own.audit,
        )
    if not report.secrets:  # it is older than the question
        yield HeldSecret(
            kind="gateway's own keys",
            subject=gateway,
            location=_UNKNOWN,
            protector=_UNKNOWN,
            holder="gateway: coordinator",
            isolation=isolation,
            lifetime=_UNKNOWN,
            audit="enrolment and revocation are audit entries",
        )


def gateway_weaknesses(gateway: str, report: SelfReport | None) -> Iterator[Weakness]:
    """What weakens one gateway."""
    if report is None:
        yield Weakness(
            severity=Severity.WARNING,
            what=f"{gateway} has not said how it protects keys.",
            advice="Update the gateway, and see that it reaches the platform.",
        )
        return
    if not report.isolated:
        yield Weakness(
            severity=Severity.PROBLEM,
            what=f"zones not isolated: {gateway} runs as a user that others share.",
            advice="Start it as root, so that it becomes a user of its own, or on a kernel with "
            "Landlock.",
        )
    for measure in report.measures:
        if not measure.on:
            yield Weakness(
                severity=Severity.WARNING,
                what=f"{gateway}: {measure.name} is off: {measure.reason}.",
            )
    for warning in report.warnings:
        yield Weakness(severity=Severity.WARNING, what=f"{gateway}: {warning}.")
    for credential in report.credentials:
        if not credential.available:
            yield Weakness(
                severity=Severity.WARNING,
                what=f"{gateway} cannot have credential {credential.credential_id}: "
                f"{credential.code}.",
            )
    if report.grace_seconds:
        yield Weakness(
            severity=Severity.WARNING,
            what=f"{gateway} uses a secret for {report.grace_seconds} s after its store has gone.",
        )


def isolation_in_words(report: SelfReport) -> str:
    """What keeps other zones away."""
    on = [measure.name for measure in report.measures if measure.on]
    return ", ".join(on) if report.isolated else "zones not isolated"


def _lifetime(report: SelfReport) -> str:
    age = report.maximum_secret_age_seconds
    grace = f", {report.grace_seconds} s longer while its store is down"
    return f"fetched again after {age} s{grace if report.grace_seconds else ''}; never written"
