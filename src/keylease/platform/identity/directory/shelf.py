"""Things with a name that are made, changed and archived: projects, environments, groups ..."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import ColumnElement

from keylease.contracts.audit import AuditAction
from keylease.errors import ResourceConflict
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.rows import Rows


class Named(Protocol):
    """What a shelf holds."""

    @property
    def id(self) -> str:
        """UUIDv7."""
        ...

    @property
    def archived_at(self) -> int | None:
        """Microseconds UTC; ``None`` while it is in use."""
        ...


T = TypeVar("T", bound=Named)


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What its owner says of a thing."""

    name: str
    description: str = ""


class Actions(msgspec.Struct, frozen=True):
    """What the audit log calls it."""

    created: AuditAction
    changed: AuditAction
    archived: AuditAction
    restored: AuditAction | None = None


class Shelf(Generic[T]):
    """Objects of one kind. Names are unique among those that are not archived."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        rows: Rows[T],
        actions: Actions,
        *,
        kind: str,
    ) -> None:
        self._database = database
        self._authority = authority
        self._rows = rows
        self._actions = actions
        self._kind = kind

    async def get(self, caller: Caller, object_id: str) -> T:
        """One object. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await self._rows.get(tx, object_id)

    async def page(
        self, caller: Caller, request: PageRequest, *conditions: ColumnElement[bool]
    ) -> Page[T]:
        """Objects, the oldest first."""
        async with self._database.reading(caller) as tx:
            return await self._rows.page(tx, request, *conditions)

    async def create(self, caller: Caller, content: Content) -> T:
        """Make one. Raises ``ResourceConflict`` for a name that is taken."""
        async with self._authority.transaction(caller) as tx:
            if (before := await tx.created_before(self._kind)) is not None:
                return await self._rows.get(tx, before)
            await self._authority.begin_change(tx, directory=True)
            made = await self.add(tx, content)
            await tx.created(self._kind, made.id)
            return made

    async def add(self, tx: Transaction, content: Content) -> T:
        """``create`` inside a transaction that has begun its change."""
        object_id = tx.new_id()
        values = msgspec.structs.asdict(content)
        with unless_made_meanwhile():
            await self._rows.add(tx, object_id, created_at=tx.now, **values)
        await tx.record(self._actions.created, object_id)
        return await self._rows.get(tx, object_id)

    async def change(self, caller: Caller, object_id: str, content: Content, *, expected: int) -> T:
        """Give it another content. Raises ``VersionChanged`` or ``ResourceConflict``."""
        async with self._authority.transaction(caller) as tx:
            before = await self._in_use(tx, object_id, expected)
            changed = {
                name: value
                for name, value in msgspec.structs.asdict(content).items()
                if getattr(before, name) != value
            }
            with unless_made_meanwhile():
                await self._rows.change(tx, object_id, **changed)
            fields = " ".join(sorted(changed))
            await tx.record(self._actions.changed, object_id, details={"fields": fields})
            return await self._rows.get(tx, object_id)

    async def archive(self, caller: Caller, object_id: str, *, expected: int) -> T:
        """Take it out of use; what refers to it keeps its meaning."""
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            await self._in_use(tx, object_id, expected)
            await self.before_archiving(tx, object_id)
            await self._rows.change(tx, object_id, archived_at=tx.now)
            await tx.record(self._actions.archived, object_id)
            await self.after_archiving(tx, object_id)
            return await self._rows.get(tx, object_id)

    async def restore(self, caller: Caller, object_id: str, *, expected: int) -> T:
        """Put it into use again. Raises ``ResourceConflict`` when its name is taken by now."""
        if self._actions.restored is None:
            raise TypeError(f"a {self._kind} is not restored: it would give rights again")
        async with self._authority.transaction(caller) as tx:
            await self._authority.begin_change(tx, directory=True)
            before = await self._rows.expect(tx, object_id, expected)
            if before.archived_at is None:
                raise ResourceConflict("It is not archived.")
            with unless_made_meanwhile():
                await self._rows.change(tx, object_id, archived_at=None)
            await tx.record(self._actions.restored, object_id)
            return await self._rows.get(tx, object_id)

    async def before_archiving(self, tx: Transaction, object_id: str) -> None:
        """Refuse, if there is a reason."""

    async def after_archiving(self, tx: Transaction, object_id: str) -> None:
        """Refuse, if what is left must not be."""

    async def _in_use(self, tx: Transaction, object_id: str, expected: int) -> T:
        found = await self._rows.expect(tx, object_id, expected)
        if found.archived_at is not None:
            raise ResourceConflict("It is archived.", advice="Restore it, or make a new one.")
        return found
