"""From the draft to the next version, with a second principal where access gets wider.

Protects: what is published is the very draft that was looked at (its number is part of the
    request) and has no mistake; where the organization asks for it, whatever allows more than
    before waits for a user who has neither proposed it nor made any of its changes, and was shown
    no API key of a service account that did.
Does not protect: two users who agree. And one person who is two users to the organization.
Limits: a proposal waits three days. One draft: a change of it overtakes what was proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import PrincipalKind
from keylease.errors import PermissionDenied, PolicyInvalid, ResourceConflict, VersionChanged
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import publications, repository, revocation_rows
from keylease.platform.policy.bundle_inputs import BundleInputs
from keylease.platform.policy.changes import PolicyCheck, PolicyDiff, check, diff
from keylease.platform.policy.groups import groups_named
from keylease.platform.policy.interfaces import ApiKeyUses, Organizations
from keylease.platform.policy.publications import (
    PolicyVersion,
    Proposal,
    ProposalKind,
    ProposalState,
)
from keylease.platform.policy.resources import PolicyContents
from keylease.platform.policy.widening import Widening, widenings
from keylease.primitives.clock import MICROSECONDS

PROPOSAL_LIFETIME: Final = 3 * 24 * 60 * 60
"""Seconds."""
_WIDENINGS_KEPT: Final = 200
_CODES_IN_AUDIT: Final = 20


class PolicyStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where the policy stands."""

    published: PolicyVersion | None
    draft: int
    changes: int
    """Things that differ from the published version."""
    widenings: tuple[Widening, ...]
    second_approver: bool
    proposals: tuple[Proposal, ...]
    """Those that are pending."""


