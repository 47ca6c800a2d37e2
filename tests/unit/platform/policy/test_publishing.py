from __future__ import annotations

import msgspec
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.policy_kit import (
    ADA,
    BOB,
    EVE,
    MALLORY,
    Surroundings,
    a_policy,
    credential,
    entries,
    grant,
    publish,
    publish_or_propose,
    route,
)

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import RevocationKind
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    PermissionDenied,
    PolicyInvalid,
    ResourceConflict,
    ResourceNotFound,
    VersionChanged,
)
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.domain import Policy
from keylease.platform.policy.publications import PolicyVersion, Proposal, ProposalState
from keylease.platform.policy.publishing import PROPOSAL_LIFETIME
from keylease.platform.policy.resources import DraftState, Resource, ResourceKind


async def longer_leases(policy: Policy, right: Resource, seconds: int = 3600) -> Resource:
    return await policy.resources.update(
        ADA,
        right.id,
        msgspec.structs.replace(right.content, maximum_lease_seconds=seconds),
        expected=right.version,
    )


async def state_of(policy: Policy, proposal: Proposal) -> ProposalState:
    return (await policy.publisher.proposal(ADA, proposal.id)).state


async def proposed(policy: Policy) -> Proposal:
    result = await publish_or_propose(policy)
    assert isinstance(result, Proposal)
    return result


async def draft_number(policy: Policy) -> int:
    return (await policy.publisher.standing(ADA)).draft


async def test_the_draft_becomes_a_version(policy: Policy, database: Database) -> None:
    made, way, right = await a_policy(policy)
    version = await publish(policy)
    assert (version.version, version.changes, version.principal) == (1, 3, ADA.name)
    _, contents = await policy.publisher.version(ADA, 1)
    assert contents.credentials == {made.id: made.content}
    assert contents.routes == {way.id: way.content}
    assert contents.grants == {right.id: right.content}
    last = (await entries(database))[-1]
    assert (last.action, last.object) == (AuditAction.POLICY_PUBLISHED, "1")
    with pytest.raises(ResourceConflict, match="nothing to publish"):
        await publish(policy)


async def test_what_was_published_stays_as_it_was(policy: Policy) -> None:
    made, _, right = await a_policy(policy)
    await publish(policy)
    await longer_leases(policy, right)
    await policy.resources.create(ADA, credential("second"))
    await publish(policy)
    _, first = await policy.publisher.version(ADA, 1)
    _, second = await policy.publisher.version(ADA, 2)
    assert first.grants == {right.id: right.content}
    assert list(first.credentials) == [made.id]
    assert len(second.credentials) == 2
    listed = await policy.publisher.versions(ADA, PageRequest(limit=1))
    rest = await policy.publisher.versions(ADA, PageRequest(cursor=listed.next_cursor))
    assert [version.version for version in (*listed.items, *rest.items)] == [2, 1]
    with pytest.raises(ResourceNotFound):
        await policy.publisher.version(MALLORY, 1)
    with pytest.raises(ResourceNotFound):
        await policy.publisher.version(ADA, 3)


async def test_another_draft_than_the_one_that_was_read_is_not_published(policy: Policy) -> None:
    _, _, right = await a_policy(policy)
    number = await draft_number(policy)
    await longer_leases(policy, right)
    with pytest.raises(VersionChanged):
        await policy.publisher.publish(ADA, expected=number)


async def test_a_draft_with_mistakes_is_not_published(policy: Policy) -> None:
    production = await policy.resources.create(
        ADA, credential("main", purposes=(Purpose.PRODUCTION,))
    )
    evals = await policy.resources.create(
        ADA,
        credential("evals", purposes=(Purpose.EVAL,), reference="vault://secret/ai/main#key"),
    )
    await policy.resources.create(ADA, route(production.id))
    await policy.resources.create(ADA, route(evals.id, "evals"))
    with pytest.raises(PolicyInvalid) as caught:
        await publish(policy)
    assert [part.location for part in caught.value.mistakes] == ["credential.evals.reference"]
    found = await policy.publisher.check(ADA)
    assert [part.location for part in found.mistakes] == ["credential.evals.reference"]


