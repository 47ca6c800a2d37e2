"""Where policy meets API keys and reports."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
from tests.support.manual_clock import ManualClock
from tests.support.policy_kit import (
    ADA,
    ORGANIZATION,
    Surroundings,
    a_policy,
    policy_of,
    publish,
)

from keylease.contracts.api_keys import ApiKeyKind
from keylease.contracts.policy import PolicyBundle, RevocationKind
from keylease.platform.db.callers import platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.api_keys.interfaces import ApiKey, GatewayKey
from keylease.platform.identity.api_keys.service import ApiKeys
from keylease.platform.policy.domain import Policy
from keylease.platform.policy.interfaces import SeenVersion
from keylease.platform.server.policy_assembly import (
    CredentialReports,
    KeyChanges,
    KeysForGateways,
)

KEY_ID = "018f0000-0000-7000-8000-0000000000dd"


class Keys:
    """An API key that was rotated: two texts open it for a while."""

    async def key_hashes_for_gateways(
        self, tx: Transaction, organization_id: str
    ) -> list[GatewayKey]:
        del tx, organization_id
        now = GatewayKey(
            id=KEY_ID,
            digest="0" * 64,
            principal=ADA.name,
            permissions=("lease:exchange",),
            project_id="",
            expires_at=20,
        )
        return [now, msgspec.structs.replace(now, digest="1" * 64, expires_at=10)]


def api_key(**members: object) -> ApiKey:
    made = ApiKey(
        id=KEY_ID,
        organization_id=ORGANIZATION,
        principal=ADA.name,
        kind=ApiKeyKind.API,
        name="ci",
        hint="",
        permissions=("lease:exchange",),
        project_id="",
        created_by=ADA.name,
        created_at=0,
        rotated_at=None,
        expires_at=20,
        used_at=None,
        previous_expires_at=None,
        revoked_at=None,
        version=1,
    )
    return msgspec.structs.replace(made, **members)


async def bundle_of(policy: Policy) -> PolicyBundle:
    signed = await policy.bundles.bundle(ORGANIZATION, "eu")
    assert signed is not None
    return msgspec.json.decode(signed.payload, type=PolicyBundle)


async def test_both_texts_of_a_rotated_key_have_a_name_of_their_own(database: Database) -> None:
    async with database.reading() as tx:
        uses = await KeysForGateways(cast("ApiKeys", Keys())).key_hashes_for_gateways(
            tx, ORGANIZATION
        )
    assert [use.digest[0] for use in uses] == ["0", "1"]
    assert uses[0].id == KEY_ID
    assert uses[0].id != uses[1].id


async def test_leases_of_a_revoked_key_die_with_it(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    policy = policy_of(database, clock, tmp_path, Surroundings())
    await a_policy(policy)
    await publish(policy)
    before = await bundle_of(policy)
    changes = KeyChanges(policy)
    async with database.transaction(ADA) as tx:
        await changes.changed(tx, api_key())
    assert (await bundle_of(policy)).revocations == before.revocations == ()
    # By whoever: also by the platform itself, which is of no organization.
    async with database.transaction(platform_itself()) as tx:
        await changes.changed(tx, api_key(revoked_at=5))
    dead = (await bundle_of(policy)).revocations
    async with database.reading() as tx:
        uses = await KeysForGateways(cast("ApiKeys", Keys())).key_hashes_for_gateways(
            tx, ORGANIZATION
        )
    assert {revocation.value for revocation in dead} == {use.id for use in uses}
    assert {revocation.kind for revocation in dead} == {RevocationKind.ADMISSION}


async def test_reports_know_what_is_overdue(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    around = Surroundings()
    policy = policy_of(database, clock, tmp_path, around)
    made, _, _ = await a_policy(policy)
    content = msgspec.structs.replace(made.content, maximum_age_seconds=60, owner=ADA.name)
    await policy.resources.update(ADA, made.id, content, expected=1)
    around.versions[made.id] = [SeenVersion(fingerprint="v", first_seen=clock.now(), last_seen=0)]
    reports = CredentialReports(policy.credentials)
    assert [fact.overdue for fact in await reports.credential_trust(ADA)] == [False]
    clock.advance(60)
    assert [fact.overdue for fact in await reports.credential_trust(ADA)] == [True]
    facts = (await reports.credential_facts(ADA))[made.id]
    assert (facts.owner, facts.maximum_age, facts.purposes) == (ADA.name, 60, ("development",))
