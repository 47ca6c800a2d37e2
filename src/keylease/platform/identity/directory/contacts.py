"""Contacts for notification: who is told of what."""

from __future__ import annotations

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, Outcome
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.emails import email_key
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.records import Contact, Topic, UserState
from keylease.platform.identity.directory.repository import CONTACT_ROWS, PersonKind

_KIND = "contact"


class ContactContent(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell of what: a user, or an address with a name."""

    topics: tuple[Topic, ...]
    user_id: str = ""
    name: str = ""
    email: str = ""


class Contacts:
    """An organization's contacts. Nothing refers to one, so it is removed and not archived."""

    def __init__(self, database: Database, authority: Authority) -> None:
        self._database = database
        self._authority = authority

    async def get(self, caller: Caller, contact_id: str) -> Contact:
        """One contact. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await CONTACT_ROWS.get(tx, contact_id)

    async def page(self, caller: Caller, request: PageRequest) -> Page[Contact]:
        """Contacts, the oldest first."""
        async with self._database.reading(caller) as tx:
            return await CONTACT_ROWS.page(tx, request)

    async def create(self, caller: Caller, content: ContactContent) -> Contact:
        """Add a contact. Raises ``InputInvalid``, or ``ResourceConflict`` for a known address."""
        async with self._authority.transaction(caller) as tx:
            if (before := await tx.created_before(_KIND)) is not None:
                return await CONTACT_ROWS.get(tx, before)
            await self._check(tx, content)
            contact_id = tx.new_id()
            await CONTACT_ROWS.add(tx, contact_id, created_at=tx.now, **_values(content))
            await self._store_address(tx, contact_id, content)
            await tx.record(
                AuditAction.CONTACT_CREATED, contact_id, details={"topics": _topics(content)}
            )
            await tx.created(_KIND, contact_id)
            return await CONTACT_ROWS.get(tx, contact_id)

    async def change(
        self, caller: Caller, contact_id: str, content: ContactContent, *, expected: int
    ) -> Contact:
        """Change whom to tell, or of what."""
        async with self._authority.transaction(caller) as tx:
            await CONTACT_ROWS.expect(tx, contact_id, expected)
            await self._check(tx, content)
            await repository.erase_person(tx, contact_id)
            await CONTACT_ROWS.change(tx, contact_id, **_values(content))
            await self._store_address(tx, contact_id, content)
            await tx.record(
                AuditAction.CONTACT_CHANGED, contact_id, details={"topics": _topics(content)}
            )
            return await CONTACT_ROWS.get(tx, contact_id)

    async def remove(self, caller: Caller, contact_id: str, *, expected: int) -> None:
        """Remove a contact with its address."""
        async with self._authority.transaction(caller) as tx:
            await CONTACT_ROWS.expect(tx, contact_id, expected)
            await repository.remove_contact(tx, contact_id)
            await tx.record(AuditAction.CONTACT_REMOVED, contact_id)

    async def held(self, tx: Transaction, principal: str) -> tuple[Holding, ...]:
        """The contacts that are this user (``HoldingSource``)."""
        kind, _, user_id = principal.partition(":")
        found = await repository.contacts_of(tx, user_id) if kind == "user" else ()
        return tuple(
            Holding(
                kind=_KIND,
                id=contact.id,
                label=" ".join(contact.topics),
                outcome=Outcome.HANDED_OVER,
            )
            for contact in found
        )

    async def release(self, tx: Transaction, principal: str, *, to: str) -> tuple[Holding, ...]:
        """Tell somebody else from now on."""
        held = await self.held(tx, principal)
        for holding in held:
            await CONTACT_ROWS.change(tx, holding.id, user_id=to.partition(":")[2])
            await tx.record(AuditAction.CONTACT_CHANGED, holding.id, details={"to": to})
        return held

    async def _check(self, tx: Transaction, content: ContactContent) -> None:
        if bool(content.user_id) == bool(content.email):
            raise InputInvalid("A contact is either a user or an address.")
        if content.user_id:
            user = await repository.USER_ROWS.find(tx, content.user_id)
            if user is None or user.state is not UserState.ACTIVE:
                raise InputInvalid("There is no such active user.")

    async def _store_address(
        self, tx: Transaction, contact_id: str, content: ContactContent
    ) -> None:
        if content.email:
            key = email_key(content.email)
            with unless_made_meanwhile():
                await repository.add_person(
                    tx,
                    contact_id,
                    PersonKind.CONTACT,
                    name=content.name,
                    email=content.email,
                    email_key=key,
                )


def _values(content: ContactContent) -> dict[str, object]:
    return {"topics": msgspec.json.encode(content.topics), "user_id": content.user_id}


def _topics(content: ContactContent) -> str:
    return " ".join(content.topics)
