"""The directory as a whole: what routes use, and what sign-in asks of it."""

from __future__ import annotations

from collections.abc import Sequence

from keylease.contracts.principals import Principal
from keylease.errors import InputInvalid, ResourceConflict
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import HoldingSource
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.contacts import Contacts
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.identity.directory.groups import Groups
from keylease.platform.identity.directory.interfaces import Authority, SightingSource, SignIns
from keylease.platform.identity.directory.invitations import Invitations
from keylease.platform.identity.directory.offboarding import Offboarding
from keylease.platform.identity.directory.organizations import Organizations
from keylease.platform.identity.directory.projects import Environments, Projects
from keylease.platform.identity.directory.records import User, UserState
from keylease.platform.identity.directory.service_accounts import ServiceAccounts
from keylease.platform.identity.directory.users import Users
from keylease.platform.identity.interfaces import KnownUser


class DirectoryService:
    """Organizations, projects, environments, people, programs, groups, invitations, contacts."""

    def __init__(
        self,
        database: Database,
        *,
        facts: DirectoryFacts,
        authority: Authority,
        sightings: SightingSource,
    ) -> None:
        """Domains that know the directory are told to it afterwards, by ``register``."""
        sources: list[HoldingSource] = []
        sign_ins: list[SignIns] = []
        self.facts = facts
        self._authority = authority
        self.projects = Projects(database, authority)
        self.environments = Environments(database, authority)
        self.users = Users(database, authority, sign_ins)
        self.groups = Groups(database, authority, facts)
        self.service_accounts = ServiceAccounts(database, authority, sources)
        self.invitations = Invitations(database, authority, users=self.users, groups=self.groups)
        self.contacts = Contacts(database, authority)
        self.organizations = Organizations(
            database,
            authority,
            users=self.users,
            projects=self.projects,
            environments=self.environments,
        )
        self.offboarding = Offboarding(
            database, authority, users=self.users, sources=sources, sightings=sightings
        )
        self._sources = sources
        self._sign_ins = sign_ins
        for own in (self.groups, self.service_accounts, self.invitations, self.contacts):
            self.register(own)

    def register(self, source: HoldingSource) -> None:
        """Ask this domain too what somebody holds. Before the first request."""
        self._sources.append(source)

    def register_sign_ins(self, sign_ins: SignIns) -> None:
        """Tell this domain when somebody may not act any more. Before the first request."""
        self._sign_ins.append(sign_ins)

    # --- what sign-in asks -----------------------------------------------------------------

    async def user(self, tx: Transaction, user_id: str) -> KnownUser | None:
        """A user of any organization."""
        found = await repository.user(tx, user_id)
        return _known(found) if found else None

    async def users_by_email(self, tx: Transaction, email: str) -> Sequence[KnownUser]:
        """Users of all organizations with this address; none for what is no address."""
        try:
            found = await self.users.with_email(tx, email)
        except InputInvalid:
            return ()
        return tuple(map(_known, found))

    async def is_active(self, tx: Transaction, organization_id: str, principal: Principal) -> bool:
        """Whether a user or service account of this organization may act."""
        return await self.facts.is_active(tx, organization_id, principal)

    async def owner_to_set_up(self, tx: Transaction) -> KnownUser:
        """The first owner of the installation; made, with the organization, if there is none."""
        owner = await self.organizations.first_owner(tx)
        return _known(owner or await self.organizations.begin(tx))

    async def accept_invitation(self, tx: Transaction, secret: str, *, name: str = "") -> KnownUser:
        """The user that an invitation has made. Raises ``ResourceNotFound``."""
        return _known(await self.invitations.accept(tx, secret, name=name))

    async def join_from_outside(
        self, tx: Transaction, *, organization_id: str, email: str, name: str, may_add: bool
    ) -> KnownUser | None:
        """The user whom an issuer vouches for: known, invited, or new if ``may_add``.

        Raises ``InputInvalid`` for what is no address.
        """
        inside = tx.within(organization_id)
        for user in await self.users.with_email(inside, email):
            if user.organization_id == organization_id:
                return _known(user)
        if (invitation := await self.invitations.pending_for(inside, email)) is not None:
            return _known(await self.invitations.accept_found(inside, invitation, name=name))
        if not may_add:
            return None
        return _known(await self.users.add(inside, name=name, email=email))

    async def introduce(
        self, tx: Transaction, *, user: KnownUser, name: str, email: str
    ) -> KnownUser:
        """Say who a user is, of whom no address is known yet: the first owner.

        Raises ``InputInvalid`` for what is no address, ``ResourceConflict`` when there is one.
        """
        inside = tx.within(user.organization_id)
        return _known(await self.users.introduce(inside, user.id, name=name, email=email))

    async def groups_in_use(self, tx: Transaction, group_ids: frozenset[str]) -> frozenset[str]:
        """Those of the identifiers that are groups of the organization and not archived."""
        return await repository.groups_in_use(tx, group_ids)

    async def set_outside_groups(
        self, tx: Transaction, *, user: KnownUser, issuer_id: str, group_ids: frozenset[str]
    ) -> None:
        """Make the user a member of exactly these groups, among those that the issuer gave.

        The last Owner keeps the group by which it is one: an outside issuer cannot lock everybody
        out. What people gave stays.
        """
        inside, holder = tx.within(user.organization_id), f"user:{user.id}"
        giver = f"issuer:{issuer_id}"
        in_use = await repository.groups_in_use(inside, group_ids)
        inside_of = {group.id for group in await repository.groups_with(inside, holder)}
        given = await repository.groups_given(inside, holder, added_by=giver)
        added, gone = sorted(in_use - inside_of), sorted(given - group_ids)
        if not added and not gone:
            return
        await self._authority.begin_change(inside, directory=True)
        for group_id in added:
            await self.groups.join(inside, group_id, holder, added_by=giver)
        for group_id in gone:
            await self._leave_unless_last_owner(inside, group_id, holder)

    async def _leave_unless_last_owner(self, tx: Transaction, group_id: str, holder: str) -> None:
        attempt = await tx.connection.begin_nested()
        try:
            await self.groups.leave(tx, group_id, holder)
            await self._authority.check_owner_remains(tx)
        except ResourceConflict:
            await attempt.rollback()
        else:
            await attempt.commit()


def _known(user: User) -> KnownUser:
    return KnownUser(
        id=user.id,
        organization_id=user.organization_id,
        email=user.email,
        name=user.name,
        active=user.state is UserState.ACTIVE,
    )
