"""The history of the inventory: what changed, when, by whom; one commit with the change."""

from __future__ import annotations

import msgspec
from sqlalchemy import insert

from keylease.platform.db.transaction import Transaction
from keylease.platform.inventory.tables import CHANGES


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of history."""

    what: str
    """``found``, ``location_removed``, ``owner_set`` ...; past tense."""
    secret_id: str | None = None
    details: dict[str, str] = msgspec.field(default_factory=dict)


async def write_change(tx: Transaction, change: Change) -> None:
    """Add a line."""
    await tx.execute(
        insert(CHANGES).values(
            id=tx.new_id(),
            organization_id=tx.caller.organization_id,
            secret_id=change.secret_id,
            at=tx.now,
            what=change.what,
            by=tx.caller.name,
            details=msgspec.json.encode(change.details),
        )
    )
