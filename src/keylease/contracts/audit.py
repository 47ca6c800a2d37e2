"""Audit entries of a gateway, kept in its own gap-numbered spool until a platform sequences them.

Append-only. Every entry says who did what to what, in the past tense, and holds no secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

AUDIT_FORMAT: Final = 1


class AuditAction(StrEnum):
    """``resource.past_tense``."""

    LEASE_ISSUED = "lease.issued"
    LEASE_REFUSED = "lease.refused"
    LEASE_REFUSALS_COUNTED = "lease.refusals_counted"
    """Refusals of the token endpoint beyond the rate at which each gets an entry of its own."""
    LEASE_REVOKED = "lease.revoked"
    REVOCATION_LIFTED = "revocation.lifted"
    CREDENTIAL_FETCHED = "credential.fetched"
    CREDENTIAL_FETCH_FAILED = "credential.fetch_failed"
    CREDENTIAL_ECHOED = "credential.echoed"
    """A provider's answer contained the credential; the answer was cut off."""
    POLICY_LOADED = "policy.loaded"
    POLICY_REFUSED = "policy.refused"
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    GATEWAY_STARTED = "gateway.started"
    GATEWAY_STOPPED = "gateway.stopped"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log."""

    format: int = AUDIT_FORMAT
    id: str
    sequence: int
    """Counts up by one; a missing number is an alarm."""
    at: int
    organization_id: str
    action: AuditAction
    principal: str = ""
    """Who; empty when it was the gateway itself."""
    object: str = ""
    """What it was done to: a lease id, a credential id, a policy version."""
    reason: str = ""
    """A stable code: why it was refused or failed."""
    details: dict[str, str] = msgspec.field(default_factory=dict)
