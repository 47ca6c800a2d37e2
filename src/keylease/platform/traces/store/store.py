"""The trace store: opens the engine, brings the tables up to date, writes and reads.

    store = open_embedded(directory, limits=Limits())
    store = open_server(StoreServer(address=server_address("clickhouse://user@host/keylease")))

Importing this loads Arrow and the engine (about 100 MB, half a second): import it when needed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from keylease.errors import TraceError, TraceStoreInUse, TraceStoreUnavailable
from keylease.platform.traces.interfaces import Rows, Understood, WriteBatch
from keylease.platform.traces.model import Span
from keylease.platform.traces.store.address import StoreServer
from keylease.platform.traces.store.engine import EmbeddedEngine, Engine, Limits, ServerEngine
from keylease.platform.traces.store.failures import is_engine_failure
from keylease.platform.traces.store.migrate import migrate
from keylease.platform.traces.store.place import Place
from keylease.platform.traces.store.reading import Reader
from keylease.platform.traces.store.removal import Removal
from keylease.platform.traces.store.schema import Layout
from keylease.platform.traces.store.writing import Writer

TABLES: Final = ("spans", "span_versions", "span_keys", "payloads", "removals")
"""Every table that holds rows of organizations."""

_OTHER_STORE: Final = "cannot connect with different path"


class TraceStore:
    """As ``interfaces.Store``. ``apply`` is for one thread, everything else for many."""

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        *,
        store_id: str,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.layout = layout
        self.store_id = store_id
        self.reader = Reader(engine, layout)
        self.removal = Removal(engine, layout)
        self._let_go = let_go
        self._writes = threading.Lock()
        self._writer = Writer(engine, layout, removal=self.removal, whole_text=self._whole_text)
        engine.use(layout.database)
        self._applied = self._last_transaction()

    def apply(self, batches: Sequence[WriteBatch], rows: Sequence[Sequence[Understood]]) -> None:
        """As ``interfaces.Store.apply``."""
        with self._writes:
            self._writer.apply(batches, rows)
        self._applied = max(self._applied, *(batch.xact_id for batch in batches), 0)

    def applied(self) -> int:
        """The last transaction that reads see; 0 for an empty store.

        After a start it is the last one that left a row: one that changed nothing is not in it.
        """
        return self._applied

    def select(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
    ) -> Rows:
        """As ``interfaces.Store.select``. Tables are named without a database."""
        return self.engine.read(sql, parameters, settings=settings)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is written meanwhile: for a moment in which all tables belong together."""
        with self._writes:
            yield

    def select_for_user(self, sql: str, parameters: Mapping[str, object]) -> Rows:
        """As ``select``, for what ``query.sql`` made of a user's statement.

        The engine itself is read only here, and its limits cannot be changed.
        """
        return self.engine.read_for_user(sql, parameters)

    def close(self) -> None:
        """Let go of the engine and of the directory."""
        self.engine.close()
        self._let_go()

    def _last_transaction(self) -> int:
        answer = self.engine.read(
            self.layout.sql(
                "SELECT max(last) FROM (SELECT max(xact_id) AS last FROM @span_keys "
                "UNION ALL SELECT max(xact_id) FROM @removals)"
            )
        )
        return int(str(answer.rows[0][0] or 0))

    def _whole_text(self, span: Span, digest: str) -> str:
        text = self.reader.payload(span.organization_id, span.project_id, span.trace_id, digest)
        return text or ""


def open_embedded(
    directory: Path, *, limits: Limits | None = None, store_id: str = ""
) -> TraceStore:
    """Open the store in ``directory`` with an engine in this process; make it when it is the first.

    ``store_id`` is the identifier that a new store gets; else it makes one up.

    Raises ``TraceStoreInUse``, ``TraceStoreTooNew`` and ``TraceStoreUnavailable``.
    """
    place = Place(directory)
    place.open(store_id=store_id)
    engine: Engine | None = None
    try:
        engine = EmbeddedEngine(place.engine, incoming=place.incoming, limits=limits or Limits())
        layout = Layout()
        store_id = migrate(engine, layout, store_id=place.store_id)
        _check_tables(engine, layout)
        place.made()
        return TraceStore(engine, layout, store_id=store_id, let_go=place.close)
    except Exception as error:
        if engine is not None:
            engine.close()
        place.close()
        if isinstance(error, TraceError) or not is_engine_failure(error):
            raise
        if _OTHER_STORE in str(error):
            raise TraceStoreInUse(
                "This process has another trace store open.",
                advice="Close it first; one process can have one.",
            ) from error
        raise TraceStoreUnavailable(
            f"The trace store in {directory} cannot be opened.",
            advice="Its files are damaged, or not readable. Restore a back-up into an empty "
            "directory with `keylease traces restore`.",
        ) from error


def open_server(server: StoreServer, *, limits: Limits | None = None) -> TraceStore:
    """Use the tables on a ClickHouse server, or on its cluster.

    Raises ``TraceStoreTooNew`` and ``TraceStoreUnavailable``.
    """
    engine = ServerEngine(server, limits=limits or Limits())
    try:
        layout = Layout(database=server.address.database, cluster=server.cluster)
        store_id = migrate(engine, layout)
        return TraceStore(engine, layout, store_id=store_id)
    except BaseException:
        engine.close()
        raise


def _check_tables(engine: Engine, layout: Layout) -> None:
    """Touch every table: the engine loads them late, and then says what is broken."""
    for name in TABLES:
        engine.read(layout.sql("SELECT count() FROM @table", table=layout.table(name)))