async def test_what_is_there_in_vain_is_told(policy: Policy) -> None:
    await policy.resources.create(ADA, credential())
    await policy.resources.create(ADA, grant(models=("claude-*",)))
    found = await policy.publisher.check(ADA)
    assert not found.mistakes
    assert {part.location for part in found.warnings} == {
        "credential.openai",
        "policy_grant.developers.models",
    }


async def test_the_difference_names_members_and_what_is_wider(policy: Policy) -> None:
    made, _, right = await a_policy(policy)
    await publish(policy)
    await longer_leases(policy, right)
    await policy.resources.create(ADA, credential("second"))
    found = await policy.publisher.diff(ADA, before=1, after=None)
    told = [(change.change, change.name) for change in found.changes]
    assert told == [("added", "second"), ("changed", "developers")]
    (member,) = found.changes[1].members
    assert (member.member, member.before, member.after) == ("maximum_lease_seconds", 900, 3600)
    assert {widening.code for widening in found.widenings} == {"credential_added", "lease_longer"}
    back = await policy.publisher.diff(ADA, before=None, after=1)
    assert [change.change for change in back.changes] == ["removed", "changed"]
    assert not back.widenings
    from_nothing = await policy.publisher.diff(ADA, before=0, after=1)
    assert {change.object_id for change in from_nothing.changes} >= {made.id}


async def test_a_rollback_is_a_new_version_with_the_old_content(
    policy: Policy, database: Database
) -> None:
    made, way, right = await a_policy(policy)
    await publish(policy)
    # Removed, changed, added, and two that swap their names.
    second = await policy.resources.create(ADA, credential("second"))
    await publish(policy)
    await policy.resources.remove(ADA, ResourceKind.ROUTE, way.id, expected=1)
    await longer_leases(policy, right)
    for thing, name in ((made, "x"), (second, "openai"), (made, "second")):
        now = await policy.resources.get(ADA, ResourceKind.CREDENTIAL, thing.id)
        content = msgspec.structs.replace(now.content, name=name)
        await policy.resources.update(ADA, thing.id, content, expected=now.version)
    await policy.resources.create(ADA, grant("third"))
    await publish(policy)
    number = await draft_number(policy)
    back = await policy.publisher.roll_back(ADA, to=2, expected=number, note="oops")
    assert isinstance(back, PolicyVersion)
    assert (back.version, back.rolled_back_to) == (4, 2)
    assert (await policy.publisher.version(ADA, 4))[1] == (await policy.publisher.version(ADA, 2))[
        1
    ]
    assert (await policy.publisher.standing(ADA)).changes == 0
    assert (await entries(database))[-1].action is AuditAction.POLICY_ROLLED_BACK
    history = await policy.resources.history(ADA, ResourceKind.ROUTE, way.id, PageRequest())
    assert [line.change for line in history.items] == ["rolled_back", "removed", "added"]


async def test_a_rollback_does_not_lose_a_draft_unasked(policy: Policy) -> None:
    _, _, right = await a_policy(policy)
    await publish(policy)
    await longer_leases(policy, right)
    await publish(policy)
    await policy.resources.create(ADA, credential("second"))
    number = await draft_number(policy)
    with pytest.raises(ResourceConflict):
        await policy.publisher.roll_back(ADA, to=1, expected=number)
    await policy.publisher.roll_back(ADA, to=1, expected=number, discard=True)
    assert (await policy.publisher.version(ADA, 3))[1] == (await policy.publisher.version(ADA, 1))[
        1
    ]


