"""What a principal owns and holds in the policy, for when they leave."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import RevocationKind
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository
from keylease.platform.policy.resources import CredentialContent, GrantContent, ResourceKind
from keylease.platform.policy.revocations import Revocations


class HeldThing(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a principal owns, or is named in."""

    kind: ResourceKind
    object_id: str
    name: str


class PolicyOfPeople:
    """Used by offboarding, inside its own transaction."""

    def __init__(self, *, revocations: Revocations) -> None:
        self._revocations = revocations

    async def owned(self, tx: Transaction, principal: str) -> Sequence[HeldThing]:
        """Credentials whose owner the principal is."""
        found = await repository.known(tx, ResourceKind.CREDENTIAL)
        return [
            HeldThing(kind=ResourceKind.CREDENTIAL, object_id=name, name=content.name)
            for name, content in sorted(found.items())
            if isinstance(content, CredentialContent) and content.owner == principal
        ]

    async def granted(self, tx: Transaction, principal: str) -> Sequence[HeldThing]:
        """Policy grants that name the principal itself; patterns are for nobody in particular."""
        found = await repository.known(tx, ResourceKind.GRANT)
        return [
            HeldThing(kind=ResourceKind.GRANT, object_id=name, name=content.name)
            for name, content in sorted(found.items())
            if isinstance(content, GrantContent) and principal in content.principals
        ]

    async def hand_over(self, tx: Transaction, principal: str, *, to: str) -> int:
        """Make ``to`` the owner of what the principal owns, in the draft; gives how many."""
        state = await repository.lock_state(tx, tx.caller.organization_id)
        owned = await self.owned(tx, principal)
        for thing in owned:
            stored = await repository.find(tx, thing.kind, thing.object_id)
            content = stored.resource.content
            if not isinstance(content, CredentialContent):  # pragma: no cover - owned gives these
                continue
            content = msgspec.structs.replace(content, owner=to)
            published = await repository.published_document(tx, thing.object_id)
            await repository.change(
                tx,
                stored.resource,
                content,
                change="changed",
                draft_state=repository.draft_state(content, published),
            )
            await tx.record(
                AuditAction.CREDENTIAL_CHANGED, thing.object_id, details={"members": "owner"}
            )
        if owned:
            await repository.set_state(tx, tx.caller.organization_id, draft=state.draft + 1)
        return len(owned)

    async def revoke(self, tx: Transaction, principal: str) -> str:
        """Revoke every lease the principal holds now; gives the revocation's id."""
        made = await self._revocations.revoke_in(
            tx, RevocationKind.PRINCIPAL, principal, reason="offboarding"
        )
        return made.id
