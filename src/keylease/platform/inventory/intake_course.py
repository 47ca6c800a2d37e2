"""What the parts of an intake share: the transaction, the source, and what was counted."""

from __future__ import annotations

import msgspec

from keylease.platform.db.transaction import Transaction
from keylease.platform.inventory.changes import Change, ChangeKind, write_change


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a report comes from: the source that it covers."""

    kind: str
    """``scan``, ``connector`` or ``attestation``."""
    name: str
    vendor_id: str = ""


class Course:
    """One report on its way into the inventory."""

    def __init__(self, tx: Transaction, origin: Origin, *, seen_at: int) -> None:
        """``seen_at`` is when the scan began; microseconds UTC."""
        self.tx = tx
        self.origin = origin
        self.seen_at = seen_at
        self.organization = tx.caller.organization_id
        self.new_secrets = self.new_locations = self.again = 0
        self.met: set[str] = set()
        """Locations that the report names."""
        self.merged: dict[str, str] = {}
        """Secrets that turned out to be another, and which."""
        self.overtaken_at: int | None = None
        """When a complete scan of the source was made after this one, that arrived before it."""

    async def note(self, what: ChangeKind, secret_id: str | None, **details: str) -> None:
        """Write a line of history."""
        await write_change(self.tx, Change(what=what, secret_id=secret_id, details=details))