async def test_a_draft_is_discarded(policy: Policy, database: Database) -> None:
    made, way, right = await a_policy(policy)
    await publish(policy)
    await longer_leases(policy, right)
    await policy.resources.remove(ADA, ResourceKind.ROUTE, way.id, expected=1)
    added = await policy.resources.create(ADA, credential("second"))
    assert await policy.publisher.discard(ADA, expected=await draft_number(policy)) == 3
    standing = await policy.publisher.standing(ADA)
    assert standing.changes == 0
    assert (await policy.resources.get(ADA, ResourceKind.ROUTE, way.id)).content == way.content
    with pytest.raises(ResourceNotFound):
        await policy.resources.get(ADA, ResourceKind.CREDENTIAL, added.id)
    assert (await entries(database))[-1].action is AuditAction.POLICY_DRAFT_DISCARDED
    again = await policy.resources.get(ADA, ResourceKind.CREDENTIAL, made.id)
    assert again.draft_state is DraftState.PUBLISHED


# --- a second principal ------------------------------------------------------------------------


async def test_what_widens_waits_for_somebody_else(
    policy: Policy, around: Surroundings, database: Database
) -> None:
    around.second_approver = True
    await a_policy(policy)
    proposal = await proposed(policy)
    assert {widening.code for widening in proposal.widenings} == {
        "credential_added",
        "route_added",
        "grant_added",
    }
    assert [waiting.id for waiting in (await policy.publisher.standing(ADA)).proposals] == [
        proposal.id
    ]
    with pytest.raises(ResourceNotFound):
        await policy.publisher.version(ADA, 1)
    version = await policy.publisher.approve(BOB, proposal.id)
    assert isinstance(version, PolicyVersion)
    assert (version.principal, version.approved_by) == (ADA.name, BOB.name)
    actions = [entry.action for entry in await entries(database)][-3:]
    assert actions == [
        AuditAction.POLICY_PROPOSAL_MADE,
        AuditAction.POLICY_PROPOSAL_APPROVED,
        AuditAction.POLICY_PUBLISHED,
    ]
    with pytest.raises(ResourceConflict):
        await policy.publisher.approve(EVE, proposal.id)


async def test_nobody_approves_what_they_have_a_part_in(
    policy: Policy, around: Surroundings
) -> None:
    around.second_approver = True
    await a_policy(policy)  # Ada makes the changes
    proposal = await publish_or_propose(policy, BOB)  # Bob proposes them
    assert isinstance(proposal, Proposal)
    for caller in (ADA, BOB):
        with pytest.raises(PermissionDenied):
            await policy.publisher.approve(caller, proposal.id)
    robot = msgspec.structs.replace(
        EVE, principal=Principal(kind=PrincipalKind.SERVICE_ACCOUNT, id=EVE.name[5:])
    )
    by_key = msgspec.structs.replace(EVE, api_key_id="018f0000-0000-7000-8000-0000000000cc")
    for caller in (robot, by_key):
        with pytest.raises(PermissionDenied):
            await policy.publisher.approve(caller, proposal.id)
    with pytest.raises(ResourceNotFound):
        await policy.publisher.approve(MALLORY, proposal.id)
    assert isinstance(await policy.publisher.approve(EVE, proposal.id), PolicyVersion)


async def test_what_narrows_needs_nobody_else(policy: Policy, around: Surroundings) -> None:
    _, _, right = await a_policy(policy)
    await publish(policy)
    around.second_approver = True
    await longer_leases(policy, right, 60)
    assert (await publish(policy)).version == 2


async def test_a_changed_draft_overtakes_its_proposal(
    policy: Policy, around: Surroundings, database: Database
) -> None:
    around.second_approver = True
    _, _, right = await a_policy(policy)
    proposal = await proposed(policy)
    with pytest.raises(ResourceConflict, match="proposed already"):
        await publish_or_propose(policy)
    await longer_leases(policy, right, 86_400)
    with pytest.raises(ResourceConflict):
        await policy.publisher.approve(BOB, proposal.id)
    assert await state_of(policy, proposal) is ProposalState.OVERTAKEN
    assert (await entries(database))[-1].action is AuditAction.POLICY_PROPOSAL_OVERTAKEN


