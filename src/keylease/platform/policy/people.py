"""What a principal owns and holds in the policy, for when they leave."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import RevocationKind
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository
from keylease.platform.policy.resources import (
    CredentialContent,
    GrantContent,
    ResourceKind,
)
from keylease.platform.policy.revocations import Revocations


class PolicyHoldings:
    """``HoldingSource``: credentials change their owner, leases die, grants are taken back.

    Credentials and grants change in the draft, as everything does; that nobody can use a lease of
    the principal any more holds at once.
    """

    def __init__(self, *, revocations: Revocations) -> None:
        self._revocations = revocations

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """Credentials whose owner the principal is, and grants that name it, not by a pattern."""
        credentials = await repository.known(tx, ResourceKind.CREDENTIAL)
        grants = await repository.known(tx, ResourceKind.GRANT)
        return [
            *(
                Holding(kind="credential", id=name, label=found.name, outcome=Outcome.HANDED_OVER)
                for name, found in sorted(credentials.items())
                if isinstance(found, CredentialContent) and found.owner == principal
            ),
            *(
                Holding(kind="policy_grant", id=name, label=found.name, outcome=Outcome.REVOKED)
                for name, found in sorted(grants.items())
                if isinstance(found, GrantContent) and principal in found.principals
            ),
        ]

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Do it, with an audit entry of each."""
        state = await repository.lock_state(tx, tx.caller.organization_id)
        held = await self.held(tx, principal)
        for holding in held:
            if holding.outcome is Outcome.HANDED_OVER:
                await _hand_over(tx, holding.id, to=to)
            else:
                await _take_back(tx, holding.id, principal)
        if held:
            await repository.set_state(tx, tx.caller.organization_id, draft=state.draft + 1)
        await self._revocations.revoke_in(
            tx, RevocationKind.PRINCIPAL, principal, reason="offboarding"
        )
        return [
            *held,
            Holding(kind="leases", id=principal, outcome=Outcome.REVOKED),
        ]


async def _hand_over(tx: Transaction, credential_id: str, *, to: str) -> None:
    stored = await repository.find(tx, ResourceKind.CREDENTIAL, credential_id)
    content = stored.resource.content
    if isinstance(content, CredentialContent):
        content = msgspec.structs.replace(content, owner=to)
        await _write(tx, stored, content)
        await tx.record(AuditAction.CREDENTIAL_CHANGED, credential_id, details={"members": "owner"})


async def _take_back(tx: Transaction, grant_id: str, principal: str) -> None:
    stored = await repository.find(tx, ResourceKind.GRANT, grant_id)
    content = stored.resource.content
    if not isinstance(content, GrantContent):  # pragma: no cover - held gives grants only
        return
    left = tuple(pattern for pattern in content.principals if pattern != principal)
    if left:
        await _write(tx, stored, msgspec.structs.replace(content, principals=left))
        await tx.record(
            AuditAction.POLICY_GRANT_CHANGED, grant_id, details={"members": "principals"}
        )
    else:
        await _write(tx, stored, None)
        await tx.record(AuditAction.POLICY_GRANT_REMOVED, grant_id)


async def _write(
    tx: Transaction, stored: repository.Stored, content: CredentialContent | GrantContent | None
) -> None:
    published = await repository.published_document(tx, stored.resource.id)
    await repository.change(
        tx,
        stored.resource,
        content,
        change="changed" if content is not None else "removed",
        draft_state=repository.draft_state(content, published),
    )
