"""Service accounts: programs that act for themselves, and users who answer for them."""

from __future__ import annotations

from collections.abc import Sequence

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.holdings import Holding, HoldingSource, Outcome
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.records import ServiceAccount, UserState
from keylease.platform.identity.directory.shelf import Actions, Content, Shelf

_NOBODY = ""


class AccountContent(Content, frozen=True, kw_only=True):
    """What its owner says of a service account."""

    owner_id: str
    """The user who answers for it. Being its owner gives no right by itself."""


class ServiceAccounts(Shelf[ServiceAccount]):
    """New ones hold nothing; what they are granted is checked like every grant."""

    def __init__(
        self, database: Database, authority: Authority, sources: Sequence[HoldingSource]
    ) -> None:
        """``sources`` is what a service account may hold: API keys, grants, groups."""
        actions = Actions(
            created=AuditAction.SERVICE_ACCOUNT_CREATED,
            changed=AuditAction.SERVICE_ACCOUNT_CHANGED,
            archived=AuditAction.SERVICE_ACCOUNT_ARCHIVED,
        )
        rows = repository.SERVICE_ACCOUNT_ROWS
        super().__init__(database, authority, rows, actions, kind="service_account")
        self._sources = sources

    async def create(self, caller: Caller, content: Content) -> ServiceAccount:
        """As ``Shelf.create``; the owner must be an active user. Raises ``InputInvalid``."""
        await self._check_owner(caller, content)
        return await super().create(caller, content)

    async def change(
        self, caller: Caller, object_id: str, content: Content, *, expected: int
    ) -> ServiceAccount:
        """As ``Shelf.change``; the owner must be an active user. Raises ``InputInvalid``."""
        await self._check_owner(caller, content)
        return await super().change(caller, object_id, content, expected=expected)

    async def before_archiving(self, tx: Transaction, object_id: str) -> None:
        """Only an Owner takes from an Owner."""
        await self._authority.check_taking(tx, f"service_account:{object_id}")

    async def after_archiving(self, tx: Transaction, object_id: str) -> None:
        """Revoke what it holds: there is nobody left to use it."""
        for source in self._sources:
            await source.release(tx, f"service_account:{object_id}", to=_NOBODY)

    async def held(self, tx: Transaction, principal: str) -> Sequence[Holding]:
        """The service accounts a user answers for (``HoldingSource``)."""
        kind, _, user_id = principal.partition(":")
        accounts = await repository.accounts_of(tx, user_id) if kind == "user" else ()
        return tuple(
            Holding(
                kind="service_account",
                id=account.id,
                label=account.name,
                outcome=Outcome.HANDED_OVER,
            )
            for account in accounts
        )

    async def release(self, tx: Transaction, principal: str, *, to: str) -> Sequence[Holding]:
        """Let another user answer for them."""
        held = await self.held(tx, principal)
        for holding in held:
            await self._rows.change(tx, holding.id, owner_id=to.partition(":")[2])
            await tx.record(AuditAction.SERVICE_ACCOUNT_HANDED_OVER, holding.id, details={"to": to})
        return held

    async def _check_owner(self, caller: Caller, content: Content) -> None:
        if not isinstance(content, AccountContent):
            raise TypeError("a service account has an owner")
        async with self._database.reading(caller) as tx:
            owner = await repository.USER_ROWS.find(tx, content.owner_id)
        if owner is None or owner.state is not UserState.ACTIVE:
            raise InputInvalid("The owner of a service account is an active user.")