class PolicyPublisher:
    """Publishes, rolls back, and lets a second principal decide."""

    def __init__(
        self,
        database: Database,
        *,
        organizations: Organizations,
        api_keys: ApiKeyUses,
        inputs: BundleInputs,
    ) -> None:
        self._database = database
        self._organizations = organizations
        self._api_keys = api_keys
        self._inputs = inputs

    # --- looking -------------------------------------------------------------------------------

    async def standing(self, caller: Caller) -> PolicyStanding:
        """What is published, what the draft changes, what waits."""
        await self.settle(caller.organization_id)
        async with self._database.reading(caller) as tx:
            state = await repository.read_state(tx, caller.organization_id)
            number = state.published
            before = await repository.published_contents(tx, caller.organization_id, number)
            after = await repository.draft_contents(tx, caller.organization_id)
            return PolicyStanding(
                published=await publications.find_version(tx, number) if number else None,
                draft=state.draft,
                changes=len(await repository.unsettled(tx)),
                widenings=tuple(widenings(before, after)),
                second_approver=await self._organizations.needs_second_approver(
                    tx, caller.organization_id
                ),
                proposals=tuple(await publications.pending(tx)),
            )

    async def published_number(self, caller: Caller) -> int:
        """The version in force; 0 before anything was published."""
        async with self._database.reading(caller) as tx:
            return (await repository.read_state(tx, caller.organization_id)).published

    async def versions(self, caller: Caller, request: PageRequest) -> Page[PolicyVersion]:
        """What was published, the newest first."""
        async with self._database.reading(caller) as tx:
            return await publications.versions(tx, request)

    async def version(self, caller: Caller, number: int) -> tuple[PolicyVersion, PolicyContents]:
        """A published version, with everything in it."""
        async with self._database.reading(caller) as tx:
            found = await publications.find_version(tx, number)
            return found, await repository.published_contents(tx, caller.organization_id, number)

    async def diff(self, caller: Caller, *, before: int | None, after: int | None) -> PolicyDiff:
        """What differs between two versions; ``None`` is the draft, 0 is nothing at all."""
        async with self._database.reading(caller) as tx:
            return diff(await _contents(tx, before), await _contents(tx, after))

    async def check(self, caller: Caller) -> PolicyCheck:
        """What is wrong with the draft."""
        async with self._database.reading(caller) as tx:
            return await self._checked(tx)

    async def proposals(
        self, caller: Caller, request: PageRequest, *, state: ProposalState | None = None
    ) -> Page[Proposal]:
        """What waits, or waited, for a second principal; the newest first."""
        await self.settle(caller.organization_id)
        async with self._database.reading(caller) as tx:
            return await publications.proposals(tx, request, state=state)

    async def proposal(self, caller: Caller, proposal_id: str) -> Proposal:
        """One proposal."""
        await self.settle(caller.organization_id)
        async with self._database.reading(caller) as tx:
            return await publications.find_proposal(tx, proposal_id)

    # --- changing ------------------------------------------------------------------------------

    async def publish(
        self, caller: Caller, *, expected: int, note: str = ""
    ) -> PolicyVersion | Proposal:
        """Publish the draft with the number ``expected``, or propose it where that is needed.

        Raises ``PolicyInvalid`` with every mistake, and ``ResourceConflict`` when there is nothing
        to publish.
        """
        await self.settle(caller.organization_id)
        async with self._database.transaction(caller) as tx:
            await _lock(tx, expected)
            return await self._publish_or_propose(tx, note=note)

    async def roll_back(
        self, caller: Caller, *, to: int, expected: int, note: str = "", discard: bool = False
    ) -> PolicyVersion | Proposal:
        """Publish the content of an earlier version again, as a new version.

        ``discard`` gives up what is in the draft; without it, a draft with changes is refused.
        """
        await self.settle(caller.organization_id)
        async with self._database.transaction(caller) as tx:
            state = await _lock(tx, expected)
            await publications.find_version(tx, to)
            if not discard and await repository.unsettled(tx):
                raise ResourceConflict(
                    "The draft has changes that are not published.",
                    advice="Publish or discard them first, or say that they may be discarded.",
                )
            target = await repository.published_contents(tx, caller.organization_id, to)
            await repository.bring_to(tx, target, change_word="rolled_back")
            await repository.set_state(tx, caller.organization_id, draft=state.draft + 1)
            return await self._publish_or_propose(tx, note=note, rolled_back_to=to)

    async def discard(self, caller: Caller, *, expected: int) -> int:
        """Make the draft what is published; gives how many things that changed."""
        async with self._database.transaction(caller) as tx:
            state = await _lock(tx, expected)
            target = await repository.published_contents(
                tx, caller.organization_id, state.published
            )
            count = await repository.bring_to(tx, target, change_word="discarded", settle_them=True)
            if count:
                await repository.set_state(tx, caller.organization_id, draft=state.draft + 1)
                await tx.record(
                    AuditAction.POLICY_DRAFT_DISCARDED,
                    str(state.draft),
                    details={"changes": str(count)},
                )
        await self.settle(caller.organization_id)
        return count

    async def approve(self, caller: Caller, proposal_id: str) -> PolicyVersion | Proposal:
        """Decide for it; gives the version that was published, or the lifting that was approved.

        Raises ``PermissionDenied`` for whoever has a part in it, and ``ResourceConflict`` when it
        does not wait any more.
        """
        await self.settle(caller.organization_id)
        async with self._database.transaction(caller) as tx:
            state = await repository.lock_state(tx, caller.organization_id)
            proposal = await _pending(tx, proposal_id)
            hands = await self._hands_behind(tx, proposal)
            _check_second(caller, proposal, hands)
            if proposal.kind is ProposalKind.PUBLICATION and proposal.draft != state.draft:
                raise ResourceConflict("The draft was changed after it was proposed.")
            await publications.decide(tx, proposal.id, ProposalState.APPROVED)
            await tx.record(
                AuditAction.POLICY_PROPOSAL_APPROVED,
                proposal.id,
                details={"requested_by": proposal.requested_by},
            )
            if proposal.kind is ProposalKind.LIFTING:
                await revocation_rows.lift(tx, proposal.subject)
                await tx.record(AuditAction.REVOCATION_LIFTED, proposal.subject)
                await self._inputs.bundle_inputs_changed(tx, caller.organization_id)
                return await publications.find_proposal(tx, proposal.id)
            await self._refuse_mistakes(tx)
            return await self._publish(
                tx,
                state,
                note=proposal.note,
                rolled_back_to=publications.number_of(proposal.subject),
                requested_by=proposal.requested_by,
            )

    async def refuse(self, caller: Caller, proposal_id: str) -> Proposal:
        """Decide against it. The draft stays as it is."""
        return await self._decide(
            caller, proposal_id, ProposalState.REFUSED, AuditAction.POLICY_PROPOSAL_REFUSED, None
        )

    async def withdraw(self, caller: Caller, proposal_id: str) -> Proposal:
        """Take one's own proposal back."""

        def own(proposal: Proposal) -> None:
            if proposal.requested_by != caller.name:
                raise PermissionDenied(
                    "Only who has made a proposal withdraws it.", advice="Refuse it instead."
                )

        return await self._decide(
            caller,
            proposal_id,
            ProposalState.WITHDRAWN,
            AuditAction.POLICY_PROPOSAL_WITHDRAWN,
            own,
        )

    async def propose_lifting(self, tx: Transaction, revocation_id: str) -> Proposal | None:
        """A proposal to lift a revocation, where the organization asks for one; else ``None``."""
        organization_id = tx.caller.organization_id
        if not await self._organizations.needs_second_approver(tx, organization_id):
            return None
        for waiting in await publications.pending(tx):
            if waiting.kind is ProposalKind.LIFTING and waiting.subject == revocation_id:
                raise ResourceConflict("Its lifting is proposed already.")
        return await self._propose(
            tx,
            Proposal(
                id=tx.new_id(),
                kind=ProposalKind.LIFTING,
                subject=revocation_id,
                authors=(tx.caller.name,),
                requested_by=tx.caller.name,
                requested_at=tx.now,
                expires_at=tx.now + PROPOSAL_LIFETIME * MICROSECONDS,
            ),
        )

    # --- steps ---------------------------------------------------------------------------------

    async def _hands_behind(self, tx: Transaction, proposal: Proposal) -> frozenset[str]:
        """Who could have been its authors: whoever has the key of a service account acts as it."""
        hands = frozenset(proposal.authors)
        for author in proposal.authors:
            if author.startswith(f"{PrincipalKind.SERVICE_ACCOUNT}:"):
                hands |= await self._api_keys.hands_behind(tx, tx.caller.organization_id, author)
        return hands

    async def _publish_or_propose(
        self, tx: Transaction, *, note: str, rolled_back_to: int = 0
    ) -> PolicyVersion | Proposal:
        organization_id = tx.caller.organization_id
        state = await repository.read_state(tx, organization_id)
        # 1. There is something to publish, and nothing is wrong with it.
        things = await repository.unsettled(tx)
        if not things:
            raise ResourceConflict("There is nothing to publish: the draft is what is published.")
        await self._refuse_mistakes(tx)
        # 2. Whether it allows more than before, and somebody else has to agree.
        before = await repository.published_contents(tx, organization_id, state.published)
        wider = widenings(before, await repository.draft_contents(tx, organization_id))
        if not wider or not await self._organizations.needs_second_approver(tx, organization_id):
            return await self._publish(tx, state, note=note, rolled_back_to=rolled_back_to)
        # 3. One proposal waits for one draft.
        for waiting in await publications.pending(tx):
            if waiting.kind is ProposalKind.PUBLICATION:
                raise ResourceConflict(
                    "This draft is proposed already, and waits for a second principal.",
                    advice=f"`keylease policy approve {waiting.id}`, by somebody else.",
                )
        authors = await repository.authors(tx, things) | {tx.caller.name}
        return await self._propose(
            tx,
            Proposal(
                id=tx.new_id(),
                kind=ProposalKind.PUBLICATION,
                subject=str(rolled_back_to) if rolled_back_to else "",
                draft=state.draft,
                note=note,
                widenings=tuple(wider[:_WIDENINGS_KEPT]),
                authors=tuple(sorted(authors)),
                requested_by=tx.caller.name,
                requested_at=tx.now,
                expires_at=tx.now + PROPOSAL_LIFETIME * MICROSECONDS,
            ),
        )

    async def _propose(self, tx: Transaction, proposal: Proposal) -> Proposal:
        await publications.add_proposal(tx, proposal)
        await tx.record(
            AuditAction.POLICY_PROPOSAL_MADE,
            proposal.id,
            details={
                "kind": proposal.kind.value,
                "draft": str(proposal.draft),
                "subject": proposal.subject,
                "wider": _codes(proposal.widenings),
            },
        )
        return proposal

    async def _publish(
        self,
        tx: Transaction,
        state: repository.PolicyState,
        *,
        note: str,
        rolled_back_to: int = 0,
        requested_by: str = "",
    ) -> PolicyVersion:
        organization_id = tx.caller.organization_id
        things = await repository.unsettled(tx)
        before = await repository.published_contents(tx, organization_id, state.published)
        wider = widenings(before, await repository.draft_contents(tx, organization_id))
        version = PolicyVersion(
            version=state.published + 1,
            at=tx.now,
            principal=requested_by or tx.caller.name,
            approved_by=tx.caller.name if requested_by else "",
            note=note,
            rolled_back_to=rolled_back_to,
            changes=len(things),
            widenings=tuple(wider[:_WIDENINGS_KEPT]),
        )
        await repository.publish(tx, things, version=version.version)
        await publications.add_version(tx, version)
        # The draft's number goes on too: what was proposed of it is overtaken.
        await repository.set_state(
            tx, organization_id, published=version.version, draft=state.draft + 1
        )
        await self._inputs.bundle_inputs_changed(tx, organization_id)
        details = {
            "draft": str(state.draft),
            "changes": str(len(things)),
            "wider": _codes(version.widenings),
            "requested_by": version.principal,
        }
        if rolled_back_to:
            details["to"] = str(rolled_back_to)
        action = AuditAction.POLICY_ROLLED_BACK if rolled_back_to else AuditAction.POLICY_PUBLISHED
        await tx.record(action, str(version.version), details=details)
        return version

    async def _refuse_mistakes(self, tx: Transaction) -> None:
        found = await self._checked(tx)
        if found.mistakes:
            raise PolicyInvalid(
                "The draft has mistakes; nothing was published.",
                mistakes=found.mistakes,
                advice="`errors` says where each is.",
            )

    async def _checked(self, tx: Transaction) -> PolicyCheck:
        organization_id = tx.caller.organization_id
        contents = await repository.draft_contents(tx, organization_id)
        groups = await groups_named(tx, contents, self._organizations)
        return check(contents, organization_id=organization_id, groups=groups)

    async def _decide(
        self,
        caller: Caller,
        proposal_id: str,
        state: ProposalState,
        action: AuditAction,
        check_it: Callable[[Proposal], None] | None,
    ) -> Proposal:
        await self.settle(caller.organization_id)
        async with self._database.transaction(caller) as tx:
            await repository.lock_state(tx, caller.organization_id)
            proposal = await _pending(tx, proposal_id)
            if check_it is not None:
                check_it(proposal)
            await publications.decide(tx, proposal.id, state)
            await tx.record(action, proposal.id)
            return await publications.find_proposal(tx, proposal.id)

    async def settle(self, organization_id: str) -> None:
        """Write down which proposals cannot be decided any more; in a commit of its own."""
        itself = platform_itself(organization_id)
        async with self._database.reading(itself) as tx:
            if not await publications.pending(tx):
                return
        async with self._database.transaction(itself) as tx:
            state = await repository.lock_state(tx, organization_id)
            for proposal in await publications.pending(tx):
                publication = proposal.kind is ProposalKind.PUBLICATION
                if proposal.expires_at <= tx.now:
                    await publications.decide(tx, proposal.id, ProposalState.EXPIRED)
                    await tx.record(AuditAction.POLICY_PROPOSAL_EXPIRED, proposal.id)
                elif publication and proposal.draft != state.draft:
                    await publications.decide(tx, proposal.id, ProposalState.OVERTAKEN)
                    await tx.record(AuditAction.POLICY_PROPOSAL_OVERTAKEN, proposal.id)


