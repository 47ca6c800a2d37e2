"""What a principal holds, as the domains tell each other when somebody leaves."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from keylease.platform.db.transaction import Transaction


class Outcome(StrEnum):
    """What becomes of a holding when its holder leaves."""

    REVOKED = "revoked"
    HANDED_OVER = "handed_over"


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a principal holds or owns."""

    kind: str
    """``session``, ``api_key``, ``credential``, ``grant`` ..."""
    id: str
    label: str = ""
    """What a person recognises it by; never a secret."""
    outcome: Outcome


class HoldingSource(Protocol):
    """A domain in which principals hold or own something."""

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """What ``KIND:ID`` holds in ``tx.caller.organization_id``, and what would become of it."""
        ...

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Revoke it, or hand it over ``to`` the principal ``KIND:ID``, with audit entries.

        Gives what was done. Done in the transaction of the offboarding: it raises, and nothing of
        it happens, when something of it cannot be done.
        """
        ...


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a principal was shown and may remember: a key, an export, a lease."""

    at: int
    """Microseconds UTC."""
    action: str
    """The audit action."""
    object: str
