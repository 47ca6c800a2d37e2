from __future__ import annotations

import msgspec
import pytest
from tests.support.policy_kit import (
    ADA,
    BOB,
    MALLORY,
    a_policy,
    budget,
    credential,
    entries,
    grant,
    publish,
    route,
    trust_rule,
)
from tests.support.policy_kit import Surroundings as Around

from keylease.contracts.audit import AuditAction
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    PolicyInvalid,
    ResourceConflict,
    ResourceNotFound,
    SecretInRequest,
    VersionChanged,
)
from keylease.platform.db.callers import IdempotencyKey
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy import rules
from keylease.platform.policy.domain import Policy
from keylease.platform.policy.resources import (
    Content,
    DraftState,
    ResourceKind,
    Revision,
    SettingsContent,
    TargetContent,
)


def replaced(content: Content, **members: object) -> Content:
    return msgspec.structs.replace(content, **members)


async def mistakes(policy: Policy, content: Content) -> dict[str, str]:
    with pytest.raises(PolicyInvalid) as caught:
        await policy.resources.create(ADA, content)
    return {part.location: part.message + part.suggestion for part in caught.value.mistakes}


async def test_every_change_is_a_revision_with_its_author(
    policy: Policy, database: Database
) -> None:
    made = await policy.resources.create(ADA, credential())
    changed = await policy.resources.update(
        BOB, made.id, replaced(made.content, owner=BOB.name), expected=1
    )
    await policy.resources.remove(ADA, ResourceKind.CREDENTIAL, made.id, expected=changed.version)
    told = await policy.resources.history(
        ADA, ResourceKind.CREDENTIAL, made.id, PageRequest(limit=10)
    )
    assert [(line.version, line.principal, line.change) for line in told.items] == [
        (3, ADA.name, "removed"),
        (2, BOB.name, "changed"),
        (1, ADA.name, "added"),
    ]
    removed, changed_line, added = told.items
    assert removed.after is None
    assert changed_line.before == added.after == made.content
    assert removed.before == changed_line.after
    assert [(entry.action, entry.principal) for entry in await entries(database)] == [
        (AuditAction.CREDENTIAL_ADDED, ADA.name),
        (AuditAction.CREDENTIAL_CHANGED, BOB.name),
        (AuditAction.CREDENTIAL_REMOVED, ADA.name),
    ]
    assert (await entries(database))[1].details["members"] == "owner"


async def test_history_goes_on_over_pages(policy: Policy) -> None:
    made = await policy.resources.create(ADA, credential())
    for number in range(1, 5):
        content = replaced(made.content, maximum_age_seconds=number)
        await policy.resources.update(ADA, made.id, content, expected=number)
    seen: list[Revision] = []
    request = PageRequest(limit=2)
    while True:
        page = await policy.resources.history(ADA, ResourceKind.CREDENTIAL, made.id, request)
        seen += page.items
        if not page.next_cursor:
            break
        request = PageRequest(limit=2, cursor=page.next_cursor)
    assert [line.version for line in seen] == [5, 4, 3, 2, 1]
    assert all(line.before is not None for line in seen[:-1])


async def test_who_reads_an_old_version_does_not_change_a_new_one(policy: Policy) -> None:
    made = await policy.resources.create(ADA, credential())
    await policy.resources.update(
        ADA, made.id, replaced(made.content, maximum_age_seconds=9), expected=1
    )
    with pytest.raises(VersionChanged):
        await policy.resources.update(BOB, made.id, made.content, expected=1)
    with pytest.raises(VersionChanged):
        await policy.resources.remove(BOB, ResourceKind.CREDENTIAL, made.id, expected=1)


async def test_a_change_that_changes_nothing_leaves_no_trace(
    policy: Policy, database: Database
) -> None:
    made = await policy.resources.create(ADA, credential())
    same = await policy.resources.update(ADA, made.id, made.content, expected=1)
    assert same.version == 1
    assert len(await entries(database)) == 1


