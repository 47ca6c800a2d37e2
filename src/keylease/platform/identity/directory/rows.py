"""One object per row, within an organization: what every table of the directory has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, FromClause, Select, Table, insert, select, update

from keylease.errors import ResourceNotFound
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.db.versions import check_version

T = TypeVar("T")


class Rows(Generic[T]):
    """A table of objects with ``id``, ``organization_id`` and ``version``."""

    def __init__(
        self,
        table: Table,
        make: Callable[[Row], T],
        *,
        called: str,
        joined: FromClause | None = None,
        more: tuple[ColumnElement[Any], ...] = (),
    ) -> None:
        """``joined`` and ``more`` say where further columns are; ``called`` is for messages."""
        self._table = table
        self._make = make
        self._called = called
        self._columns = (*table.c, *more)
        self._source = table if joined is None else joined

    def query(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Rows of any organization, for conditions that are unique over all."""
        return select(*self._columns).select_from(self._source).where(*conditions)

    async def all(self, tx: Transaction, *conditions: ColumnElement[bool]) -> tuple[T, ...]:
        """Every object of the organization that meets the conditions, the oldest first."""
        query = self.query(self._ours(tx), *conditions).order_by(self._table.c.id)
        return tuple(map(self._make, await tx.rows(query)))

    async def find(self, tx: Transaction, object_id: str) -> T | None:
        """One object of the organization."""
        row = await tx.row(self.query(self._ours(tx), self._table.c.id == object_id))
        return self._make(row) if row else None

    async def get(self, tx: Transaction, object_id: str) -> T:
        """One object of the organization. Raises ``ResourceNotFound``."""
        if (found := await self.find(tx, object_id)) is None:
            raise ResourceNotFound(f"There is no such {self._called}.")
        return found

    async def page(
        self, tx: Transaction, request: PageRequest, *conditions: ColumnElement[bool]
    ) -> Page[T]:
        """Objects of the organization, the oldest first."""
        identifier = self._table.c.id
        query = self.query(self._ours(tx), *conditions).order_by(identifier)
        if (after := request.after()) is not None:
            query = query.where(identifier > after[0])
        rows = await tx.rows(query.limit(request.limit + 1))
        page = page_of(rows, request, key=lambda row: (row["id"],))
        return Page(items=tuple(map(self._make, page.items)), next_cursor=page.next_cursor)

    async def add(self, tx: Transaction, object_id: str, **values: object) -> None:
        """Store a new object at version 1."""
        await tx.execute(
            insert(self._table).values(
                id=object_id, organization_id=tx.caller.organization_id, version=1, **values
            )
        )

    async def change(self, tx: Transaction, object_id: str, **values: object) -> None:
        """Store other values, at the next version."""
        await tx.execute(
            update(self._table)
            .where(self._ours(tx), self._table.c.id == object_id)
            .values(version=self._table.c.version + 1, **values)
        )

    async def expect(self, tx: Transaction, object_id: str, expected: int) -> T:
        """One object at the version that its changer has read.

        It stays so until the commit. Raises ``ResourceNotFound`` or ``VersionChanged``.
        """
        query = self.query(self._ours(tx), self._table.c.id == object_id)
        row = await tx.row(query.with_for_update(of=self._table))
        if row is None:
            raise ResourceNotFound(f"There is no such {self._called}.")
        check_version(current=row["version"], expected=expected)
        return self._make(row)

    def _ours(self, tx: Transaction) -> ColumnElement[bool]:
        ours: ColumnElement[bool] = self._table.c.organization_id == tx.caller.organization_id
        return ours
