"""What access needs from other domains. Joined in ``server/assembly.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from keylease.platform.db.transaction import Transaction


class Directory(Protocol):
    """Who there is.

    Whoever changes any of it calls ``Authority.begin_change`` first, in the same transaction.
    """

    async def acting_principals(self, tx: Transaction, organization_id: str) -> frozenset[str]:
        """``user:ID`` and ``service_account:ID`` of all that are active."""
        ...

    async def project_ids(self, tx: Transaction, organization_id: str) -> frozenset[str]:
        """The organization's projects, archived ones included."""
        ...

    async def memberships(
        self, tx: Transaction, organization_id: str
    ) -> Mapping[str, tuple[str, ...]]:
        """``KIND:ID`` of a member (``group:ID`` too) -> the ``group:ID`` it is directly in."""
        ...

    async def holder_exists(self, tx: Transaction, organization_id: str, holder: str) -> bool:
        """Whether grants can be given to ``KIND:ID``: there is one, and it has not left."""
        ...
