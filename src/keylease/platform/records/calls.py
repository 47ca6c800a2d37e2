"""What this domain gives out: calls, totals, versions of credentials."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from keylease.contracts.call_records import CallRecord


class TotalsBy(StrEnum):
    """What totals are broken down by."""

    PRINCIPAL = "principal"
    CREDENTIAL = "credential"
    MODEL = "model"
    DAY = "day"


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls; empty members do not narrow. Times in microseconds UTC."""

    since: int = 0
    until: int = 0
    """Exclusive; 0 for now."""
    principal: str = ""
    credential_id: str = ""
    model: str = ""
    failed: bool | None = None


class StoredCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call record and the gateway that sent it."""

    gateway_id: str
    record: CallRecord


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the calls of one principal, credential, model or day."""

    key: str
    """The principal, credential id or model; for days the date (UTC)."""
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost: int
    """Micro-USD."""
    cost_unknown: int
    """Calls that are not in ``cost`` because nobody knows what they cost."""


class SeenVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a credential's secret, as gateways have used it."""

    fingerprint: str
    first_seen: int
    """Microseconds UTC: the first fetch or use, whichever came first."""
    last_seen: int
    calls: int = 0


class RecentCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was made, as far as a policy decides by it."""

    principal: str
    model: str
    purpose: str
    environment: str
    credential_id: str
    at: int
    request_id: str = ""


class CredentialUse(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of a credential, as far as its calls are kept."""

    credential_id: str
    principal: str
    purpose: str
    environment: str
    first_used: int
    last_used: int
    calls: int


class SpoolState(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """How far a gateway's spool was taken."""

    spool_id: str
    segment: int
    offset: int
