"""Revoke leases and credentials: at once, and without publishing the draft.

Protects: a revocation is part of every gateway group's next bundle, which is made as soon as it has
    committed. Lifting one allows more than before and waits for a second principal, where the
    organization asks for that.
Does not protect: calls that a gateway has let pass already; and gateways out of reach, until the
    bundle they have expires.
"""

from __future__ import annotations

from uuid import UUID

from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import RevocationKind
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import Mistake, PrincipalInvalid, ResourceConflict
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository, revocation_rows
from keylease.platform.policy.bundle_inputs import BundleInputs
from keylease.platform.policy.publications import Proposal
from keylease.platform.policy.publishing import PolicyPublisher
from keylease.platform.policy.revocation_rows import StoredRevocation
from keylease.platform.policy.service import invalid


class Revocations:
    """What is dead before its time."""

    def __init__(
        self, database: Database, *, publisher: PolicyPublisher, inputs: BundleInputs
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._inputs = inputs

    async def revoke(
        self, caller: Caller, kind: RevocationKind, value: str = "", *, reason: str = ""
    ) -> StoredRevocation:
        """Revoke; in force on connected gateways within a second of the commit."""
        async with self._database.transaction(caller) as tx:
            if (before := await tx.created_before("revocation")) is not None:
                return await revocation_rows.find(tx, before)
            made = await self.revoke_in(tx, kind, value, reason=reason)
            await tx.created("revocation", made.id)
            return made

    async def revoke_in(
        self, tx: Transaction, kind: RevocationKind, value: str = "", *, reason: str = ""
    ) -> StoredRevocation:
        """As ``revoke``, as part of another domain's change: offboarding, an incident."""
        await _check(tx, kind, value)
        made = StoredRevocation(
            id=tx.new_id(),
            kind=kind,
            object=value,
            at=tx.now,
            made_by=tx.caller.name,
            reason=reason,
        )
        await revocation_rows.add(tx, made)
        await tx.record(
            AuditAction.REVOCATION_MADE,
            made.id,
            details={"kind": kind.value, "object": value},
        )
        await self._inputs.bundle_inputs_changed(tx, tx.caller.organization_id)
        return made

    async def page(
        self, caller: Caller, request: PageRequest, *, in_force: bool | None = None
    ) -> Page[StoredRevocation]:
        """Revocations, the newest first."""
        async with self._database.reading(caller) as tx:
            return await revocation_rows.page(tx, request, in_force=in_force)

    async def get(self, caller: Caller, revocation_id: str) -> StoredRevocation:
        """One revocation."""
        async with self._database.reading(caller) as tx:
            return await revocation_rows.find(tx, revocation_id)

    async def lift(self, caller: Caller, revocation_id: str) -> StoredRevocation | Proposal:
        """End a revocation, or propose to. Raises ``ResourceConflict`` when it is not in force."""
        async with self._database.transaction(caller) as tx:
            await repository.lock_state(tx, caller.organization_id)
            found = await revocation_rows.find(tx, revocation_id)
            if found.lifted_at is not None:
                raise ResourceConflict("The revocation is lifted already.")
            proposal = await self._publisher.propose_lifting(tx, revocation_id)
            if proposal is not None:
                return proposal
            await revocation_rows.lift(tx, revocation_id)
            await tx.record(AuditAction.REVOCATION_LIFTED, revocation_id)
            await self._inputs.bundle_inputs_changed(tx, caller.organization_id)
            return await revocation_rows.find(tx, revocation_id)


async def _check(tx: Transaction, kind: RevocationKind, value: str) -> None:
    problem = ""
    match kind:
        case RevocationKind.ALL:
            problem = "Everything has no value." if value else ""
        case RevocationKind.LEASE | RevocationKind.ADMISSION:
            problem = "" if _is_uuid(value) else "A UUID is expected."
        case RevocationKind.PRINCIPAL:
            problem = "" if _can_hold_leases(value) else "A principal is expected: user:ID, ..."
        case RevocationKind.CREDENTIAL:
            if not _is_uuid(value) or not await revocation_rows.credential_was_known(tx, value):
                problem = "There is no such credential."
    if problem:
        raise invalid([Mistake(location="object", message=problem)], base="body")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _can_hold_leases(text: str) -> bool:
    try:
        return Principal.parse(text).kind is not PrincipalKind.GATEWAY
    except PrincipalInvalid:
        return False
