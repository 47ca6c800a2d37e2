"""Policy on the wire: what may be sent, and what is answered, member by member."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from keylease.contracts.policy import (
    BudgetPeriod,
    ContentRecording,
    ObjectAccess,
    RevocationKind,
    Strategy,
)
from keylease.contracts.purposes import Purpose
from keylease.platform.db.paging import Page
from keylease.platform.policy.overview import CredentialView
from keylease.platform.policy.resources import (
    AgeAction,
    BudgetContent,
    Content,
    CredentialContent,
    CredentialState,
    DraftState,
    GrantContent,
    Resource,
    ResourceKind,
    Revision,
    RouteContent,
    SettingsContent,
    TrustRuleContent,
)

_ITEMS: Final = 200
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text = Annotated[str, StringConstraints(max_length=256)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Identifier = Annotated[
    str, StringConstraints(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
]
Patterns = Annotated[list[Pattern], Field(max_length=_ITEMS)]
Purposes = Annotated[list[Purpose], Field(max_length=len(Purpose))]
Count = Annotated[int, Field(ge=0, le=10**15, strict=True)]
Position = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CredentialBody(_Sent):
    """A credential: where a secret lives and what it is for. Never the secret."""

    name: Name
    provider: Name = Field(description="A name of the provider catalogue.", examples=["openai"])
    reference: Annotated[str, StringConstraints(max_length=1024)] = Field(
        description="Where the secret lives.", examples=["vault://secret/ai/openai#key"]
    )
    purposes: Purposes
    environment: Name = "default"
    upstream: Annotated[str, StringConstraints(max_length=512)] = Field(
        default="", description="Base URL, where it is not the catalogue's."
    )
    owner: Annotated[str, StringConstraints(max_length=100)] = Field(
        default="", description="user:ID or service_account:ID."
    )
    gateway_groups: Patterns = Field(
        default=["*"], description="Which gateway groups are told of it."
    )
    maximum_age_seconds: Count = Field(
        default=0, description="Of one version of the secret; 0 for no maximum."
    )
    age_action: AgeAction = AgeAction.WARN
    state: CredentialState = CredentialState.ACTIVE


class TargetBody(_Sent):
    """One way to serve a model."""

    credential_id: Identifier
    model: Text = Field(default="", description="Its name at the provider; empty keeps it.")
    weight: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 1


class RouteBody(_Sent):
    """Which credentials serve which models."""

    name: Name
    models: Patterns
    targets: Annotated[list[TargetBody], Field(max_length=_ITEMS)]
    strategy: Strategy = Strategy.ORDERED
    position: Position = 100


class LimitsBody(_Sent):
    """Bounds on use; null is unlimited."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    budget_micro_usd: Count | None = None
    budget_period: BudgetPeriod = BudgetPeriod.DAY


class GrantBody(_Sent):
    """What matching principals may do through a gateway."""

    name: Name
    principals: Patterns
    models: Patterns
    purposes: Purposes
    environments: Patterns = ["*"]
    limits: LimitsBody = LimitsBody()
    budgets: Annotated[list[Identifier], Field(max_length=_ITEMS)] = []
    maximum_lease_seconds: Count = 900
    content: ContentRecording = ContentRecording.NONE
    objects: ObjectAccess = ObjectAccess.OWN
    position: Position = 100


class BudgetBody(_Sent):
    """An amount of money that grants share."""

    name: Name
    micro_usd: Count
    period: BudgetPeriod = BudgetPeriod.DAY


class TrustRuleBody(_Sent):
    """Which tokens of an outside issuer are exchanged for leases of which principal."""

    name: Name
    issuer: Annotated[str, StringConstraints(max_length=512)]
    audience: Text
    claims: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=256)],
            Annotated[str, StringConstraints(max_length=512)],
        ],
        Field(max_length=50),
    ]
    principal: Text
    purposes: Purposes
    environments: Patterns = ["*"]
    models: Patterns = ["*"]
    subject_once: bool = False
    maximum_lease_seconds: Count = 900


class SettingsBody(_Sent):
    """What holds for the policy as a whole."""

    serve_when_spool_full: bool = False


class ResourceMeta(BaseModel):
    """What every answer about a thing has besides its content."""

    id: str
    version: int = Field(description="As in ETag.")
    draft_state: DraftState = Field(description="How it stands to what is published.")
    created_at: int = Field(description="Microseconds UTC.")
    changed_at: int
    changed_by: str


class CredentialVersion(BaseModel):
    """A version of the secret, as gateways have used it."""

    fingerprint: str
    first_used: int = Field(description="Microseconds UTC.")
    last_used: int
    calls: int


class CredentialAge(BaseModel):
    """How old the version is that came into use last."""

    first_seen: int = Field(description="Microseconds UTC; 0 while none was seen.")
    due_at: int = Field(description="When it is too old; 0 for never.")
    overdue: bool
    refused: bool = Field(description="Whether gateways refuse it for that.")


class CredentialBoundary(BaseModel):
    """Which processes can hold the secret, and where they may send it."""

    gateway_groups: dict[str, int] = Field(
        description="Groups that are told of it, and how many gateways each has."
    )
    hosts: list[str] = Field(description="As policy has it; a gateway.toml may allow less.")
    platform: str = Field(description="What the platform itself has of it.")


class CredentialReach(BaseModel):
    """Who can use it, by which way, for how long."""

    routes: list[str]
    grants: list[str]
    longest_lease_seconds: int


class CredentialAudit(BaseModel):
    """Where to read what was done with it."""

    entries: str
    history: str
    versions: str


