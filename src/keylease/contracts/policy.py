"""Policy: what a gateway enforces, whoever wrote it (a local keylease.toml, or the platform).

Stored and signed: append-only. Fields are added with defaults; none is renamed, removed or given
another meaning. Policy refers to things by identifier; names are labels for people.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from keylease.contracts.purposes import Purpose

POLICY_FORMAT: Final = 1


class BudgetPeriod(StrEnum):
    """The window, in UTC, after which a budget starts again."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Strategy(StrEnum):
    """How a route chooses among its targets."""

    ORDERED = "ordered"
    WEIGHTED = "weighted"


class ContentRecording(StrEnum):
    """Whether prompt and answer text goes into call records (masked first)."""

    NONE = "none"
    MASKED = "masked"


class ObjectAccess(StrEnum):
    """Which provider-side objects (files, batches, stored responses) a grant reaches."""

    OWN = "own"
    ALL = "all"


class RevocationKind(StrEnum):
    """What a revocation names."""

    LEASE = "lease"
    PRINCIPAL = "principal"
    CREDENTIAL = "credential"
    ALL = "all"
    ADMISSION = "admission"
    """Every lease that one trust rule or API key admitted: the ``via`` of its claims."""


class AgedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a secret, and when it is too old to be used."""

    version: str
    """As call records name it (``keylease.credential_version``)."""
    refuse_from: int
    """Microseconds UTC; from then on the gateway refuses this version, and no other."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Our record of a provider secret: never the bytes."""

    id: str
    name: str
    provider: str
    """The API family: a name of the provider catalogue."""
    reference: str
    purposes: tuple[Purpose, ...]
    environment: str
    upstream: str = ""
    """Base URL of the endpoint; empty means the catalogue's. gateway.toml must bind its host."""
    aged: tuple[AgedVersion, ...] = ()
    """Versions that have a maximum age which is enforced. Narrows: named in ``critical`` when set.
    """


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a model."""

    credential_id: str
    model: str = ""
    """The model's name at the provider; empty keeps the name the caller used."""
    weight: int = 1


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which credentials serve which models."""

    id: str
    name: str
    models: tuple[str, ...]
    targets: tuple[Target, ...]
    strategy: Strategy = Strategy.ORDERED


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on use; ``None`` is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_micro_usd: int | None = None
    budget_period: BudgetPeriod = BudgetPeriod.DAY


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of money that all grants which name it share."""

    id: str
    name: str
    micro_usd: int
    period: BudgetPeriod = BudgetPeriod.DAY


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What matching principals may do. Its limits are shared by all who use the grant."""

    id: str
    name: str
    principals: tuple[str, ...]
    """Patterns such as ``user:*``."""
    models: tuple[str, ...]
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...]
    """Patterns."""
    limits: Limits = Limits()
    maximum_lease_seconds: int = 900
    content: ContentRecording = ContentRecording.NONE
    objects: ObjectAccess = ObjectAccess.OWN
    budgets: tuple[str, ...] = ()
    """Identifiers of budgets that every call draws from besides ``limits``. Narrows: named in
    ``critical`` when set."""


class TrustRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens of an outside issuer are exchanged for leases of which principal."""

    id: str
    name: str
    issuer: str
    audience: str
    claims: dict[str, str]
    """Claim name -> required value; every one must match exactly."""
    principal: str
    """The principal of the lease; ``{claim}`` is replaced by that claim's value."""
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...]
    models: tuple[str, ...]
    subject_once: bool
    """Whether a subject token's ``jti`` may be used one time only."""
    maximum_lease_seconds: int = 900


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Leases that are dead although they have not expired."""

    kind: RevocationKind
    value: str = ""
    """Lease ``jti``, principal, credential id, or id of a trust rule or API key; empty for
    ``all``."""
    at: int
    """Microseconds UTC. Leases of a principal or an admission, or all leases, issued up to this
    moment are dead; a credential is refused from this moment on until the revocation is lifted."""


class ApiKeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """An API key of the platform that may be exchanged for leases. Never the key itself."""

    id: str
    digest: str
    """``contracts.api_keys.ApiKeyText.digest``."""
    principal: str
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...] = ("*",)
    """Patterns, as in a trust rule; the grants of the principal count besides."""
    models: tuple[str, ...] = ("*",)
    expires_at: int = 0
    """Microseconds UTC; 0 for a key without end. No lease outlives it."""
    maximum_lease_seconds: int = 900
    project: str = ""


class PolicyBundle(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gateway decides by, apart from its own gateway.toml."""

    format: int = POLICY_FORMAT
    organization_id: str
    version: int
    """Increases with every change; a gateway refuses a lower one."""
    issued_at: int
    credentials: tuple[Credential, ...] = ()
    routes: tuple[Route, ...] = ()
    grants: tuple[Grant, ...] = ()
    trust_rules: tuple[TrustRule, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    serve_when_spool_full: bool = False
    group: str = ""
    """The gateway group it is for; empty for a local file. Others refuse it."""
    expires_at: int = 0
    """Microseconds UTC after which it is not served any more; 0 for a local file."""
    critical: tuple[str, ...] = ()
    """Fields that a gateway must understand to serve this bundle, as ``struct.field``; see
    ``bundles.UNDERSTOOD``. Whoever adds a field that narrows what is allowed lists it here."""
    api_keys: tuple[ApiKeyUse, ...] = ()
    budgets: tuple[Budget, ...] = ()
