"""Joins the domains: makes every service, in the order in which they need each other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from keylease.platform.access.permissions import Permission
from keylease.platform.access.rules import access_rules
from keylease.platform.audit.interfaces import opened as opened_audit
from keylease.platform.db.database import Database
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.identity.api_keys.interfaces import DEFAULT_DAYS
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.identity.directory.service import DirectoryService
from keylease.platform.identity.joined import identity
from keylease.platform.inventory.preview import IncidentPreviews
from keylease.platform.inventory.reported import ReportedFingerprints
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.webhook_keys import WebhookKeys
from keylease.platform.inventory.webhook_sender import WebhookSender
from keylease.platform.inventory.webhooks import WebhookService
from keylease.platform.records.service import RecordService
from keylease.platform.server.ingest_access import span_door
from keylease.platform.server.link_assembly import opened_link
from keylease.platform.server.policy_assembly import (
    CredentialReports,
    GroupsInGrants,
    joined_policy,
)
from keylease.platform.server.services import Services
from keylease.platform.server.sightings import AuditSightings
from keylease.platform.server.trace_findings import FindingsIn, TraceFindings
from keylease.platform.server.traces_assembly import GatewayCalls, opened_traces
from keylease.platform.server.trust_assembly import (
    GatewayFacts,
    LogFacts,
    OrganizationIds,
    RecordedUses,
    TraceFacts,
)
from keylease.platform.traces.store.address import StoreServer
from keylease.platform.trust.service import TrustService
from keylease.primitives.clock import Clock


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the services are told of the installation."""

    data_directory: Path
    """The platform's own, mode 0700: keys that sign, the audit log's tiles."""
    public_url: str
    """Scheme, host and port by which people and gateways reach the server; no slash at the end."""
    same_machine: bool = False
    """Gateways run where the platform does, so they are no independent witnesses."""
    private_hosts: frozenset[str] = frozenset()
    """Hosts that may have private addresses: outside issuers, receivers of webhooks."""
    posture: str = ""
    """What this process has given up, in words; empty is not known."""
    promises_file: Path | None = None
    """Last results of the promise tests."""
    trace_store: StoreServer | None = None
    """A ClickHouse server; ``None`` is the embedded engine."""


@contextlib.asynccontextmanager
async def assembled(
    database: Database, *, clock: Clock, surroundings: Surroundings
) -> AsyncIterator[Services]:
    """Services whose background work runs until the block ends."""
    async with contextlib.AsyncExitStack() as background:  # enter a domain's own work here
        audit = await background.enter_async_context(
            opened_audit(database, directory=surroundings.data_directory / "audit", clock=clock)
        )
        facts = DirectoryFacts()
        rules = access_rules(database, facts, clock)
        await background.enter_async_context(rules.denials.running())
        directory = DirectoryService(
            database,
            facts=facts,
            authority=rules.authority,
            sightings=AuditSightings(audit.log),
        )
        directory.register(rules.authority)
        people = await background.enter_async_context(
            identity(
                database,
                clock=clock,
                directory=directory,
                access=rules.decisions,
                data_directory=surroundings.data_directory,
                public_url=surroundings.public_url,
                all_permissions=frozenset(permission.value for permission in Permission),
                private_hosts=surroundings.private_hosts,
            )
        )
        directory.register(people.holdings)
        directory.register_sign_ins(people.holdings)
        findings = TraceFindings()
        traces = await background.enter_async_context(
            opened_traces(
                database,
                projects=directory.projects,
                clock=clock,
                directory=surroundings.data_directory / "traces",
                server=surroundings.trace_store,
                on_finding=findings.add,
            )
        )
        records = RecordService(database, GatewayCalls(traces.keeping, traces.projects))
        hub = PollHub()
        policy = joined_policy(
            database,
            clock=clock,
            data_directory=surroundings.data_directory,
            directory=facts,
            records=records,
            hub=hub,
            api_keys=people.api_keys,
        )
        await background.enter_async_context(policy.expiry.running())
        directory.register(policy.holdings)
        directory.groups.watch(GroupsInGrants(policy, organizations=facts, access=rules.decisions))
        webhook_keys = WebhookKeys(surroundings.data_directory / "webhooks")
        sender = WebhookSender(
            database, clock=clock, keys=webhook_keys, private_hosts=surroundings.private_hosts
        )
        await background.enter_async_context(sender.running())
        link = await background.enter_async_context(
            opened_link(
                database,
                bundles=policy.bundles,
                audit=audit,
                records=records,
                fingerprints=ReportedFingerprints(database, when_changed=sender.wake),
                hub=hub,
                clock=clock,
                same_machine=surroundings.same_machine,
            )
        )
        uses = RecordedUses(records)
        reports = CredentialReports(policy.credentials)
        inventory = InventoryService(
            database, credentials=reports, uses=uses, when_changed=sender.wake
        )
        await background.enter_async_context(findings.written_into(FindingsIn(inventory)))
        yield Services(
            clock=clock,
            traces=traces,
            spans=span_door(
                people.authenticator,
                rules.decisions,
                projects=traces.projects,
                keeping=traces.keeping,
                database=database,
                clock=clock,
            ),
            database=database,
            inventory=inventory,
            inventory_webhooks=WebhookService(
                database, keys=webhook_keys, private_hosts=surroundings.private_hosts
            ),
            incident_previews=IncidentPreviews(database, inventory, credentials=reports, uses=uses),
            authenticator=people.authenticator,
            access=rules.decisions,
            rules=rules,
            directory=directory,
            public_url=surroundings.public_url,
            audit=audit,
            policy=policy,
            link=link,
            identity=people,
            trust=TrustService(
                database,
                clock=clock,
                gateways=GatewayFacts(database),
                credentials=reports,
                witnesses=LogFacts(audit, clock),
                organizations=OrganizationIds(database),
                traces=TraceFacts(traces),
                directory=surroundings.data_directory,
                posture=surroundings.posture,
                promises_file=surroundings.promises_file,
                api_key_days=DEFAULT_DAYS,
            ),
        )
