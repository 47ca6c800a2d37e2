"""Somebody leaves: what they held, owned and saw, and one call that takes it all back.

Protects: everything that domains register as a ``HoldingSource`` is released in one transaction
    with the end of the user. When a part of it cannot be done, nothing is, and the caller is told.
Does not protect: what the person remembers. ``seen`` lists what they were shown, for who decides
    what has to be rotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceConflict
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, HoldingSource, Outcome, Sighting
from keylease.platform.identity.directory.interfaces import Authority, SightingSource
from keylease.platform.identity.directory.records import User, UserState
from keylease.platform.identity.directory.repository import USER_ROWS
from keylease.platform.identity.directory.users import Users

MAXIMUM_SEEN: Final = 500


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What a user holds and owns, and what they were shown."""

    user: User
    held: tuple[Holding, ...]
    seen: tuple[Sighting, ...]
    """The newest first, at most ``MAXIMUM_SEEN``; the audit log has the rest."""


class Offboarded(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    user: User
    released: tuple[Holding, ...]


class Offboarding:
    """Ends users."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        *,
        users: Users,
        sources: Sequence[HoldingSource],
        sightings: SightingSource,
    ) -> None:
        """``sources`` grows until the first request: domains are joined one by one."""
        self._database = database
        self._authority = authority
        self._users = users
        self._sources = sources
        self._sightings = sightings

    async def holdings(self, caller: Caller, user_id: str) -> Holdings:
        """What would be released, and what the user was shown. Raises ``ResourceNotFound``."""
        principal = f"user:{user_id}"
        async with self._database.reading(caller) as tx:
            user = await USER_ROWS.get(tx, user_id)
            held = [found for source in self._sources for found in await source.held(tx, principal)]
        seen = await self._sightings.seen(caller.organization_id, principal, limit=MAXIMUM_SEEN)
        return Holdings(user=user, held=tuple(held), seen=tuple(seen))

    async def offboard(
        self, caller: Caller, user_id: str, *, hand_over_to: str, expected: int
    ) -> Offboarded:
        """End a user: revoke what they hold, hand over what they own to another user.

        Raises ``InputInvalid`` for a successor who is not active, ``ResourceConflict`` for the
        last Owner, ``PermissionDenied`` when the user is an Owner and the caller is not.
        """
        principal = f"user:{user_id}"
        async with self._authority.transaction(caller) as tx:
            # 1. Nobody else changes rights meanwhile; the user is as the caller has read.
            await self._authority.begin_change(tx, directory=True)
            before = await USER_ROWS.expect(tx, user_id, expected)
            if before.state is UserState.OFFBOARDED:
                raise ResourceConflict("The user has left already.")
            if caller.name == principal:
                raise ResourceConflict("Somebody else has to do this for you.")
            await self._authority.check_taking(tx, principal)
            # 2. There is somebody to take over.
            successor = await USER_ROWS.find(tx, hand_over_to)
            if (
                successor is None
                or successor.id == user_id
                or successor.state is not UserState.ACTIVE
            ):
                raise InputInvalid("What the user owned goes to another, active user.")
            # 3. The end, before anything is released: no source can find the user active.
            await self._users.mark_offboarded(tx, user_id)
            released = [
                done
                for source in self._sources
                for done in await source.release(tx, principal, to=f"user:{hand_over_to}")
            ]
            await self._authority.check_owner_remains(tx)
            # 4. One entry for the whole; each part has its own.
            handed = sum(done.outcome is Outcome.HANDED_OVER for done in released)
            await tx.record(
                AuditAction.USER_OFFBOARDED,
                user_id,
                details={
                    "hand_over_to": hand_over_to,
                    "handed_over": str(handed),
                    "revoked": str(len(released) - handed),
                },
            )
            return Offboarded(user=await USER_ROWS.get(tx, user_id), released=tuple(released))
