"""The engine behind the store: embedded in this process, or a ClickHouse server.

Both speak through clickhouse-connect, take the same SQL and give the same rows. A client serves one
thread at a time, so that each engine keeps one for writing and some for reading.

Limits: one embedded engine in a process, at one path. Never fork while it is open: the child hangs.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

import clickhouse_connect
import msgspec
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from keylease.errors import TraceError, TraceStoreUnavailable
from keylease.platform.traces.interfaces import Rows
from keylease.platform.traces.store.address import ServerAddress, StoreServer
from keylease.platform.traces.store.failures import (
    connecting_failed,
    is_refused_sign_in,
    reading_failed,
    writing_failed,
)
from keylease.platform.traces.store.loading import configured
from keylease.platform.traces.store.signing_in import SigningIn

_Result = TypeVar("_Result")
MEBIBYTE: Final = 1_048_576
_PORTION: Final = 16 * MEBIBYTE
"""Bytes of rows that are inserted at once; the engine takes about eight times as much for them."""
_AS_NUMBERS: Final = {"DateTime64*": "int"}
"""Times are read as what they are stored as: microseconds."""

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60
"""Without a byte from a server; its own limit of a query is below that."""
_WRITE_SECONDS: Final = 300
"""As ``_READ_SECONDS``, for what writes: a removal answers when its parts were written again."""

_EMBEDDED: Final = {
    "mark_cache_size": 32 * MEBIBYTE,
    "index_mark_cache_size": 16 * MEBIBYTE,
    "primary_index_cache_size": 16 * MEBIBYTE,
    "query_condition_cache_size": 8 * MEBIBYTE,
    "background_pool_size": 2,
    "background_merges_mutations_concurrency_ratio": 1,
    "background_common_pool_size": 2,
}
"""The engine's own defaults are for a server with a machine to itself: caches of 5 GB each, merges
on sixteen threads."""

_CLUSTER: Final[Mapping[str, object]] = {
    # A trace lies on one shard whole, so that a sub-select finds there what it asks for.
    "distributed_product_mode": "local",
    # The replica that was written to is the one that is read, as long as it lives.
    "load_balancing": "in_order",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one engine and one query may use."""

    memory: int = 450 * MEBIBYTE
    """Bytes that the embedded engine may hold in all; the libraries around it take about 170 MB."""
    query_memory: int = 300 * MEBIBYTE
    query_seconds: float = 30.0
    query_rows: int = 100_000
    """Rows of an answer."""
    user_memory: int = 256 * MEBIBYTE
    """Of a statement that a user wrote."""
    user_seconds: float = 20.0
    user_rows: int = 10_000
    readers: int = 4
    threads: int = 2
    """Of one query."""

    def of_reading(self) -> dict[str, object]:
        """Settings of every reading client."""
        return {
            "max_execution_time": self.query_seconds,
            "max_memory_usage": self.query_memory,
            "max_result_rows": self.query_rows,
            "result_overflow_mode": "throw",
            "max_threads": self.threads,
            # The engine's default, a gigabyte for each thread, would leave one of them.
            "max_threads_min_free_memory_per_thread": 0,
            # Parts overlap little, in the newest minutes: planning how to tell those versions apart
            # in several threads takes longer than it saves.
            "split_intersecting_parts_ranges_into_layers_final": 0,
            # Both would read the text of every row instead of asking the index for its words.
            "use_skip_indexes_for_top_k": 0,
            "use_top_k_dynamic_filtering": 0,
            "readonly": 2,
        }

    def of_users(self) -> dict[str, object]:
        """Settings of the clients for statements that users wrote.

        Under ``readonly`` 1, which comes last because nothing can be set after it, the engine
        itself refuses table functions that reach outside and any change of a setting.
        """
        bounds = self.of_reading()
        del bounds["readonly"]
        return bounds | {
            "max_execution_time": self.user_seconds,
            "max_memory_usage": self.user_memory,
            "max_result_rows": self.user_rows,
            "max_result_bytes": 64 * MEBIBYTE,
            "timeout_overflow_mode": "throw",
            "max_rows_in_set": 1_000_000,
            "max_bytes_in_join": 128 * MEBIBYTE,
            "max_subquery_depth": 50,
            "readonly": 1,
        }


