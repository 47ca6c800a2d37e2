"""Users: opaque identifiers with a state, and, in a table of its own, who they are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from keylease.contracts.audit import AuditAction
from keylease.errors import ResourceConflict
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.emails import email_key
from keylease.platform.identity.directory.interfaces import Authority, SignIns
from keylease.platform.identity.directory.records import User, UserState
from keylease.platform.identity.directory.repository import USER_ROWS, PersonKind


class Users:
    """The people of an organization."""

    def __init__(
        self, database: Database, authority: Authority, sign_ins: Sequence[SignIns]
    ) -> None:
        self._database = database
        self._authority = authority
        self._sign_ins = sign_ins

    async def get(self, caller: Caller, user_id: str) -> User:
        """One user. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await USER_ROWS.get(tx, user_id)

    async def page(
        self, caller: Caller, request: PageRequest, *conditions: ColumnElement[bool]
    ) -> Page[User]:
        """Users, the oldest first."""
        async with self._database.reading(caller) as tx:
            return await USER_ROWS.page(tx, request, *conditions)

    async def with_email(self, tx: Transaction, email: str) -> Sequence[User]:
        """Users of every organization with this address. Raises ``InputInvalid``."""
        return await repository.users_with_email(tx, email_key(email))

    async def add(self, tx: Transaction, *, name: str, email: str = "") -> User:
        """Add a user, who holds nothing yet. Raises ``ResourceConflict`` for a known address.

        Without an address only at the first start, where nobody was there to say one.
        """
        await self._authority.begin_change(tx, directory=True)
        user_id = tx.new_id()
        await USER_ROWS.add(
            tx, user_id, state=UserState.ACTIVE, created_at=tx.now, state_since=tx.now
        )
        key = email_key(email) if email else None
        with unless_made_meanwhile():
            await repository.add_person(
                tx, user_id, PersonKind.USER, name=name, email=email, email_key=key
            )
        await tx.record(AuditAction.USER_CREATED, user_id)
        return await USER_ROWS.get(tx, user_id)

    async def change(
        self, caller: Caller, user_id: str, *, name: str, email: str, expected: int
    ) -> User:
        """Give a user another name or address.

        Who can change an address can soon sign in as its owner: a caller needs to hold all that
        the user holds. Raises ``PermissionDenied``, ``ResourceConflict`` or ``VersionChanged``.
        """
        async with self._authority.transaction(caller) as tx:
            before = await USER_ROWS.expect(tx, user_id, expected)
            if before.state is UserState.OFFBOARDED:
                raise ResourceConflict("The user has left.")
            changed = [
                field
                for field, old, new in (("name", before.name, name), ("email", before.email, email))
                if old != new
            ]
            if "email" in changed:
                await self._authority.check_standing(tx, f"user:{user_id}")
            with unless_made_meanwhile():
                await repository.change_person(
                    tx, user_id, name=name, email=email, email_key=email_key(email)
                )
            await USER_ROWS.change(tx, user_id)
            await tx.record(
                AuditAction.USER_CHANGED, user_id, details={"fields": " ".join(changed)}
            )
            return await USER_ROWS.get(tx, user_id)

    async def introduce(self, tx: Transaction, user_id: str, *, name: str, email: str) -> User:
        """Give the first owner the address that nobody could say before.

        Raises ``ResourceConflict`` when the user has one, or somebody else has this one.
        """
        user = await USER_ROWS.get(tx, user_id)
        if user.email:
            raise ResourceConflict("The address of this user is known.")
        with unless_made_meanwhile():
            await repository.change_person(
                tx, user_id, name=name or user.name, email=email, email_key=email_key(email)
            )
        await USER_ROWS.change(tx, user_id)
        await tx.record(AuditAction.USER_CHANGED, user_id, details={"fields": "email name"})
        return await USER_ROWS.get(tx, user_id)

    async def suspend(self, caller: Caller, user_id: str, *, expected: int) -> User:
        """Keep a user from acting, for now. Their sessions end; what they hold waits."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            before = await USER_ROWS.expect(tx, user_id, expected)
            if before.state is not UserState.ACTIVE:
                raise ResourceConflict(f"The user is {before.state.value} already.")
            await self._authority.check_taking(tx, f"user:{user_id}")
            await self._to_state(tx, user_id, UserState.SUSPENDED, AuditAction.USER_SUSPENDED)
            for sign_ins in self._sign_ins:
                await sign_ins.end_all(tx, f"user:{user_id}")
            await self._authority.check_owner_remains(tx)
            return await USER_ROWS.get(tx, user_id)

    async def resume(self, caller: Caller, user_id: str, *, expected: int) -> User:
        """Let a suspended user act again. That gives back all they hold: so must the caller."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            before = await USER_ROWS.expect(tx, user_id, expected)
            if before.state is not UserState.SUSPENDED:
                raise ResourceConflict(f"The user is {before.state.value}, not suspended.")
            await self._authority.check_standing(tx, f"user:{user_id}")
            await self._to_state(tx, user_id, UserState.ACTIVE, AuditAction.USER_RESUMED)
            return await USER_ROWS.get(tx, user_id)

    async def erase(self, caller: Caller, user_id: str, *, expected: int) -> User:
        """Forget name and address of a user who has left. The identifier stays in the audit log."""
        async with self._authority.transaction(caller) as tx:
            before = await USER_ROWS.expect(tx, user_id, expected)
            if before.state is not UserState.OFFBOARDED:
                raise ResourceConflict(
                    "Only who has left is erased.", advice="Offboard the user first."
                )
            await repository.erase_person(tx, user_id)
            await USER_ROWS.change(tx, user_id)
            await tx.record(AuditAction.PERSON_ERASED, user_id)
            return await USER_ROWS.get(tx, user_id)

    async def mark_offboarded(self, tx: Transaction, user_id: str) -> None:
        """For ``Offboarding``, which records it: the user acts no more."""
        await USER_ROWS.change(tx, user_id, state=UserState.OFFBOARDED, state_since=tx.now)

    async def _to_state(
        self, tx: Transaction, user_id: str, state: UserState, action: AuditAction
    ) -> None:
        await USER_ROWS.change(tx, user_id, state=state, state_since=tx.now)
        await tx.record(action, user_id)
