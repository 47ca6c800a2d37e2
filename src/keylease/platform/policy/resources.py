"""What policy is made of. Each thing has a history; what is stored of it is append-only.

Fields are added with defaults; none is renamed, removed or given another meaning: old revisions are
read for as long as the product is used.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from keylease.contracts.leases import DEFAULT_LIFETIME
from keylease.contracts.policy import (
    BudgetPeriod,
    ContentRecording,
    Limits,
    ObjectAccess,
    Strategy,
)
from keylease.contracts.purposes import Purpose

FIRST_POSITION: Final = 100


GROUP: Final = "group"
"""Names a group of the platform among the principals of a grant: ``group:ID``."""


def is_group(principal: str) -> bool:
    """Whether a grant's principal is a group of the platform."""
    return principal.startswith(f"{GROUP}:")


class ResourceKind(StrEnum):
    """What there is. Stored: values are never renamed."""

    CREDENTIAL = "credential"
    ROUTE = "route"
    GRANT = "policy_grant"
    BUDGET = "budget"
    TRUST_RULE = "trust_rule"
    SETTINGS = "policy_settings"


class CredentialState(StrEnum):
    """Whether a credential is in use."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Kept, and part of no bundle, until somebody makes it active again."""
    RETIRED = "retired"
    """Replaced; kept for its history."""


class AgeAction(StrEnum):
    """What happens when a version of a secret is older than its credential allows."""

    WARN = "warn"
    REFUSE = "refuse"
    """Gateways refuse the version, also while the platform is out of reach."""


class CredentialContent(msgspec.Struct, frozen=True, kw_only=True):
    """Our record of a provider secret: never the bytes."""

    name: str
    provider: str
    reference: str
    purposes: tuple[Purpose, ...]
    environment: str = "default"
    upstream: str = ""
    owner: str = ""
    """A principal, ``kind:id``; empty when nobody answers for it."""
    gateway_groups: tuple[str, ...] = ("*",)
    """Patterns: which gateway groups are told of it at all."""
    maximum_age_seconds: int = 0
    """Of one version of the secret, from when it was first seen; 0 for no maximum."""
    age_action: AgeAction = AgeAction.WARN
    state: CredentialState = CredentialState.ACTIVE


class TargetContent(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a model."""

    credential_id: str
    model: str = ""
    weight: int = 1


class RouteContent(msgspec.Struct, frozen=True, kw_only=True):
    """Which credentials serve which models."""

    name: str
    models: tuple[str, ...]
    targets: tuple[TargetContent, ...]
    strategy: Strategy = Strategy.ORDERED
    position: int = FIRST_POSITION
    """Routes are asked in this order, those of one position by name."""


class GrantContent(msgspec.Struct, frozen=True, kw_only=True):
    """What matching principals may do through a gateway."""

    name: str
    principals: tuple[str, ...]
    models: tuple[str, ...]
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    budgets: tuple[str, ...] = ()
    """Identifiers of budgets that are shared with other grants."""
    maximum_lease_seconds: int = DEFAULT_LIFETIME
    content: ContentRecording = ContentRecording.NONE
    objects: ObjectAccess = ObjectAccess.OWN
    position: int = FIRST_POSITION
    """The first grant that allows a call is the one whose limits count."""


class BudgetContent(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of money that all grants which name it share."""

    name: str
    micro_usd: int
    period: BudgetPeriod = BudgetPeriod.DAY


class TrustRuleContent(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens of an outside issuer are exchanged for leases of which principal."""

    name: str
    issuer: str
    audience: str
    claims: dict[str, str]
    principal: str
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    subject_once: bool = False
    maximum_lease_seconds: int = DEFAULT_LIFETIME


class SettingsContent(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the policy as a whole. There is one of it, under a fixed name."""

    name: str = "settings"
    serve_when_spool_full: bool = False
    """Whether gateways go on serving when their spool of call records is full."""


Content: TypeAlias = (
    CredentialContent
    | RouteContent
    | GrantContent
    | BudgetContent
    | TrustRuleContent
    | SettingsContent
)
CONTENT_TYPES: Final[dict[ResourceKind, type[Content]]] = {
    ResourceKind.CREDENTIAL: CredentialContent,
    ResourceKind.ROUTE: RouteContent,
    ResourceKind.GRANT: GrantContent,
    ResourceKind.BUDGET: BudgetContent,
    ResourceKind.TRUST_RULE: TrustRuleContent,
    ResourceKind.SETTINGS: SettingsContent,
}
_KINDS: Final = {content: kind for kind, content in CONTENT_TYPES.items()}
# Deterministic: two contents are the same when their bytes are.
encode: Final = msgspec.json.Encoder(order="deterministic").encode


def kind_of(content: Content) -> ResourceKind:
    """Which kind a content is of."""
    return _KINDS[type(content)]


def decode(kind: ResourceKind, document: bytes) -> Content:
    """Read what was stored."""
    return msgspec.json.decode(document, type=CONTENT_TYPES[kind])


class DraftState(StrEnum):
    """How a thing in the draft stands to the published policy."""

    PUBLISHED = "published"
    NEW = "new"
    CHANGED = "changed"
    REMOVED = "removed"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A thing as it is in the draft."""

    id: str
    kind: ResourceKind
    version: int
    content: Content
    draft_state: DraftState
    created_at: int
    changed_at: int
    changed_by: str


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a thing."""

    object_id: str
    kind: ResourceKind
    version: int
    at: int
    principal: str
    change: str
    """``added``, ``changed``, ``removed``, ``discarded``, ``rolled_back``."""
    before: Content | None
    after: Content | None


class PolicyContents(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one state of a policy consists of, by identifier."""

    credentials: dict[str, CredentialContent] = msgspec.field(default_factory=dict)
    routes: dict[str, RouteContent] = msgspec.field(default_factory=dict)
    grants: dict[str, GrantContent] = msgspec.field(default_factory=dict)
    budgets: dict[str, BudgetContent] = msgspec.field(default_factory=dict)
    trust_rules: dict[str, TrustRuleContent] = msgspec.field(default_factory=dict)
    settings: dict[str, SettingsContent] = msgspec.field(default_factory=dict)

    def of(self, kind: ResourceKind) -> dict[str, Content]:
        """The things of one kind."""
        found: dict[str, Content] = getattr(self, _MEMBERS[kind])
        return found

    def items(self) -> list[tuple[ResourceKind, str, Content]]:
        """All things, kind by kind, in the order of their names."""
        return [
            (kind, identifier, content)
            for kind in ResourceKind
            for identifier, content in sorted(self.of(kind).items(), key=lambda i: i[1].name)
        ]


_MEMBERS: Final = {
    ResourceKind.CREDENTIAL: "credentials",
    ResourceKind.ROUTE: "routes",
    ResourceKind.GRANT: "grants",
    ResourceKind.BUDGET: "budgets",
    ResourceKind.TRUST_RULE: "trust_rules",
    ResourceKind.SETTINGS: "settings",
}