async def test_a_create_that_is_sent_again_makes_one_thing(policy: Policy) -> None:
    sent = IdempotencyKey(key="k", request_digest="d")
    caller = msgspec.structs.replace(ADA, idempotency=sent)
    first = await policy.resources.create(caller, credential())
    assert (await policy.resources.create(caller, credential())).id == first.id


async def test_what_belongs_to_others_does_not_exist(policy: Policy) -> None:
    made, way, _ = await a_policy(policy)
    for kind, thing in ((ResourceKind.CREDENTIAL, made), (ResourceKind.ROUTE, way)):
        with pytest.raises(ResourceNotFound):
            await policy.resources.get(MALLORY, kind, thing.id)
        with pytest.raises(ResourceNotFound):
            await policy.resources.history(MALLORY, kind, thing.id, PageRequest())
        with pytest.raises(ResourceNotFound):
            await policy.resources.update(MALLORY, thing.id, thing.content, expected=1)
        with pytest.raises(ResourceNotFound):
            await policy.resources.remove(MALLORY, kind, thing.id, expected=1)
    # Nor does a thing under the name of another kind.
    with pytest.raises(ResourceNotFound):
        await policy.resources.get(ADA, ResourceKind.BUDGET, made.id)
    with pytest.raises(PolicyInvalid):
        await policy.resources.create(MALLORY, route(made.id))
    await policy.resources.create(MALLORY, credential())  # their names are their own


