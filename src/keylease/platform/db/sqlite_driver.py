"""SQLite's statements in one trip to the connection's thread each.

aiosqlite runs SQLite in a thread; SQLAlchemy's adapter makes a trip to it for the cursor, the
statement, its rows and the closing, and each trip wakes two threads. Here the four are one: a
single object is read in a third of the trips. Everything else is SQLAlchemy's own adapter.

Limits: it leans on the adapter's names (2.1) and on aiosqlite's way of queueing; both are pinned,
and whatever changes there fails every test on SQLite.
"""

from __future__ import annotations

import collections
import sqlite3
from typing import Any, cast

import aiosqlite
import msgspec
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.ext.asyncio import AsyncConnection


class _Done(msgspec.Struct, frozen=True):
    """What a statement left."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: list[Any] = []


def _run(
    connection: sqlite3.Connection,
    statement: str,
    values: Any,  # noqa: ANN401 - DB-API
    *,
    many: bool,
    begin: bool,
) -> _Done:
    """In the connection's thread."""
    cursor = connection.cursor()
    try:
        if begin:
            cursor.execute("BEGIN")
        if many:
            cursor.executemany(statement, values)
        else:
            cursor.execute(statement, values or ())
        # First the rows: SQLite counts what RETURNING changed only when they are taken.
        rows = cursor.fetchall() if cursor.description else []
        return _Done(cursor.description, cursor.rowcount, cursor.lastrowid, rows)
    finally:
        cursor.close()


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """Holds what a statement left; there is nothing open behind it."""

    __slots__ = ("_done", "arraysize")

    def __init__(self, adapt_connection: Any) -> None:  # noqa: ANN401 - the adapter's own type
        # Not the adapter's: it would make a cursor in the thread.
        self._adapt_connection = adapt_connection
        self._rows = collections.deque()
        self._done = _Done()
        self.arraysize = 1

    @property
    def description(self) -> Any:  # noqa: ANN401 - DB-API
        return self._done.description

    @property
    def rowcount(self) -> int:
        return self._done.rowcount

    @property
    def lastrowid(self) -> int:
        return cast("int", self._done.lastrowid)

    def close(self) -> None:
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        return None

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:  # noqa: ANN401 - DB-API
        await self._send(operation, parameters, many=False)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:  # noqa: ANN401 - DB-API
        await self._send(operation, seq_of_parameters, many=True)

    async def _send(self, statement: str, values: Any, *, many: bool) -> None:  # noqa: ANN401 - DB-API
        adapter: Any = self._adapt_connection
        async with adapter._execute_mutex:  # noqa: SLF001 - as the adapter's own cursor does
            connection = adapter._connection  # noqa: SLF001 - aiosqlite's
            raw = connection._conn  # noqa: SLF001 - used in its own thread only
            begin, adapter.begin_first = adapter.begin_first, False
            self._done = await connection._execute(  # noqa: SLF001 - its queue
                _run, raw, statement, values, many=many, begin=begin
            )
        self._rows = collections.deque(self._done.rows)


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ("begin_first",)
    _cursor_cls = _Cursor

    begin_first: bool
    """Begin a transaction together with the next statement, which saves a trip."""


class OneTripDriver(AsyncAdapt_aiosqlite_dbapi):
    """Give it to ``create_async_engine`` as ``module``."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arg: Any, **kw: Any) -> AsyncAdapt_aiosqlite_connection:  # noqa: ANN401 - DB-API
        """Open a connection."""
        plain = super().connect(*arg, **kw)
        connection = _Connection(self, plain._connection)  # noqa: SLF001 - what the adapter wraps
        connection.begin_first = False
        return connection


def begin_first(connection: AsyncConnection, *, wanted: bool) -> None:
    """Let a transaction begin with the next statement on ``connection``, or not after all."""
    pooled = connection.sync_connection
    if pooled is None or pooled.closed or pooled.invalidated:
        return
    driver: Any = pooled.connection.dbapi_connection
    if isinstance(driver, _Connection):
        driver.begin_first = wanted
