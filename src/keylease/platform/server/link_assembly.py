"""Joins gateways, records, policy and the audit log into the link."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from keylease.contracts.purposes import Purpose
from keylease.platform.audit.interfaces import Audit
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.gateways.interfaces import BundleSource, CredentialFingerprints
from keylease.platform.gateways.link_service import LinkService
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.gateways.service import GatewayService
from keylease.platform.policy.interfaces import RecentCall, SeenVersion
from keylease.platform.records.service import RecordService
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Link:
    """What routes use of it."""

    gateways: GatewayService
    service: LinkService
    records: RecordService
    hub: PollHub


@contextlib.asynccontextmanager
async def opened_link(  # noqa: PLR0913 - the domains it joins, by keyword
    database: Database,
    *,
    bundles: BundleSource,
    audit: Audit,
    records: RecordService,
    fingerprints: CredentialFingerprints,
    hub: PollHub,
    clock: Clock,
    same_machine: bool = False,
) -> AsyncIterator[Link]:
    """The link, whose background work runs until the block ends.

    ``records`` and ``hub`` are made first, because policy needs them: ``PolicyRecords(records)`` as
    its call records, ``repository.Groups()`` as its gateway groups, ``hub.wake`` as its ``Wake``.
    ``same_machine``: gateways run where the platform does, so they are no independent witnesses.
    """
    gateways = GatewayService(database, bundles, hub)
    service = LinkService(
        database,
        gateways=gateways,
        bundles=bundles,
        audit=audit.intake,
        records=records,
        log=audit.witnessing,
        fingerprints=fingerprints,
        hub=hub,
        clock=clock,
        same_machine=same_machine,
    )
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(hub.watch(bundles, on_error=_defect), name="bundle watch")
        forgetting = group.create_task(
            records.keep_forgetting(on_error=_defect), name="forget calls"
        )
        try:
            yield Link(gateways=gateways, service=service, records=records, hub=hub)
        finally:
            hub.close()
            watching.cancel()
            forgetting.cancel()


class PolicyRecords:
    """Call records, in the shapes that policy asks for (``policy.interfaces.CallRecords``)."""

    def __init__(self, records: RecordService) -> None:
        self._records = records

    async def versions_seen(
        self, tx: Transaction, organization_id: str, credential_ids: Sequence[str] | None
    ) -> Mapping[str, Sequence[SeenVersion]]:
        """Versions by credential, the oldest first."""
        found = await self._records.versions_seen(tx, organization_id, credential_ids)
        return {
            credential_id: [
                SeenVersion(
                    fingerprint=version.fingerprint,
                    first_seen=version.first_seen,
                    last_seen=version.last_seen,
                    calls=version.calls,
                )
                for version in versions
            ]
            for credential_id, versions in found.items()
        }

    async def recent_calls(
        self, tx: Transaction, organization_id: str, *, since: int, limit: int
    ) -> Sequence[RecentCall]:
        """Calls from ``since`` on, the newest first."""
        found = await self._records.recent_calls(tx, organization_id, since=since, limit=limit)
        return [
            RecentCall(
                principal=call.principal,
                model=call.model,
                purpose=Purpose(call.purpose),
                environment=call.environment,
                credential_id=call.credential_id,
                at=call.at,
                request_id=call.request_id,
            )
            for call in found
            if call.purpose in set(Purpose)
        ]


def _defect(error: BaseException) -> None:
    structlog.stdlib.get_logger().error("defect", error=type(error).__name__, at="link")