async def test_every_mistake_is_told_with_its_place(policy: Policy) -> None:
    found = await mistakes(
        policy,
        credential(
            name="not a name",
            provider="opnai",
            reference="volt://a/b#c",
            purposes=(Purpose.EVAL, Purpose.PRODUCTION),
            environment="prod*",
            upstream="ftp://x",
            owner="nobody",
            gateway_groups=(),
        ),
    )
    assert set(found) == {
        "body.name",
        "body.provider",
        "body.reference",
        "body.purposes",
        "body.environment",
        "body.upstream",
        "body.owner",
        "body.gateway_groups",
    }
    assert 'Did you mean "openai"?' in found["body.provider"]
    assert 'Did you mean "vault"?' in found["body.reference"]
    assert "volt" not in found["body.reference"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (credential(provider="openai-compatible"), "upstream"),
        (credential(upstream="https://api.openai.com/v2"), "upstream"),
        (credential(purposes=()), "purposes"),
        (credential(owner="workload:x"), "owner"),
        (credential(maximum_age_seconds=-1), "maximum_age_seconds"),
        (route("018f0000-0000-7000-8000-000000000099"), "targets.0.credential_id"),
        (route("x", targets=()), "targets"),
        (route("x", models=("a b",)), "models.0"),
        (grant(principals=("users:ada",)), "principals.0"),
        (grant(principals=()), "principals"),
        (grant(maximum_lease_seconds=90_000), "maximum_lease_seconds"),
        (grant(budgets=("018f0000-0000-7000-8000-000000000099",)), "budgets.0"),
        (budget(micro_usd=-1), "micro_usd"),
        (trust_rule(claims={}), "claims"),
        (trust_rule(claims={"sub": "*"}), "claims.sub"),
        (trust_rule(audience="*"), "audience"),
        (trust_rule(principal="{sub}"), "principal"),
        (
            trust_rule(issuer="https://token.actions.githubusercontent.com"),
            "claims.repository_id",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(content: Content, place: str) -> None:
    assert place in {
        mistake.location for mistake in rules.mistakes_of(content, rules.Surroundings())
    }


async def test_an_owner_is_somebody(policy: Policy) -> None:
    nobody = "user:018f0000-0000-7000-8000-000000000099"
    assert set(await mistakes(policy, credential(owner=nobody))) == {"body.owner"}


async def test_a_name_is_taken_until_its_thing_is_removed(policy: Policy) -> None:
    made = await policy.resources.create(ADA, credential())
    assert "body.name" in await mistakes(policy, credential())
    await policy.resources.remove(ADA, ResourceKind.CREDENTIAL, made.id, expected=1)
    again = await policy.resources.create(ADA, credential())
    assert again.id != made.id


async def test_what_others_use_is_not_removed(policy: Policy) -> None:
    made, way, _ = await a_policy(policy)
    with pytest.raises(ResourceConflict, match='the route "chat"'):
        await policy.resources.remove(ADA, ResourceKind.CREDENTIAL, made.id, expected=1)
    money = await policy.resources.create(ADA, budget())
    await policy.resources.create(ADA, grant("capped", budgets=(money.id,)))
    with pytest.raises(ResourceConflict, match='the grant "capped"'):
        await policy.resources.remove(ADA, ResourceKind.BUDGET, money.id, expected=1)
    await policy.resources.remove(ADA, ResourceKind.ROUTE, way.id, expected=1)
    await policy.resources.remove(ADA, ResourceKind.CREDENTIAL, made.id, expected=1)


async def test_a_key_in_the_place_of_anything_is_refused_and_not_kept(
    policy: Policy, database: Database
) -> None:
    secret = "sk-proj-" + "aB3" * 20
    made = await policy.resources.create(ADA, credential())
    for content in (
        credential(reference=secret),
        credential(name=secret[:64]),
        route(made.id, targets=(TargetContent(credential_id=made.id, model=secret),)),
        trust_rule(claims={"sub": secret}),
    ):
        with pytest.raises(SecretInRequest) as caught:
            await policy.resources.create(ADA, content)
        assert secret not in str(caught.value)
    assert len(await entries(database)) == 1


async def test_a_reference_has_one_text(policy: Policy) -> None:
    made = await policy.resources.create(ADA, credential(reference="vault://secret/a%62c#key"))
    assert made.content == credential(reference="vault://secret/abc#key")


async def test_an_owner_who_left_does_not_keep_others_from_changing_the_rest(
    policy: Policy, around: Around
) -> None:
    made = await policy.resources.create(ADA, credential(owner=BOB.name))
    around.principals.discard(BOB.name)
    await policy.resources.update(
        ADA, made.id, replaced(made.content, maximum_age_seconds=5), expected=1
    )


async def test_the_draft_says_how_each_thing_stands(policy: Policy) -> None:
    made, _, _ = await a_policy(policy)
    assert made.draft_state is DraftState.NEW
    await publish(policy)
    original = made.content
    changed = await policy.resources.update(
        ADA, made.id, replaced(original, maximum_age_seconds=5), expected=1
    )
    assert changed.draft_state is DraftState.CHANGED
    back = await policy.resources.update(ADA, made.id, original, expected=2)
    assert back.draft_state is DraftState.PUBLISHED


async def test_settings_are_one_thing(policy: Policy) -> None:
    assert (await policy.resources.settings(ADA)).version == 0
    said = await policy.resources.set_settings(
        ADA, SettingsContent(serve_when_spool_full=True), expected=0
    )
    assert said.version == 1
    with pytest.raises(VersionChanged):
        await policy.resources.set_settings(ADA, SettingsContent(), expected=0)
    assert (await policy.resources.settings(MALLORY)).content == SettingsContent()


async def test_lists_go_on_by_name(policy: Policy) -> None:
    for name in ("c", "a", "b"):
        await policy.resources.create(ADA, credential(name))
    first = await policy.resources.page(ADA, ResourceKind.CREDENTIAL, PageRequest(limit=2))
    rest = await policy.resources.page(
        ADA, ResourceKind.CREDENTIAL, PageRequest(limit=2, cursor=first.next_cursor)
    )
    assert [thing.content.name for thing in (*first.items, *rest.items)] == ["a", "b", "c"]
    named = await policy.resources.page(ADA, ResourceKind.CREDENTIAL, PageRequest(), name="b")
    assert [thing.content.name for thing in named.items] == ["b"]
