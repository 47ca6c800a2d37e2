"""What policy needs from other domains and offers them; joined in ``server/assembly.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from keylease.contracts.policy import ApiKeyUse
from keylease.contracts.purposes import Purpose
from keylease.platform.db.transaction import Transaction

GroupMembers = Mapping[str, Sequence[str]]
"""``group:ID`` -> principals as ``KIND:ID``, sorted. A group that nobody is in may be missing."""

# --- needed --------------------------------------------------------------------------------


class Organizations(Protocol):
    """What an organization has decided, and who is in it."""

    async def needs_second_approver(self, tx: Transaction, organization_id: str) -> bool:
        """Whether a policy that widens access waits for a second principal."""
        ...

    async def principal_exists(self, tx: Transaction, organization_id: str, principal: str) -> bool:
        """Whether ``kind:id`` is one of the organization's users or service accounts."""
        ...

    async def holder_exists(self, tx: Transaction, organization_id: str, holder: str) -> bool:
        """As ``principal_exists``, and groups that are in use, as ``group:ID``."""
        ...

    async def group_members(self, tx: Transaction, organization_id: str) -> GroupMembers:
        """Who is in each group that is in use, directly or by further groups in it."""
        ...


class ApiKeyUses(Protocol):
    """The API keys that may be exchanged for leases."""

    async def key_hashes_for_gateways(
        self, tx: Transaction, organization_id: str
    ) -> Sequence[ApiKeyUse]:
        """Those that are valid now and hold ``lease:exchange``."""
        ...

    async def hands_behind(
        self, tx: Transaction, organization_id: str, principal: str
    ) -> frozenset[str]:
        """Who was ever shown a key with which to act as ``kind:id``."""
        ...


class SeenVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a credential's secret, as gateways have used it."""

    fingerprint: str
    """``keylease.credential_version`` of call records and of fetches."""
    first_seen: int
    """Microseconds UTC: the first fetch or use, whichever came first."""
    last_seen: int
    calls: int = 0


class RecentCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a dry run asks of a call that was made. Calls that are alike may come as one."""

    principal: str
    model: str
    purpose: Purpose
    environment: str
    credential_id: str
    at: int
    """Microseconds UTC; of calls that come as one, the last."""
    count: int = 1
    request_id: str = ""


class CallRecords(Protocol):
    """What gateways have reported."""

    async def versions_seen(
        self, tx: Transaction, organization_id: str, credential_ids: Sequence[str] | None
    ) -> Mapping[str, Sequence[SeenVersion]]:
        """Versions by credential, the oldest first; of all credentials for ``None``."""
        ...

    async def recent_calls(
        self, tx: Transaction, organization_id: str, *, since: int, limit: int
    ) -> Sequence[RecentCall]:
        """Calls from ``since`` (microseconds UTC) on, the newest first, at most ``limit`` rows."""
        ...


class GatewayGroups(Protocol):
    """Which gateways there are."""

    async def groups(self, tx: Transaction, organization_id: str) -> Mapping[str, int]:
        """Name of each gateway group -> how many gateways it has."""
        ...


# --- offered -------------------------------------------------------------------------------


class BundleChanges(Protocol):
    """For domains whose data is part of bundles: API keys, versions seen, whoever leaves."""

    async def bundle_inputs_changed(self, tx: Transaction, organization_id: str) -> None:
        """Let every gateway get a new bundle once this transaction has committed."""
        ...


Wake = Callable[[str], None]
"""Called with an organization's id after its bundles have changed."""
