"""Stores revocations. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select, update

from keylease.contracts.policy import Revocation, RevocationKind
from keylease.errors import ResourceConflict, ResourceNotFound
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.policy.tables import OBJECTS, REVOCATIONS


class StoredRevocation(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation with who made and who lifted it."""

    id: str
    kind: RevocationKind
    object: str = ""
    """Lease id, principal, credential id, or id of a trust rule or API key; empty for all. It is
    not called a value: beside the word credential, detectors take that for a key."""
    at: int
    made_by: str
    reason: str = ""
    lifted_at: int | None = None
    lifted_by: str = ""


async def add(tx: Transaction, revocation: StoredRevocation) -> None:
    """Store a new one."""
    await tx.execute(
        REVOCATIONS.insert().values(
            organization_id=tx.caller.organization_id,
            id=revocation.id,
            kind=revocation.kind.value,
            value=revocation.object,
            at=revocation.at,
            made_by=revocation.made_by,
            reason=revocation.reason,
            lifted_by="",
        )
    )


async def find(tx: Transaction, revocation_id: str) -> StoredRevocation:
    """One of the caller's organization. Raises ``ResourceNotFound``."""
    row = await tx.row(
        select(REVOCATIONS).where(
            REVOCATIONS.c.organization_id == tx.caller.organization_id,
            REVOCATIONS.c.id == revocation_id,
        )
    )
    if row is None:
        raise ResourceNotFound("There is no such revocation.")
    return _stored(row)


async def lift(tx: Transaction, revocation_id: str) -> None:
    """End one. Raises ``ResourceConflict`` when it is not in force."""
    result = await tx.execute(
        update(REVOCATIONS)
        .where(
            REVOCATIONS.c.organization_id == tx.caller.organization_id,
            REVOCATIONS.c.id == revocation_id,
            REVOCATIONS.c.lifted_at.is_(None),
        )
        .values(lifted_at=tx.now, lifted_by=tx.caller.name)
    )
    if result.rowcount != 1:
        raise ResourceConflict("The revocation is lifted already.")


async def page(
    tx: Transaction, request: PageRequest, *, in_force: bool | None = None
) -> Page[StoredRevocation]:
    """Revocations, the newest first."""
    query = select(REVOCATIONS).where(REVOCATIONS.c.organization_id == tx.caller.organization_id)
    if in_force is not None:
        lifted = REVOCATIONS.c.lifted_at
        query = query.where(lifted.is_(None) if in_force else lifted.is_not(None))
    if (last := request.after()) is not None:
        query = query.where(REVOCATIONS.c.id < last[0])
    rows = await tx.rows(query.order_by(REVOCATIONS.c.id.desc()).limit(request.limit + 1))
    return page_of([_stored(row) for row in rows], request, key=lambda found: (found.id,))


async def in_force(tx: Transaction, organization_id: str) -> list[Revocation]:
    """All that were not lifted, as bundles carry them."""
    rows = await tx.rows(
        select(REVOCATIONS.c.kind, REVOCATIONS.c.value, REVOCATIONS.c.at).where(
            REVOCATIONS.c.organization_id == organization_id, REVOCATIONS.c.lifted_at.is_(None)
        )
    )
    return [
        Revocation(kind=RevocationKind(row["kind"]), value=row["value"], at=row["at"])
        for row in rows
    ]


async def revoked_credentials(tx: Transaction, credential_ids: Sequence[str]) -> frozenset[str]:
    """Which of these credentials are revoked."""
    rows = await tx.rows(
        select(REVOCATIONS.c.value).where(
            REVOCATIONS.c.organization_id == tx.caller.organization_id,
            REVOCATIONS.c.kind == RevocationKind.CREDENTIAL.value,
            REVOCATIONS.c.value.in_(credential_ids),
            REVOCATIONS.c.lifted_at.is_(None),
        )
    )
    return frozenset(row["value"] for row in rows)


async def credential_was_known(tx: Transaction, credential_id: str) -> bool:
    """Whether the organization has, or ever had, this credential."""
    row = await tx.row(
        select(OBJECTS.c.id).where(
            OBJECTS.c.organization_id == tx.caller.organization_id,
            OBJECTS.c.id == credential_id,
            OBJECTS.c.kind == "credential",
        )
    )
    return row is not None


def _stored(row: Row) -> StoredRevocation:
    return StoredRevocation(
        id=row["id"],
        kind=RevocationKind(row["kind"]),
        object=row["value"],
        at=row["at"],
        made_by=row["made_by"],
        reason=row["reason"],
        lifted_at=row["lifted_at"],
        lifted_by=row["lifted_by"],
    )
