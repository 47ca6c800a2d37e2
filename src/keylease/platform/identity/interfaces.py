"""What sign-in, sessions and API keys need from other domains; joined in ``server/assembly.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from keylease.contracts.principals import Principal
from keylease.platform.db.callers import Caller
from keylease.platform.db.transaction import Transaction

LEASE_EXCHANGE: Final = "lease:exchange"
INGEST_PERMISSIONS: Final = frozenset({"trace:ingest", "inventory:write"})
"""What an ingest key may hold at all."""


class KnownUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user as sign-in sees one."""

    id: str
    organization_id: str
    email: str
    name: str = ""
    active: bool = True
    """An archived or suspended user cannot sign in, and nothing of theirs opens anything."""


class Directory(Protocol):
    """Who there is. All of it inside the caller's transaction."""

    async def user(self, tx: Transaction, user_id: str) -> KnownUser | None:
        """A user of any organization."""
        ...

    async def users_by_email(self, tx: Transaction, email: str) -> Sequence[KnownUser]:
        """Users of all organizations with this address, compared as the directory compares."""
        ...

    async def is_active(self, tx: Transaction, organization_id: str, principal: Principal) -> bool:
        """Whether a user or service account of this organization may act."""
        ...

    async def owner_to_set_up(self, tx: Transaction) -> KnownUser | None:
        """The first owner of the first organization; makes both when there is none yet.

        ``None`` when other people own it by now.
        """
        ...

    async def join_from_outside(
        self, tx: Transaction, *, organization_id: str, email: str, name: str, may_add: bool
    ) -> KnownUser | None:
        """The user with an address that an issuer vouches for.

        The one who is there; or who accepts an open invitation for that address by this; or a new
        one if ``may_add``; else ``None``.
        """
        ...

    async def groups_in_use(self, tx: Transaction, group_ids: frozenset[str]) -> frozenset[str]:
        """Those of the identifiers that are groups of the organization and not archived."""
        ...

    async def set_outside_groups(
        self, tx: Transaction, *, user: KnownUser, issuer_id: str, group_ids: frozenset[str]
    ) -> None:
        """Make the user a member of exactly these groups, among those an issuer has given.

        Memberships that people gave stay. Identifiers of groups that are gone are ignored.
        """
        ...

    async def accept_invitation(self, tx: Transaction, secret: str, *, name: str = "") -> KnownUser:
        """The user that an invitation has made. Raises ``ResourceNotFound``."""
        ...

    async def introduce(
        self, tx: Transaction, *, user: KnownUser, name: str, email: str
    ) -> KnownUser:
        """Say who a user is, of whom no address is known yet: the first owner.

        Raises ``InputInvalid`` for what is no address, ``ResourceConflict`` when there is one.
        """
        ...


class Access(Protocol):
    """Whether a caller holds a permission."""

    async def require(self, caller: Caller, permission: str, *, project_id: str = "") -> None:
        """Raise ``PermissionDenied`` unless they do; ``ResourceNotFound`` for a foreign project."""
        ...
