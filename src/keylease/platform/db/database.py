"""The database: SQLite on one machine, PostgreSQL at scale, by the same statements.

SQLite has one writer at a time. Writing transactions therefore queue in this process, in the order
they came, and begin with ``BEGIN IMMEDIATE``; readers never wait. Its commits are durable
(``synchronous=FULL``): an audit entry that was promised survives a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from keylease.errors import ConfigurationError, DatabaseUnavailable
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.sqlite_driver import OneTripDriver, begin_first
from keylease.platform.db.transaction import Transaction
from keylease.primitives.clock import Clock

_BUSY_MILLISECONDS: Final = 5000
_STATEMENT_SECONDS: Final = 30
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_ONE_STATE: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Of PostgreSQL's transactions that read. They take no lock, and are never told to try again."""
_OF_TLS: Final = ("ssl", "sslrootcert", "sslcert", "sslkey")
_VERIFYING: Final = frozenset({"verify-ca", "verify-full"})
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}",
)


def database_url(text: str) -> URL:
    """Read ``sqlite:///path`` or ``postgresql://...``; raises ``ConfigurationError``."""
    try:
        url = make_url(text)
        driver = _DRIVERS[url.get_backend_name()]
    except (ArgumentError, KeyError):
        raise ConfigurationError(
            "The database's address is not understood.",
            advice="Use sqlite:///absolute/path or postgresql://user@host/name.",
        ) from None
    return url.set(drivername=driver)


def sqlite_url(file: Path) -> str:
    """The address of a database in a file."""
    return f"sqlite:///{file}"


class Database:
    """Gives out transactions. One per process."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        """Opens nothing yet."""
        parsed = database_url(url)
        self._clock = clock
        self.before_recording: Callable[[str], None] | None = None
        """Raises for an organization whose audit log cannot be written: its changes fail then."""
        self.is_sqlite: Final = parsed.get_backend_name() == "sqlite"
        self.url: Final = parsed
        """As it was given; it says how the way there is protected. It may name a passfile."""
        self._writers: asyncio.Lock | None = asyncio.Lock() if self.is_sqlite else None
        self.engine: Final = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)

    @contextlib.asynccontextmanager
    async def transaction(self, caller: Caller | None = None) -> AsyncIterator[Transaction]:
        """A unit of work that commits when the block ends well, and else never happened.

        Raises ``DatabaseUnavailable`` when the database cannot be reached or does not answer.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._writers is not None:
                await stack.enter_async_context(self._writers)
            connection = await stack.enter_async_context(self._connected())
            with _translated():
                async with connection.begin():
                    if self.is_sqlite:
                        await connection.execute(text("BEGIN IMMEDIATE"))
                    transaction = Transaction(
                        connection,
                        caller or platform_itself(),
                        self._clock,
                        before_recording=self.before_recording,
                    )
                    yield transaction
        transaction.committed()

    @contextlib.asynccontextmanager
    async def reading(self, caller: Caller | None = None) -> AsyncIterator[Transaction]:
        """A transaction that sees one state of the database and changes nothing."""
        async with self._connected() as connection:
            with _translated():
                if not self.is_sqlite:
                    await connection.execution_options(**_ONE_STATE)
                begin_first(connection, wanted=True)
                try:
                    yield Transaction(
                        connection, caller or platform_itself(), self._clock, only_reads=True
                    )
                finally:  # it is rolled back when the connection is given back
                    begin_first(connection, wanted=False)

    async def check(self) -> None:
        """Raise ``DatabaseUnavailable`` unless the database answers."""
        async with self.reading() as transaction:
            await transaction.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            with _translated():
                connection = await self.engine.connect()
        except OSError as error:  # refused, unknown host, timed out: not wrapped by SQLAlchemy
            raise _unavailable(error) from error
        try:
            yield connection
        finally:
            with _translated():
                await connection.close()


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        module=OneTripDriver(),
        pool_size=8,
        max_overflow=8,
        pool_timeout=10,
        connect_args={"timeout": 5},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's adapter
        # Python's own BEGIN is switched off; ours says what kind of transaction it is.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    return create_async_engine(
        url.difference_update_query(_OF_TLS),
        pool_size=10,
        max_overflow=10,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "timeout": 5,
            "command_timeout": _STATEMENT_SECONDS,
            **_tls(url),
            "server_settings": {
                "application_name": "keylease",
                "idle_in_transaction_session_timeout": str(_STATEMENT_SECONDS * 1000),
                "lock_timeout": str(_BUSY_MILLISECONDS),
            },
        },
    )


def _tls(url: URL) -> dict[str, Any]:
    """What the driver is told of TLS: by itself it reads none of the files an address names."""
    mode, *files = (str(url.query.get(name, "")) for name in _OF_TLS)
    authorities, certificate, key = files
    if not any(files) and mode not in _VERIFYING:
        return {"ssl": mode} if mode else {}
    try:
        context = ssl.create_default_context(cafile=authorities or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            "The files of TLS that the database's address names cannot be used.",
            advice="sslrootcert, sslcert and sslkey name files in PEM that the server's user can"
            " read.",
        ) from error
    context.check_hostname = mode != "verify-ca"
    return {"ssl": context}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the drivers' ways of saying that the database is gone into one error."""
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if not is_passing(error):
            raise
        raise _unavailable(error) from error


def is_passing(error: DBAPIError) -> bool:
    """Whether the database is away or busy, and not at odds with the statement."""
    if isinstance(error.orig, sqlite3.OperationalError):
        return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR
    return error.connection_invalidated or _is_gone(error)


def _is_gone(error: DBAPIError) -> bool:
    # Class 08 is "connection exception", 40 "transaction rollback" (deadlock, serialization), 53
    # "insufficient resources", 57 "operator intervention"; 55P03 is a lock that was not given in
    # time (PostgreSQL's manual, appendix A). Whoever tries again may well succeed.
    state = str(getattr(error.orig, "sqlstate", "") or "")
    return (
        state[:2] in {"08", "40", "53", "57"}
        or state == "55P03"
        or "connection is closed" in str(error.orig)
    )


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseUnavailable(
            f"The certificate of the database's server is not accepted: {error.verify_message}.",
            advice="sslrootcert in the database's address names who may vouch for it.",
        )
    full = "disk is full" in str(error) or "No space left" in str(error)
    return DatabaseUnavailable(
        "The disk of the database is full." if full else "The database does not answer.",
        advice="Nothing was changed. " + ("Make room." if full else "Try again in a moment."),
    )
