"""Joins gateways, audit log, directory and records for the trust report and the inventory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from keylease.errors import AuditLogUnavailable
from keylease.platform.audit.interfaces import Audit
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.gateways import repository as gateways
from keylease.platform.identity.directory import repository as directory
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.records.service import RecordService
from keylease.platform.server.traces_assembly import Traces
from keylease.platform.trust.interfaces import GatewayTrust, TraceTrust, WitnessTrust
from keylease.primitives.clock import MICROSECONDS, Clock

WITNESS_LATE: Final = 600 * MICROSECONDS
"""A witness that has not seen what was added for so long counts as failed."""


class RecordedUses:
    """Call records, as the inventory asks for them."""

    def __init__(self, records: RecordService) -> None:
        self._records = records

    async def uses_of(
        self, caller: Caller, credential_ids: Collection[str]
    ) -> tuple[CredentialUse, ...]:
        """Who used these credentials."""
        found = await self._records.uses(caller, sorted(credential_ids))
        return tuple(msgspec.convert(use, CredentialUse, from_attributes=True) for use in found)


class GatewayFacts:
    """Registered gateways, as the trust report asks for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def gateway_trust(self, caller: Caller) -> tuple[GatewayTrust, ...]:
        """Those that are not revoked, with what they said of themselves."""
        async with self._database.reading(caller) as tx:
            found = await gateways.enrolled(tx, caller.organization_id)
        return tuple(
            GatewayTrust(
                id=gateway.id,
                name=gateway.name,
                last_seen=gateway.last_seen,
                report=gateway.report.about if gateway.report else None,
            )
            for gateway in found
        )


class LogFacts:
    """The audit log and its witnesses, as the trust report asks for them."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    async def witness_trust(self, caller: Caller) -> tuple[WitnessTrust, ...]:
        """Who witnesses the log of the caller's organization."""
        return tuple(
            WitnessTrust(
                name=one.gateway_id,
                independent=one.independent,
                failed=bool(one.behind) and self._clock.now() - one.at > WITNESS_LATE,
            )
            for one in await self._audit.witnessing.state(caller.organization_id)
        )

    async def log_state(self, organization_id: str) -> str:
        """``ok``, or that it cannot be written."""
        try:
            self._audit.sequencer.check(organization_id)
        except AuditLogUnavailable:
            return "not writable"
        return "ok"


class TraceFacts:
    """The trace store, as the trust report asks for it."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def trace_trust(self, organization_id: str = "") -> TraceTrust:
        """How it is, and with what the spans of an organization are masked."""
        needed, server = self._traces.keeping, self._traces.server
        trouble = needed.trouble if needed.now is None else needed.now.trouble
        working = "not in use" if needed.now is None else "ok"
        return TraceTrust(
            store=self._traces.place,
            state="not reachable" if trouble else working,
            unprotected=server is not None and server.address.unprotected,
            password_file=server.password_file if server is not None else "",
            fingerprint_key=self._traces.fingerprint_keys.shared_with(organization_id),
        )


class OrganizationIds:
    """Which organizations there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def organization_ids(self) -> tuple[str, ...]:
        """All of them."""
        async with self._database.reading() as tx:
            return tuple(await directory.organization_ids(tx))