class Credential(ResourceMeta, CredentialBody):
    """A credential as it is in the draft."""

    store: str = Field(description="What kind of store has the secret.")
    revoked: bool
    age: CredentialAge
    versions: list[CredentialVersion] | None = Field(
        default=None, description="With include=versions."
    )
    boundary: CredentialBoundary | None = Field(default=None, description="With include=boundary.")
    reach: CredentialReach | None = Field(default=None, description="With include=reach.")
    audit: CredentialAudit | None = Field(default=None, description="With include=audit.")


class Route(ResourceMeta, RouteBody):
    """A route as it is in the draft."""


class PolicyGrant(ResourceMeta, GrantBody):
    """A policy grant as it is in the draft."""


class Budget(ResourceMeta, BudgetBody):
    """A budget as it is in the draft."""


class TrustRule(ResourceMeta, TrustRuleBody):
    """A trust rule as it is in the draft."""


class PolicySettings(ResourceMeta, SettingsBody):
    """The settings as they are in the draft."""


class RevisionOf(BaseModel):
    """One change of a thing."""

    version: int
    at: int
    principal: str
    change: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class PageOfRevisions(BaseModel):
    """Changes of a thing, the newest first."""

    items: list[RevisionOf]
    next_cursor: str = ""


_CONTENT_TYPES: Final[dict[type[BaseModel], type[Content]]] = {
    CredentialBody: CredentialContent,
    RouteBody: RouteContent,
    GrantBody: GrantContent,
    BudgetBody: BudgetContent,
    TrustRuleBody: TrustRuleContent,
    SettingsBody: SettingsContent,
}
Answer = TypeVar("Answer", bound=ResourceMeta)


def content_of(body: BaseModel) -> Content:
    """What was sent, as policy keeps it."""
    return msgspec.convert(body.model_dump(mode="json"), type=_CONTENT_TYPES[type(body)])


def settings_of(body: SettingsBody) -> SettingsContent:
    """The settings that were sent."""
    return SettingsContent(serve_when_spool_full=body.serve_when_spool_full)


def answer_of(resource: Resource, shape: type[Answer]) -> Answer:
    """A thing as it is answered."""
    members = msgspec.to_builtins(resource.content)
    if resource.kind is ResourceKind.SETTINGS:
        del members["name"]
    return shape(
        id=resource.id,
        version=resource.version,
        draft_state=resource.draft_state,
        created_at=resource.created_at,
        changed_at=resource.changed_at,
        changed_by=resource.changed_by,
        **members,
    )


def credential_answer(view: CredentialView, include: frozenset[str]) -> Credential:
    """A credential as it is answered, with the parts that were asked for."""
    resource = view.resource
    at = f"/v1/credentials/{resource.id}"
    return Credential(
        id=resource.id,
        version=resource.version,
        draft_state=resource.draft_state,
        created_at=resource.created_at,
        changed_at=resource.changed_at,
        changed_by=resource.changed_by,
        **msgspec.to_builtins(resource.content),
        store=view.store,
        revoked=view.revoked,
        age=CredentialAge(**msgspec.to_builtins(view.age)),
        versions=versions_answer(view) if "versions" in include else None,
        boundary=(
            CredentialBoundary(
                **msgspec.to_builtins(view.boundary),
                platform="the reference; the platform cannot resolve it",
            )
            if "boundary" in include
            else None
        ),
        reach=CredentialReach(**msgspec.to_builtins(view.reach)) if "reach" in include else None,
        audit=(
            CredentialAudit(
                entries=f"/v1/audit/entries?object={resource.id}",
                history=f"{at}/history",
                versions=f"{at}/versions",
            )
            if "audit" in include
            else None
        ),
    )


def versions_answer(view: CredentialView) -> list[CredentialVersion]:
    """The versions of a credential's secret, the oldest first."""
    return [
        CredentialVersion(
            fingerprint=seen.fingerprint,
            first_used=seen.first_seen,
            last_used=seen.last_seen,
            calls=seen.calls,
        )
        for seen in view.versions
    ]


def history_answer(page: Page[Revision]) -> PageOfRevisions:
    """A page of a thing's changes as it is answered."""
    return PageOfRevisions(
        items=[
            RevisionOf(
                version=revision.version,
                at=revision.at,
                principal=revision.principal,
                change=revision.change,
                before=msgspec.to_builtins(revision.before),
                after=msgspec.to_builtins(revision.after),
            )
            for revision in page.items
        ],
        next_cursor=page.next_cursor,
    )


# --- publishing ----------------------------------------------------------------------------


class PublishBody(_Sent):
    """Publish the draft that If-Match names."""

    note: Annotated[str, StringConstraints(max_length=500)] = ""


class RollbackBody(_Sent):
    """Publish an earlier version's content again."""

    version: Annotated[int, Field(ge=1, le=2**53, strict=True)]
    note: Annotated[str, StringConstraints(max_length=500)] = ""
    discard_draft: bool = Field(
        default=False, description="Give up what is in the draft, if something is."
    )


class DryRunBody(_Sent):
    """Ask a policy about recent calls."""

    version: Annotated[int, Field(ge=1, le=2**53, strict=True)] | None = Field(
        default=None, description="A published version; null is the draft."
    )
    hours: Annotated[int, Field(ge=1, le=168, strict=True)] = 24


class RevocationBody(_Sent):
    """Revoke leases or a credential."""

    kind: RevocationKind
    object: Text = Field(
        default="",
        description="Lease id, principal, credential id, or id of a trust rule or API key; empty "
        "for all.",
    )
    reason: Annotated[str, StringConstraints(max_length=500)] = ""
