"""Who created which provider-side object: files, batches, stored responses.

Promise: when ``remember`` returns, the owner survives power loss. An object is known under the
    credential it was created with; the first owner stays. What a batch was charged is known until
    it is settled, which happens once.
Limits: identifiers of things that providers delete by themselves (stored responses and
    completions: 30 days) are forgotten after 60 days. The file is SQLite, so that memory does not
    grow with the number of objects.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from keylease.errors import StorageCorrupt, StorageError, StorageFull
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.gateway.interfaces import BatchBound, BatchCharge, OwnedObject
from keylease.strongroom.gateway.records.commit_queue import CommitQueue

_FORGET_AFTER: Final = 60 * 86_400 * MICROSECONDS
_PASSING: Final = ("resp_%", "chatcmpl-%")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    object_id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    environment TEXT NOT NULL,
    created_at INTEGER NOT NULL  -- microseconds UTC
) WITHOUT ROWID
"""
_BATCH_FILES: Final = """
CREATE TABLE IF NOT EXISTS batch_files (
    object_id TEXT PRIMARY KEY,
    models TEXT NOT NULL  -- JSON array of names, never empty
) WITHOUT ROWID
"""
_BATCH_BOUNDS: Final = """
CREATE TABLE IF NOT EXISTS batch_bounds (
    object_id TEXT PRIMARY KEY,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    open_answers INTEGER NOT NULL
) WITHOUT ROWID
"""
"""A table of its own, because files were checked before they were counted."""
_BATCH_LINES: Final = """
CREATE TABLE IF NOT EXISTS batch_lines (
    object_id TEXT PRIMARY KEY,
    requests INTEGER NOT NULL,
    largest_input INTEGER NOT NULL  -- tokens
) WITHOUT ROWID
"""
"""And this, because they were added up before they were counted."""
_BATCH_CHARGES: Final = """
CREATE TABLE IF NOT EXISTS batch_charges (
    batch_id TEXT PRIMARY KEY,
    charge TEXT NOT NULL,  -- JSON: BatchCharge
    cost INTEGER,          -- micro-USD, once it is known
    settled INTEGER NOT NULL DEFAULT 0  -- 1: the ledger has it
) WITHOUT ROWID
"""
_BATCH_RESULTS: Final = """
CREATE TABLE IF NOT EXISTS batch_results (
    object_id TEXT PRIMARY KEY,
    batch_id TEXT NOT NULL
) WITHOUT ROWID
"""
_FORGET_CHARGES: Final = (
    "DELETE FROM batch_charges WHERE settled = 1"
    " OR (cost IS NULL AND batch_id NOT IN (SELECT object_id FROM objects))"
)
"""At a start: what was settled, when nobody holds any more what was read of it, and what nobody can
ask for."""
_TABLES: Final = (
    _SCHEMA,
    _BATCH_FILES,
    _BATCH_BOUNDS,
    _BATCH_LINES,
    _BATCH_CHARGES,
    _BATCH_RESULTS,
)
_INSERT: Final = "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_BATCH_FILE: Final = (
    "INSERT OR IGNORE INTO batch_files SELECT object_id, ? FROM objects"
    " WHERE object_id = ? AND principal = ? AND credential_id = ?"
)
"""What was checked was checked for the owner, and the first one stays."""
_INSERT_BATCH_BOUND: Final = (
    "INSERT OR IGNORE INTO batch_bounds SELECT object_id, ?, ?, ? FROM objects"
    " WHERE object_id = ? AND principal = ? AND credential_id = ?"
)
_INSERT_BATCH_LINES: Final = (
    "INSERT OR IGNORE INTO batch_lines SELECT object_id, ?, ? FROM objects"
    " WHERE object_id = ? AND principal = ? AND credential_id = ?"
)
_INSERT_BATCH_CHARGE: Final = (
    "INSERT OR IGNORE INTO batch_charges SELECT object_id, ?, NULL, 0 FROM objects"
    " WHERE object_id = ? AND principal = ? AND credential_id = ?"
)
_INSERT_BATCH_RESULTS: Final = (
    "INSERT OR IGNORE INTO batch_results SELECT object_id, ? FROM objects"
    " WHERE object_id = ? AND principal = ? AND credential_id = ?"
)
_FIND: Final = (
    "SELECT objects.object_id, principal, credential_id, purpose, environment, models,"
    " input_tokens, output_tokens, open_answers, requests, largest_input, charge"
    " FROM objects LEFT JOIN batch_files USING (object_id)"
    " LEFT JOIN batch_bounds USING (object_id)"
    " LEFT JOIN batch_lines USING (object_id)"
    " LEFT JOIN batch_results USING (object_id)"
    " LEFT JOIN batch_charges ON cost IS NULL"
    " AND batch_charges.batch_id = COALESCE(batch_results.batch_id, objects.object_id)"
    " WHERE objects.object_id = ?"
)
_DECIDE: Final = "UPDATE batch_charges SET cost = ? WHERE batch_id = ? AND cost IS NULL"
_DECIDED: Final = "SELECT charge, cost FROM batch_charges WHERE cost IS NOT NULL AND settled = 0"
_SETTLED: Final = "UPDATE batch_charges SET settled = 1 WHERE batch_id = ?"
_CHARGE: Final = msgspec.json.Decoder(BatchCharge)
_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])
_FORGET: Final = (
    "DELETE FROM objects WHERE created_at < ? AND (object_id LIKE ? OR object_id LIKE ?)"
)