class Engine(Protocol):
    """What the store needs of an engine. Methods block; reading is for many threads."""

    def read(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> Rows:
        """Rows of a SELECT, under limits. Raises what ``failures.reading_failed`` makes."""

    def read_for_user(self, sql: str, parameters: Mapping[str, object]) -> Rows:
        """As ``read``, for a statement that a user wrote: ``Limits.of_users``."""

    def columns(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        """As ``read``, as columns: for many rows that go on to a file."""

    def run(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """A statement that changes something. Raises what ``failures.writing_failed`` makes."""

    def maintain(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """As ``run``, for what may take long: inserts go on meanwhile."""

    def insert(self, table: str, columns: pa.Table) -> None:
        """Add rows; on the disk when this returns."""

    def use(self, database: str) -> None:
        """Let statements name tables without this database. Before threads come."""

    def close(self) -> None:
        """Let go of the engine."""


class _Seat:
    """A place for one client, which is made when it is needed, and again after a failure.

    After a query that failed in the middle, an embedded client gives what was left of its answer
    to whoever asks next: rows of another organization, perhaps. Such a client is never asked again.
    """

    def __init__(
        self, make: Callable[[], Client], *, failed: Callable[[Exception], TraceError]
    ) -> None:
        """``failed``: what is raised when ``make`` does not give a client."""
        self._make = make
        self._failed = failed
        self._client: Client | None = None
        self._database = ""

    @contextlib.contextmanager
    def taken(self) -> Iterator[Client]:
        """The client, which is thrown away when the block fails."""
        try:
            client = self.open()
        except Exception as error:
            raise self._failed(error) from error
        try:
            yield client
        except BaseException:
            self.close()
            raise

    def ask(self, job: Callable[[Client], _Result]) -> _Result:
        """What ``job`` makes of the client.

        Once more with a new client when the server does not let the old one in any more: it looks
        at the password first, so that nothing was done. The new one may have another password.
        """
        try:
            with self.taken() as client:
                return job(client)
        except TraceStoreUnavailable as error:
            if not is_refused_sign_in(error.__cause__):
                raise
        with self.taken() as client:
            return job(client)

    def open(self) -> Client:
        """Make the client unless it is there. Raises what the library raises."""
        if self._client is None:
            self._client = self._make()
        if self._database:
            self._client.database = self._database
        return self._client

    def use(self, database: str) -> None:
        self._database = database

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


class _Clients:
    """One client that writes, one for statements of users, and some that read."""

    def __init__(
        self,
        writer: _Seat,
        maintainer: _Seat,
        for_users: _Seat,
        readers: list[_Seat],
        *,
        wait: float,
    ) -> None:
        self._for_users: queue.LifoQueue[_Seat] = queue.LifoQueue()
        self._for_users.put(for_users)
        self._writer = writer
        self._writes = threading.Lock()
        self._maintainer = maintainer
        self._maintains = threading.Lock()
        self._readers: queue.LifoQueue[_Seat] = queue.LifoQueue()
        for reader in readers:
            self._readers.put(reader)
        self._all = [writer, maintainer, for_users, *readers]
        self._wait = wait
        try:
            for seat in self._all:
                seat.open()
        except BaseException:
            self.close()
            raise

    def write(self, job: Callable[[Client], None]) -> None:
        """Let the client that writes do something."""
        with self._writes:
            self._writer.ask(job)

    @contextlib.contextmanager
    def _reader(self, *, for_user: bool = False) -> Iterator[_Seat]:
        """The reader that was used last, whose caches are warm. Raises when all are busy long."""
        seats = self._for_users if for_user else self._readers
        try:
            seat = seats.get(timeout=self._wait)
        except queue.Empty:
            raise TraceStoreUnavailable(
                "Too many queries run at the same time.", advice="Try again in a moment."
            ) from None
        try:
            yield seat
        finally:
            seats.put(seat)

    def read(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> Rows:
        with self._reader() as seat:
            return seat.ask(lambda client: _rows(client, sql, parameters, settings))

    def read_for_user(self, sql: str, parameters: Mapping[str, object]) -> Rows:
        with self._reader(for_user=True) as seat:
            return seat.ask(lambda client: _rows(client, sql, parameters, None))

    def columns(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        with self._reader() as seat:
            return seat.ask(lambda client: _columns(client, sql, parameters))

    def run(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        self.write(lambda client: _command(client, sql, parameters))

    def maintain(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        with self._maintains:
            self._maintainer.ask(lambda client: _command(client, sql, parameters))

    def use(self, database: str) -> None:
        for seat in self._all:
            seat.use(database)

    def close(self) -> None:
        for seat in self._all:
            seat.close()


class EmbeddedEngine(_Clients):
    """chDB in this process. ``directory`` belongs to it; rows on their way lie in ``incoming``."""

    def __init__(self, directory: Path, *, incoming: Path, limits: Limits) -> None:
        options = {name: str(value) for name, value in _EMBEDDED.items()}
        options["max_server_memory_usage"] = str(limits.memory)
        options["config-file"] = str(configured(incoming))

        def seat(settings: dict[str, object]) -> _Seat:
            return _Seat(
                lambda: clickhouse_connect.get_client(
                    dsn=f"chdb://{directory}",
                    chdb_options=options,
                    settings=settings,
                    tz_mode="aware",
                ),
                failed=reading_failed,
            )

        slow: dict[str, object] = {"mutations_sync": 2, "lightweight_deletes_sync": 2}
        super().__init__(
            seat({"max_threads": 1, "max_insert_threads": 1}),
            seat({"max_threads": 1} | slow),
            seat(limits.of_users()),
            [seat(limits.of_reading()) for _ in range(limits.readers)],
            wait=limits.query_seconds,
        )
        self._incoming = incoming

    def insert(self, table: str, columns: pa.Table) -> None:
        """Hand columns over in files of ours; the client by itself would use ``/tmp``."""
        names = ", ".join(f"`{name}`" for name in columns.column_names)
        for some in _portions(columns):
            file = self._incoming / f"{secrets.token_hex(8)}.arrow"
            path = str(file).replace("\\", "\\\\").replace("'", "\\'")
            try:
                with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, some.schema) as out:
                    out.write_table(some)
                self.run(f"INSERT INTO {table} ({names}) FROM INFILE '{path}' FORMAT Arrow")
            except OSError as error:
                raise writing_failed(error) from error
            finally:
                file.unlink(missing_ok=True)


class ServerEngine(_Clients):
    """A ClickHouse server, or any node of a cluster."""

    def __init__(self, server: StoreServer, *, limits: Limits) -> None:
        spread = _CLUSTER if server.cluster else {}
        writing = dict(spread) | {"wait_end_of_query": 1}
        if server.cluster:
            writing |= {"distributed_foreground_insert": 1, "insert_quorum": "auto"}
        slow = {"mutations_sync": 2, "lightweight_deletes_sync": 2}
        signing_in = SigningIn(server)
        # It writes a line about each attempt; who is told that a server is away is our own concern.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)

        def seat(settings: Mapping[str, object], *, seconds: int = _READ_SECONDS) -> _Seat:
            return _server_seat(server.address, signing_in, settings, seconds=seconds)

        try:
            super().__init__(
                seat(writing, seconds=_WRITE_SECONDS),
                seat(writing | slow, seconds=_WRITE_SECONDS),
                seat(dict(spread) | limits.of_users()),
                [seat(dict(spread) | limits.of_reading()) for _ in range(limits.readers)],
                wait=limits.query_seconds,
            )
        except Exception as error:
            raise connecting_failed(error, server.address, password=signing_in.trouble) from error

    def insert(self, table: str, columns: pa.Table) -> None:
        """Send columns as Arrow streams. Of portions that are sent twice the engine keeps one."""

        def sent(client: Client) -> None:
            try:
                for some in _portions(columns):
                    client.insert_arrow(table, some)
            except Exception as error:
                raise writing_failed(error) from error

        self.write(sent)


def _portions(columns: pa.Table) -> Iterator[pa.Table]:
    """The rows, as many at a time as the engine takes without much memory."""
    rows = max(1, columns.num_rows * _PORTION // max(1, columns.nbytes))
    for start in range(0, columns.num_rows, rows):
        yield columns.slice(start, rows)


def _server_seat(
    address: ServerAddress,
    signing_in: SigningIn,
    settings: Mapping[str, object],
    *,
    seconds: int,
) -> _Seat:
    def connected(password: str) -> Client:
        return clickhouse_connect.get_client(
            # Said one by one: an address would be able to say much else.
            host=address.host,
            port=address.port,
            interface="https" if address.secure else "http",
            username=address.user,
            password=password,
            ca_cert=address.ca_file or None,
            connect_timeout=_CONNECT_SECONDS,
            send_receive_timeout=seconds,
            settings=dict(settings),
            autogenerate_session_id=False,
            form_encode_query_params=True,  # thousands of identifiers are no address
            tz_mode="aware",
        )

    def made() -> Client:
        why = "to sign in at the ClickHouse server"
        password = signing_in.password.reveal(why=why)
        try:
            return connected(password)
        except Exception as error:
            if not is_refused_sign_in(error) or not signing_in.renewed(password):
                raise
        return connected(signing_in.password.reveal(why=why))

    def failed(error: Exception) -> TraceError:
        return connecting_failed(error, address, password=signing_in.trouble)

    return _Seat(made, failed=failed)


def _rows(
    client: Client,
    sql: str,
    parameters: Mapping[str, object] | None,
    settings: Mapping[str, object] | None,
) -> Rows:
    try:
        answer = client.query(
            sql,
            parameters=dict(parameters or {}),
            settings=dict(settings or {}),
            query_formats=_AS_NUMBERS,
        )
    except Exception as error:
        raise reading_failed(error) from error
    return Rows(
        columns=tuple(answer.column_names),
        types=tuple(kind.name for kind in answer.column_types),
        rows=[tuple(row) for row in answer.result_rows],
    )


def _columns(client: Client, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
    try:
        return client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True)
    except Exception as error:
        raise reading_failed(error) from error


def _command(client: Client, sql: str, parameters: Mapping[str, object] | None) -> None:
    try:
        client.command(sql, parameters=dict(parameters or {}))
    except Exception as error:
        raise writing_failed(error) from error
