"""Policy without the rest of the platform, and things to put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from keylease.contracts.audit import AuditEntry
from keylease.contracts.policy import ApiKeyUse
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.contracts.purposes import Purpose
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.tables import OUTBOX
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy.domain import Policy, make_policy
from keylease.platform.policy.interfaces import RecentCall, SeenVersion
from keylease.platform.policy.publications import PolicyVersion, Proposal
from keylease.platform.policy.resources import (
    BudgetContent,
    CredentialContent,
    GrantContent,
    Resource,
    RouteContent,
    TargetContent,
    TrustRuleContent,
)
from keylease.primitives.clock import Clock

ORGANIZATION = "018f0000-0000-7000-8000-0000000000aa"
OTHER_ORGANIZATION = "018f0000-0000-7000-8000-0000000000bb"


def person(number: int, organization_id: str = ORGANIZATION) -> Caller:
    identifier = f"018f0000-0000-7000-8000-00000000000{number}"
    return Caller(
        principal=Principal(kind=PrincipalKind.USER, id=identifier),
        organization_id=organization_id,
    )


ADA, BOB, EVE = person(1), person(2), person(3)
MALLORY = person(4, OTHER_ORGANIZATION)


class Surroundings:
    """Everything that policy asks of other domains; a test sets what it needs."""

    def __init__(self) -> None:
        self.second_approver = False
        self.principals = {ADA.name, BOB.name, EVE.name}
        self.members: dict[str, tuple[str, ...]] = {}
        self.keys: list[ApiKeyUse] = []
        self.hands: dict[str, frozenset[str]] = {}
        self.versions: dict[str, list[SeenVersion]] = {}
        self.calls: list[RecentCall] = []
        self.gateways: dict[str, int] = {}

    async def needs_second_approver(self, tx: Transaction, organization_id: str) -> bool:
        del tx, organization_id
        return self.second_approver

    async def principal_exists(self, tx: Transaction, organization_id: str, principal: str) -> bool:
        del tx, organization_id
        return principal in self.principals

    async def holder_exists(self, tx: Transaction, organization_id: str, holder: str) -> bool:
        del tx, organization_id
        return holder in self.principals or holder in self.members

    async def group_members(
        self, tx: Transaction, organization_id: str
    ) -> Mapping[str, Sequence[str]]:
        del tx, organization_id
        return self.members

    async def key_hashes_for_gateways(
        self, tx: Transaction, organization_id: str
    ) -> Sequence[ApiKeyUse]:
        del tx, organization_id
        return self.keys

    async def hands_behind(
        self, tx: Transaction, organization_id: str, principal: str
    ) -> frozenset[str]:
        del tx, organization_id
        return self.hands.get(principal, frozenset())

    async def versions_seen(
        self, tx: Transaction, organization_id: str, credential_ids: Sequence[str] | None
    ) -> Mapping[str, Sequence[SeenVersion]]:
        del tx, organization_id
        return {
            name: found
            for name, found in self.versions.items()
            if credential_ids is None or name in credential_ids
        }

    async def recent_calls(
        self, tx: Transaction, organization_id: str, *, since: int, limit: int
    ) -> Sequence[RecentCall]:
        del tx, organization_id
        return [call for call in self.calls if call.at >= since][:limit]

    async def groups(self, tx: Transaction, organization_id: str) -> Mapping[str, int]:
        del tx, organization_id
        return self.gateways


def policy_of(
    database: Database, clock: Clock, directory: Path, surroundings: Surroundings
) -> Policy:
    return make_policy(
        database,
        clock=clock,
        key_directory=directory / "policy-keys",
        organizations=surroundings,
        api_keys=surroundings,
        records=surroundings,
        groups=surroundings,
    )


def credential(name: str = "openai", **members: Any) -> CredentialContent:  # noqa: ANN401 - any member
    return CredentialContent(
        **{
            "name": name,
            "provider": "openai",
            "reference": f"vault://secret/ai/{name}#key",
            "purposes": (Purpose.DEVELOPMENT,),
            **members,
        }
    )


def route(credential_id: str, name: str = "chat", **members: Any) -> RouteContent:  # noqa: ANN401 - as above
    targets = (TargetContent(credential_id=credential_id),)
    return RouteContent(**{"name": name, "models": ("gpt-*",), "targets": targets, **members})


def grant(name: str = "developers", **members: Any) -> GrantContent:  # noqa: ANN401 - as above
    return GrantContent(
        **{
            "name": name,
            "principals": ("user:*",),
            "models": ("gpt-5",),
            "purposes": (Purpose.DEVELOPMENT,),
            **members,
        }
    )


def budget(name: str = "team", micro_usd: int = 25_000_000) -> BudgetContent:
    return BudgetContent(name=name, micro_usd=micro_usd)


def trust_rule(name: str = "jobs", **members: Any) -> TrustRuleContent:  # noqa: ANN401 - as above
    return TrustRuleContent(
        **{
            "name": name,
            "issuer": "https://issuer.example.com",
            "audience": "keylease",
            "claims": {"sub": "job-7"},
            "principal": "workload:jobs",
            "purposes": (Purpose.DEVELOPMENT,),
            **members,
        }
    )


async def a_policy(policy: Policy) -> tuple[Resource, Resource, Resource]:
    """A credential, a route to it and a grant, in the draft."""
    made = await policy.resources.create(ADA, credential())
    way = await policy.resources.create(ADA, route(made.id))
    right = await policy.resources.create(ADA, grant())
    return made, way, right


async def publish(policy: Policy, caller: Caller = ADA) -> PolicyVersion:
    """Publish the draft as it is; fails when it is only proposed."""
    result = await publish_or_propose(policy, caller)
    assert isinstance(result, PolicyVersion), result
    return result


async def publish_or_propose(policy: Policy, caller: Caller = ADA) -> PolicyVersion | Proposal:
    standing = await policy.publisher.standing(caller)
    return await policy.publisher.publish(caller, expected=standing.draft, note="because")


async def entries(database: Database) -> list[AuditEntry]:
    """What was written for the audit log, in order."""
    async with database.reading() as tx:
        rows = await tx.rows(select(OUTBOX.c.entry).order_by(OUTBOX.c.position))
    return [msgspec.json.decode(row["entry"], type=AuditEntry) for row in rows]