class ObjectRegistry:
    """The owners of objects."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        """Open or create the registry; raises ``StorageError``."""
        self._clock = clock
        self._path = directory / "objects.sqlite"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be created: {error.strerror}.") from error
        self._writer = self._connect()
        self._reader = self._connect()
        self._queue: CommitQueue[OwnedObject] = CommitQueue(self._write, name="objects")
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="objects-read")

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, check_same_thread=False, timeout=5.0)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            for table in _TABLES:
                connection.execute(table)
            connection.execute(_FORGET, (self._clock.now() - _FORGET_AFTER, *_PASSING))
            connection.execute(_FORGET_CHARGES)
            connection.commit()
        except sqlite3.Error as error:
            self._refuse(error)
        return connection

    def _write(self, objects: list[OwnedObject]) -> None:
        now = self._clock.now()
        rows = [
            (o.object_id, o.principal, o.credential_id, o.purpose, o.environment, now)
            for o in objects
        ]
        try:
            with self._writer:
                self._writer.executemany(_INSERT, rows)
                self._writer.executemany(
                    _INSERT_BATCH_FILE,
                    [
                        (
                            msgspec.json.encode(o.batch_models).decode(),
                            o.object_id,
                            o.principal,
                            o.credential_id,
                        )
                        for o in objects
                        if o.batch_models
                    ],
                )
                self._writer.executemany(
                    _INSERT_BATCH_BOUND,
                    [
                        (
                            bound.input_tokens,
                            bound.output_tokens,
                            bound.open_answers,
                            o.object_id,
                            o.principal,
                            o.credential_id,
                        )
                        for o in objects
                        if (bound := o.batch_bound) is not None
                    ],
                )
                for o in objects:
                    self._write_batch(o)
        except sqlite3.Error as error:
            self._refuse(error)

    def _write_batch(self, owned: OwnedObject) -> None:
        """The rest of what is known of a batch, of its file, or of its results."""
        owner = (owned.object_id, owned.principal, owned.credential_id)
        bound = owned.batch_bound
        if bound is not None and bound.requests:
            counted = (bound.requests, bound.largest_input)
            self._writer.execute(_INSERT_BATCH_LINES, (*counted, *owner))
        charge = owned.batch_charge
        if charge is None:
            return
        if charge.batch_id == owned.object_id:
            encoded = msgspec.json.encode(charge).decode()
            self._writer.execute(_INSERT_BATCH_CHARGE, (encoded, *owner))
        else:
            self._writer.execute(_INSERT_BATCH_RESULTS, (charge.batch_id, *owner))

    async def decide_cost(self, batch_id: str, micro_usd: int) -> bool:
        """Store durably what a batch cost; false when that was decided before."""
        decided = False

        def decide() -> None:
            nonlocal decided
            try:
                with self._writer:
                    decided = self._writer.execute(_DECIDE, (micro_usd, batch_id)).rowcount == 1
            except sqlite3.Error as error:
                self._refuse(error)

        await self._queue.call(decide)
        return decided

    async def decided(self) -> list[tuple[BatchCharge, int]]:
        """Charges with their real cost that the ledger may not have."""
        found: list[tuple[BatchCharge, int]] = []

        def read() -> None:
            try:
                rows = self._writer.execute(_DECIDED).fetchall()
            except sqlite3.Error as error:
                self._refuse(error)
            found.extend((_CHARGE.decode(charge), cost) for charge, cost in rows)

        await self._queue.call(read)
        return found

    async def settled(self, batch_id: str) -> None:
        """The ledger has what a batch cost; raises ``StorageError``."""

        def mark() -> None:
            try:
                with self._writer:
                    self._writer.execute(_SETTLED, (batch_id,))
            except sqlite3.Error as error:
                self._refuse(error)

        await self._queue.call(mark)

    async def remember(self, owned: OwnedObject) -> None:
        """Store an owner durably; raises ``StorageError``."""
        await self._queue.put(owned)

    async def find(self, object_id: str) -> OwnedObject | None:
        """The owner, or ``None``; raises ``StorageError``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, self._find, object_id)

    def _find(self, object_id: str) -> OwnedObject | None:
        try:
            row = self._reader.execute(_FIND, (object_id,)).fetchone()
        except sqlite3.Error as error:
            self._refuse(error)
        if row is None:
            return None
        return OwnedObject(
            object_id=row[0],
            principal=row[1],
            credential_id=row[2],
            purpose=row[3],
            environment=row[4],
            batch_models=_NAMES.decode(row[5]) if row[5] is not None else (),
            batch_bound=BatchBound(
                input_tokens=row[6],
                output_tokens=row[7],
                open_answers=row[8],
                requests=row[9] or 0,
                largest_input=row[10] or 0,
            )
            if row[6] is not None
            else None,
            batch_charge=_CHARGE.decode(row[11]) if row[11] is not None else None,
        )

    def _refuse(self, error: sqlite3.Error) -> NoReturn:
        if error.sqlite_errorname == "SQLITE_FULL":
            raise StorageFull(
                f"No space is left for {self._path}.", advice="Free space on that disk."
            ) from error
        if error.sqlite_errorname in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            raise StorageCorrupt(
                f"{self._path} is damaged.",
                advice="Put it back from a back-up; without it nobody reaches earlier objects.",
            ) from error
        raise StorageError(f"{self._path} cannot be used ({error.sqlite_errorname}).") from error

    async def close(self) -> None:
        """Finish what is being written."""
        await self._queue.close()
        await asyncio.to_thread(self._reading.shutdown)
        self._writer.close()
        self._reader.close()
