"""What the inventory needs of other domains. Joined in ``server/``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from keylease.platform.db.callers import Caller
from keylease.platform.inventory.states import CredentialFacts


class CredentialUse(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of a credential, from the gateways' call records."""

    credential_id: str
    principal: str
    purpose: str = ""
    environment: str = ""
    first_used: int
    last_used: int
    calls: int


class PolicyCredentials(Protocol):
    """The credentials that the policy declares."""

    async def credential_facts(self, caller: Caller) -> dict[str, CredentialFacts]:
        """Every credential of the caller's organization by its identifier."""
        ...


class RecordedUses(Protocol):
    """What the gateways measured."""

    async def uses_of(
        self, caller: Caller, credential_ids: Collection[str]
    ) -> tuple[CredentialUse, ...]:
        """Who used these credentials, all that is kept."""
        ...
