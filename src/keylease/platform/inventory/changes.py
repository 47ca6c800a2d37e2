"""The history of the inventory: what changed, when, by whom; one commit with the change.

The same commit puts the change into the queue of every webhook that wants it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from sqlalchemy import insert, literal, or_, select

from keylease.platform.db.transaction import Transaction
from keylease.platform.inventory.tables import CHANGES, WEBHOOK_QUEUE, WEBHOOKS


class ChangeKind(StrEnum):
    """What can change, in the past tense. Stored, and sent to webhooks: never renamed."""

    FOUND = "found"
    LOCATION_FOUND = "location_found"
    LOCATION_REMOVED = "location_removed"
    REMOVED_EVERYWHERE = "removed_everywhere"
    SEEN_AGAIN = "seen_again"
    """It was removed everywhere, and is back."""
    MERGED = "merged"
    OWNER_SET = "owner_set"
    CREDENTIAL_SET = "credential_set"
    FOUND_LIVE = "found_live"
    FOUND_DEAD = "found_dead"
    ACCEPTED = "accepted"
    EXCEPTION_WITHDRAWN = "exception_withdrawn"
    CONSUMER_FOUND = "consumer_found"
    """Something names it that did not, or that was not known to mean it."""
    CONSUMER_GONE = "consumer_gone"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of history."""

    what: ChangeKind
    secret_id: str | None = None
    details: dict[str, str] = msgspec.field(default_factory=dict)


async def write_change(tx: Transaction, change: Change) -> None:
    """Add a line, and tell the webhooks that want it."""
    change_id = tx.new_id()
    await tx.execute(
        insert(CHANGES).values(
            id=change_id,
            organization_id=tx.caller.organization_id,
            secret_id=change.secret_id,
            at=tx.now,
            what=change.what,
            by=tx.caller.name,
            details=msgspec.json.encode(change.details),
        )
    )
    wanted = select(WEBHOOKS.c.organization_id, WEBHOOKS.c.id, literal(change_id)).where(
        WEBHOOKS.c.organization_id == tx.caller.organization_id,
        WEBHOOKS.c.disabled_at.is_(None),
        or_(
            WEBHOOKS.c.events == "", WEBHOOKS.c.events.contains(f" {change.what} ", autoescape=True)
        ),
    )
    await tx.execute(
        insert(WEBHOOK_QUEUE).from_select(["organization_id", "webhook_id", "change_id"], wanted)
    )