async def _lock(tx: Transaction, expected: int) -> repository.PolicyState:
    state = await repository.lock_state(tx, tx.caller.organization_id)
    if state.draft != expected:
        raise VersionChanged(
            f"The draft is at {state.draft} now; the request is about {expected}.",
            advice="Look at the difference again and repeat the request.",
        )
    return state


async def _contents(tx: Transaction, version: int | None) -> PolicyContents:
    organization_id = tx.caller.organization_id
    if version is None:
        return await repository.draft_contents(tx, organization_id)
    if version:
        await publications.find_version(tx, version)
    return await repository.published_contents(tx, organization_id, version)


async def _pending(tx: Transaction, proposal_id: str) -> Proposal:
    proposal = await publications.find_proposal(tx, proposal_id)
    if proposal.state is ProposalState.PENDING and proposal.expires_at <= tx.now:
        raise ResourceConflict("The proposal has expired.", advice="Publish the draft again.")
    if proposal.state is not ProposalState.PENDING:
        raise ResourceConflict(f"The proposal does not wait any more: it is {proposal.state}.")
    return proposal


def _check_second(caller: Caller, proposal: Proposal, hands: frozenset[str]) -> None:
    # A service account or an API key could belong to whoever proposed it.
    principal = caller.principal
    if principal is None or principal.kind is not PrincipalKind.USER or caller.api_key_id:
        raise PermissionDenied("Only a user who is signed in approves what widens access.")
    if caller.name in proposal.authors:
        raise PermissionDenied(
            "Who has proposed a change, or made a part of it, does not approve it.",
            advice="Ask somebody else who holds policy:approve.",
        )
    if caller.name in hands:
        raise PermissionDenied(
            "You were shown an API key of the service account that has proposed this, or made a "
            "part of it.",
            advice="Ask somebody who has never seen one; or let somebody else make its keys.",
        )


def _codes(found: tuple[Widening, ...]) -> str:
    codes = sorted({widening.code for widening in found})
    return ",".join(codes[:_CODES_IN_AUDIT])