async def test_a_proposal_expires(
    policy: Policy, around: Surroundings, clock: ManualClock, database: Database
) -> None:
    around.second_approver = True
    await a_policy(policy)
    proposal = await proposed(policy)
    clock.advance(PROPOSAL_LIFETIME)
    with pytest.raises(ResourceConflict):
        await policy.publisher.approve(BOB, proposal.id)
    assert await state_of(policy, proposal) is ProposalState.EXPIRED
    assert (await entries(database))[-1].action is AuditAction.POLICY_PROPOSAL_EXPIRED
    await proposed(policy)  # and can be made again


async def test_a_proposal_is_refused_or_withdrawn(
    policy: Policy, around: Surroundings, database: Database
) -> None:
    around.second_approver = True
    await a_policy(policy)
    first = await proposed(policy)
    with pytest.raises(PermissionDenied):
        await policy.publisher.withdraw(BOB, first.id)
    await policy.publisher.withdraw(ADA, first.id)
    second = await proposed(policy)
    await policy.publisher.refuse(BOB, second.id)
    assert await state_of(policy, first) is ProposalState.WITHDRAWN
    assert await state_of(policy, second) is ProposalState.REFUSED
    refused = await policy.publisher.proposals(ADA, PageRequest(), state=ProposalState.REFUSED)
    assert [found.id for found in refused.items] == [second.id]
    actions = {entry.action for entry in await entries(database)}
    assert actions >= {AuditAction.POLICY_PROPOSAL_REFUSED, AuditAction.POLICY_PROPOSAL_WITHDRAWN}


async def test_a_rollback_that_widens_waits_too(policy: Policy, around: Surroundings) -> None:
    _, _, right = await a_policy(policy)
    await publish(policy)
    await longer_leases(policy, right, 60)
    await publish(policy)
    around.second_approver = True
    number = await draft_number(policy)
    proposal = await policy.publisher.roll_back(ADA, to=1, expected=number)
    assert isinstance(proposal, Proposal)
    version = await policy.publisher.approve(BOB, proposal.id)
    assert isinstance(version, PolicyVersion)
    assert version.rolled_back_to == 1


async def test_who_discarded_a_change_had_no_part_in_the_next(
    policy: Policy, around: Surroundings
) -> None:
    around.second_approver = True
    made = await policy.resources.create(BOB, credential())
    await policy.publisher.discard(BOB, expected=await draft_number(policy))
    del made
    await a_policy(policy)
    proposal = await proposed(policy)
    assert BOB.name not in proposal.authors
    await policy.publisher.approve(BOB, proposal.id)


async def test_lifting_a_revocation_widens(
    policy: Policy, around: Surroundings, database: Database
) -> None:
    made, _, _ = await a_policy(policy)
    revoked = await policy.revocations.revoke(ADA, RevocationKind.CREDENTIAL, made.id)
    around.second_approver = True
    proposal = await policy.revocations.lift(ADA, revoked.id)
    assert isinstance(proposal, Proposal)
    with pytest.raises(ResourceConflict):
        await policy.revocations.lift(ADA, revoked.id)
    with pytest.raises(PermissionDenied):
        await policy.publisher.approve(ADA, proposal.id)
    assert (await policy.revocations.get(ADA, revoked.id)).lifted_at is None
    await policy.publisher.approve(BOB, proposal.id)
    lifted = await policy.revocations.get(ADA, revoked.id)
    assert (lifted.lifted_at is not None, lifted.lifted_by) == (True, BOB.name)
    assert (await entries(database))[-1].action is AuditAction.REVOCATION_LIFTED


async def test_a_proposal_ends_at_its_time_without_anybody_looking(
    policy: Policy, around: Surroundings, database: Database, clock: ManualClock
) -> None:
    around.second_approver = True
    await a_policy(policy)
    proposal = await proposed(policy)
    await policy.expiry.end_expired()
    assert (await entries(database))[-1].action is AuditAction.POLICY_PROPOSAL_MADE
    clock.advance(PROPOSAL_LIFETIME)
    await policy.expiry.end_expired()
    await policy.expiry.end_expired()
    ended = [e for e in await entries(database) if e.action is AuditAction.POLICY_PROPOSAL_EXPIRED]
    assert [entry.object for entry in ended] == [proposal.id]
