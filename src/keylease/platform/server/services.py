"""Where the domains are joined: built once at start-up, found by routes at ``app.state``."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from keylease.platform.access.rules import AccessRules
from keylease.platform.audit.interfaces import Audit
from keylease.platform.db.database import Database
from keylease.platform.identity.directory.service import DirectoryService
from keylease.platform.identity.joined import Identity
from keylease.platform.inventory.preview import IncidentPreviews
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.webhooks import WebhookService
from keylease.platform.policy.domain import Policy
from keylease.platform.server.guard import Access, Authenticator
from keylease.platform.server.ingest_access import SpanDoor
from keylease.platform.server.link_assembly import Link
from keylease.platform.server.traces_assembly import Traces
from keylease.platform.trust.service import TrustService
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything routes may use. A domain adds its service as a field."""

    clock: Clock
    database: Database
    authenticator: Authenticator
    access: Access
    rules: AccessRules
    directory: DirectoryService
    public_url: str
    """How people reach the server; no slash at the end."""
    inventory: InventoryService
    inventory_webhooks: WebhookService
    incident_previews: IncidentPreviews
    traces: Traces
    spans: SpanDoor
    trust: TrustService
    audit: Audit
    link: Link
    policy: Policy
    identity: Identity

    def stop_waiting(self) -> None:
        """Let requests that only wait for something answer at once: the server is stopping."""
        self.link.hub.close()
        self.audit.log.stop_following()
        self.traces.tail.close()

    @property
    def secure(self) -> bool:
        """Whether people reach the server by TLS, so that cookies are for TLS only."""
        return self.identity.secure


def services_of(request: Request) -> Services:
    """The services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


def identity_of(request: Request) -> Identity:
    """Sign-in, sessions and API keys."""
    return services_of(request).identity


def policy_of(request: Request) -> Policy:
    """Credentials, routes, grants, and what is published of them."""
    return services_of(request).policy


def link_of(request: Request) -> Link:
    """The link between platform and gateways."""
    return services_of(request).link
