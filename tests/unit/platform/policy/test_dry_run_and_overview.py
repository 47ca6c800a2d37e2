from __future__ import annotations

import msgspec
from tests.support.manual_clock import ManualClock
from tests.support.policy_kit import (
    ADA,
    BOB,
    Surroundings,
    a_policy,
    credential,
    entries,
    grant,
    publish,
    route,
)

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Outcome
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.domain import Policy
from keylease.platform.policy.evaluation import Refusal
from keylease.platform.policy.interfaces import RecentCall, SeenVersion
from keylease.platform.policy.resources import AgeAction, CredentialContent, ResourceKind
from keylease.primitives.clock import MICROSECONDS

HOUR = 3600 * MICROSECONDS


def call(credential_id: str, at: int, **members: object) -> RecentCall:
    made = RecentCall(
        principal=ADA.name,
        model="gpt-5",
        purpose=Purpose.DEVELOPMENT,
        environment="default",
        credential_id=credential_id,
        at=at,
    )
    return msgspec.structs.replace(made, **members)


async def test_a_dry_run_says_what_the_draft_would_refuse(
    policy: Policy, around: Surroundings, clock: ManualClock
) -> None:
    made, way, right = await a_policy(policy)
    await publish(policy)
    now = clock.now()
    around.calls = [
        call(made.id, now),
        call(made.id, now - HOUR, count=6),
        call(made.id, now, model="gpt-5-mini", count=2),
        call(made.id, now, principal="workload:x"),
        call(made.id, now, purpose=Purpose.EVAL),
        call(made.id, now - 25 * HOUR, model="o9"),
    ]
    asked = await policy.dry_runs.run(ADA, version=None)
    found = {reason.reason: reason for reason in asked.reasons}
    assert (asked.calls, asked.refused, asked.complete) == (11, 4, True)
    assert found[Refusal.MODEL_NOT_GRANTED].calls == 2
    assert found[Refusal.MODEL_NOT_GRANTED].samples[0].model == "gpt-5-mini"
    assert set(found) == {
        Refusal.MODEL_NOT_GRANTED,
        Refusal.NO_GRANT_FOR_PRINCIPAL,
        Refusal.PURPOSE_NOT_GRANTED,
    }
    # The draft takes the way to the model away; the published version has it still.
    await policy.resources.remove(ADA, ResourceKind.ROUTE, way.id, expected=1)
    draft = await policy.dry_runs.run(ADA, version=None)
    assert draft.refused == 11
    assert Refusal.NO_ROUTE in {reason.reason for reason in draft.reasons}
    published = await policy.dry_runs.run(ADA, version=1)
    assert published.refused == 4
    assert right.content.name == "developers"


async def test_a_dry_run_says_what_would_use_another_credential(
    policy: Policy, around: Surroundings, clock: ManualClock
) -> None:
    made, _, _ = await a_policy(policy)
    other = await policy.resources.create(ADA, credential("other"))
    await policy.resources.create(ADA, route(other.id, "first", position=1))
    around.calls = [call(made.id, clock.now())]
    asked = await policy.dry_runs.run(ADA, version=None)
    assert (asked.refused, asked.other_credential) == (0, 1)


async def test_a_dry_run_knows_what_is_revoked(
    policy: Policy, around: Surroundings, clock: ManualClock
) -> None:
    made, _, _ = await a_policy(policy)
    around.calls = [call(made.id, clock.now())]
    await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id)
    asked = await policy.dry_runs.run(ADA, version=None)
    assert [reason.reason for reason in asked.reasons] == [Refusal.CREDENTIAL_REVOKED]


async def test_one_look_says_who_stores_what_where_for_how_long(
    policy: Policy, around: Surroundings, clock: ManualClock
) -> None:
    around.gateways = {"eu": 2, "us": 1}
    content = credential(
        gateway_groups=("eu",), maximum_age_seconds=3600, age_action=AgeAction.REFUSE
    )
    made = await policy.resources.create(ADA, content)
    await policy.resources.create(ADA, route(made.id))
    await policy.resources.create(ADA, grant(maximum_lease_seconds=600))
    await policy.resources.create(ADA, grant("evals", purposes=(Purpose.EVAL,)))
    now = clock.now()
    around.versions[made.id] = [
        SeenVersion(fingerprint="digest-1", first_seen=now - 9 * HOUR, last_seen=now - 2 * HOUR),
        SeenVersion(fingerprint="digest-2", first_seen=now - 2 * HOUR, last_seen=now, calls=7),
    ]
    (view,) = (await policy.credentials.page(ADA, PageRequest())).items
    assert view.store == "Vault or OpenBao"
    assert view.boundary.gateway_groups == {"eu": 2}
    assert view.boundary.hosts == ("https://api.openai.com:443",)
    assert (view.reach.routes, view.reach.grants) == (("chat",), ("developers",))
    assert view.reach.longest_lease_seconds == 600
    assert (view.age.overdue, view.age.refused, view.revoked) == (True, True, False)
    assert view.age.due_at == now - HOUR
    assert [version.fingerprint for version in view.versions] == ["digest-1", "digest-2"]
    reported, age = (await policy.credentials.ages(ADA))[made.id]
    assert (reported.name, age.overdue) == ("openai", True)
    await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id)
    assert (await policy.credentials.get(ADA, made.id)).revoked


async def test_who_leaves_hands_over_and_loses_their_leases(
    policy: Policy, database: Database
) -> None:
    made = await policy.resources.create(ADA, credential(owner=BOB.name))
    alone = await policy.resources.create(ADA, grant("alone", principals=(BOB.name,)))
    shared = await policy.resources.create(ADA, grant("shared", principals=(BOB.name, "user:*")))
    async with database.reading(ADA) as tx:
        held = await policy.holdings.held(tx, BOB.name)
    assert {(each.kind, each.label, each.outcome) for each in held} == {
        ("credential", "openai", Outcome.HANDED_OVER),
        ("policy_grant", "alone", Outcome.REVOKED),
        ("policy_grant", "shared", Outcome.REVOKED),
    }
    async with database.transaction(ADA) as tx:
        released = await policy.holdings.release(tx, BOB.name, to=ADA.name)
    assert len(released) == 4
    content = (await policy.resources.get(ADA, ResourceKind.CREDENTIAL, made.id)).content
    assert isinstance(content, CredentialContent)
    assert content.owner == ADA.name
    left = await policy.resources.page(ADA, ResourceKind.GRANT, PageRequest())
    assert [thing.id for thing in left.items] == [shared.id]
    assert alone.id not in str(left)
    (revoked,) = (await policy.revocations.page(ADA, PageRequest())).items
    assert (revoked.kind, revoked.object) == (RevocationKind.PRINCIPAL, BOB.name)
    assert (await entries(database))[-1].action is AuditAction.REVOCATION_MADE
