"""What the trust report asks of other domains. Joined in ``server/``."""

from __future__ import annotations

from typing import Protocol

import msgspec

from keylease.contracts.self_report import SelfReport
from keylease.platform.db.callers import Caller


class GatewayTrust(msgspec.Struct, frozen=True, kw_only=True):
    """One registered gateway."""

    id: str
    name: str
    last_seen: int | None
    report: SelfReport | None


class CredentialTrustFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One credential of the policy."""

    id: str
    reference: str
    overdue: bool


class WitnessTrust(msgspec.Struct, frozen=True, kw_only=True):
    """One witness of the audit log."""

    name: str
    independent: bool
    failed: bool


class TraceTrust(msgspec.Struct, frozen=True, kw_only=True):
    """The trace store, and what an operator gave for it."""

    store: str
    """Which one it is, in words."""
    state: str
    """``ok``, ``not in use`` or ``not reachable``."""
    unprotected: bool = False
    """It is reached over a network without TLS."""
    password_file: str = ""
    fingerprint_key: str = ""
    """Identifier and version of the key that the organization shares; empty when it shares none."""


class Traces(Protocol):
    """The trace store."""

    def trace_trust(self, organization_id: str = "") -> TraceTrust:
        """How it is, and with what the spans of an organization are masked."""
        ...


class Gateways(Protocol):
    """The registered gateways."""

    async def gateway_trust(self, caller: Caller) -> tuple[GatewayTrust, ...]:
        """Those of the caller's organization that are not revoked."""
        ...


class Credentials(Protocol):
    """The policy's credentials."""

    async def credential_trust(self, caller: Caller) -> tuple[CredentialTrustFacts, ...]:
        """Those of the caller's organization."""
        ...


class Witnesses(Protocol):
    """Who witnesses the audit log."""

    async def witness_trust(self, caller: Caller) -> tuple[WitnessTrust, ...]:
        """Those of the caller's organization."""
        ...

    async def log_state(self, organization_id: str) -> str:
        """``ok``, or what is wrong with the log in a few words."""
        ...


class Organizations(Protocol):
    """Which organizations there are."""

    async def organization_ids(self) -> tuple[str, ...]:
        """All of them."""
        ...
