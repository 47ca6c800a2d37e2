"""One-time sign-in links: the owner's first one, and those for whoever has no way in yet.

Protects: a link has 256 random bits, is kept as a digest, opens once and for an hour at most. It
    opens a session in which only ways to sign in can be set up. The code stands behind the ``#``,
    so that it is in no log and in no ``Referer``, and it is used by a POST, so that a preview of
    the link does not use it up.
Does not protect: a link that somebody else reads first. The audit log then shows that it was used.
"""

from __future__ import annotations

from typing import Final

from keylease.contracts.audit import AuditAction
from keylease.errors import ResourceNotFound
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Access, Directory, KnownUser
from keylease.platform.identity.one_time import digest_of, random_text
from keylease.platform.identity.outside import repository as outside
from keylease.platform.identity.sign_in import repository
from keylease.platform.identity.sign_in.methods import methods_of

SECONDS: Final = 3600
PAGE: Final = "/sign-in/link"


class SignInLinks:
    """Makes links."""

    def __init__(
        self,
        database: Database,
        *,
        directory: Directory,
        access: Access,
        public_url: str,
        all_permissions: frozenset[str],
    ) -> None:
        self._database = database
        self._directory = directory
        self._access = access
        self._public_url = public_url
        self._all_permissions = all_permissions

    async def make(self, tx: Transaction, user: KnownUser, *, reason: str) -> str:
        """A link for a user; earlier ones of theirs open nothing any more."""
        text = random_text()
        link_id = await repository.set_link(
            tx, user, digest_of(text, purpose="link"), seconds=SECONDS
        )
        await tx.record(
            AuditAction.SIGN_IN_LINK_MADE,
            link_id,
            organization_id=user.organization_id,
            reason=reason,
            details={"user": user.id},
        )
        return f"{self._public_url}{PAGE}#{text}"

    async def make_for(self, caller: Caller, user_id: str) -> str:
        """A link for somebody who has lost every way in.

        Whoever has it acts as that person. So only who holds every permission in the whole
        organization may make one. Raises ``PermissionDenied`` and ``ResourceNotFound``.
        """
        for permission in sorted(self._all_permissions):
            await self._access.require(caller, permission)
        async with self._database.transaction(caller) as tx:
            user = await self._directory.user(tx, user_id)
            if user is None or not user.active or user.organization_id != caller.organization_id:
                raise ResourceNotFound("There is no such user.")
            return await self.make(tx, user, reason="recovery")


class FirstStart:
    """What the server asks at every start: is there an owner who can sign in?"""

    def __init__(self, database: Database, *, directory: Directory, links: SignInLinks) -> None:
        self._database = database
        self._directory = directory
        self._links = links

    async def sign_in_link(self) -> str:
        """The owner's link; empty once an owner has set up a way to sign in, also outside.

        Makes the first organization and its owner when there are none. Each start makes another
        link, and only the last one opens anything.
        """
        async with self._database.transaction(platform_itself()) as tx:
            owner = await self._directory.owner_to_set_up(tx)
            if owner is None or (await methods_of(tx, owner)).complete:
                return ""
            if await outside.issuers_of_user(tx, owner):
                # Or else whoever reads what a server prints could be the owner at each start.
                return ""
            return await self._links.make(tx, owner, reason="first_start")
