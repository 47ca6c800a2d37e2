"""From the log into the store: one thread that makes rows of what waits, and inserts them.

Promises: the mark moves only behind what the store has taken. Nothing that came in can stop it for
    good: a span that no row can be made of, and a batch that the store refuses, are set aside
    with their reason; a store that does not answer is asked again, ever more slowly.
Limits: it reads the log, also right after it was written: one way for a replay and for the rest.

While spans arrive and the log has room, it rests as long as it works: both run in one interpreter,
and an acknowledgement must not wait for rows that nobody has asked for yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from keylease.errors import (
    KeyleaseError,
    StorageCorrupt,
    StorageError,
    TraceBatchRefused,
    TraceStoreUnavailable,
)
from keylease.platform.traces.ingest.entries import decoded_batch
from keylease.platform.traces.ingest.set_aside import SetAside, SetAsideFiles
from keylease.platform.traces.ingest.write_log import Mark, WriteLog
from keylease.platform.traces.interfaces import (
    PutSpan,
    RemoveSpans,
    Store,
    Understanding,
    Understood,
    Write,
    WriteBatch,
)
from keylease.platform.traces.model import Span
from keylease.primitives.clock import Clock
from keylease.primitives.segments import Cursor

GATHER_SECONDS: Final = 0.2
ENOUGH_BYTES: Final = 4 * 1024 * 1024
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one block."""
_LONGEST_REST: Final = 1.0
"""Seconds, between two blocks."""
_LOOK: Final = 0.02
"""Seconds without a new entry after which nobody is sending."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_UNEXPECTED_TRIES: Final = 3


class _Readable(msgspec.Struct, frozen=True):
    batch: WriteBatch
    rows: Sequence[Understood]


class _Stopped(Exception):
    """The thread was told to end while it waited for the store."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told what; called in the writer's thread."""

    applied: Callable[[int, Sequence[Span]], None]
    """Transactions up to this one are readable; these are the new rows."""
    set_aside: Callable[[SetAside], None]
    state: Callable[[KeyleaseError | None], None]
    """The store does not take rows now; ``None`` when it does again."""


class Writer:
    """Owns the way from log to store. ``start`` it, then ``stop`` it."""

    def __init__(
        self,
        log: WriteLog,
        store: Store,
        understanding: Understanding,
        aside: SetAsideFiles,
        listener: Listener,
        *,
        clock: Clock,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._log = log
        self._store = store
        self._understanding = understanding
        self._aside = aside
        self._listener = listener
        self._clock = clock
        self._gather = gather_seconds
        self._cursor = log.mark.cursor
        self._last = log.mark.xact_id
        self._hurry = threading.Event()
        self._awaited = 0
        self._stopping = threading.Event()
        self._available = True
        self._thread = threading.Thread(target=self._work, name="trace-writer", daemon=True)

    def start(self) -> None:
        """Begin with what the log holds."""
        self._thread.start()

    def hurry(self, xact_id: int) -> None:
        """Somebody waits to read this transaction: neither gather nor rest until it is written."""
        self._awaited = max(self._awaited, xact_id)
        self._hurry.set()

    def stop(self) -> None:
        """End after the block under way; the rest is in the log."""
        self._stopping.set()
        self._hurry.set()
        self._log.wake()
        self._thread.join()

    # --- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._write()
            except _Stopped:
                return
            except Exception as error:  # noqa: BLE001 - a defect must not end the only writer
                name = type(error).__name__
                self._trouble(TraceStoreUnavailable(f"Writing spans ended in {name}."))
                self._stopping.wait(_LONGEST_PAUSE)

    def _write(self) -> None:
        """Block after block, until it is told to stop."""
        took = 0.0
        while True:
            self._log.wait_beyond(self._cursor, self._stopping.is_set)
            if self._awaited <= self._last:
                self._give_way(took)
                if self._log.segments.bytes_after(self._cursor) < ENOUGH_BYTES:
                    self._hurry.wait(self._gather)
            if self._stopping.is_set():
                return
            self._hurry.clear()
            began = self._clock.monotonic()
            self._turn()
            took = self._clock.monotonic() - began

    def _give_way(self, seconds: float) -> None:
        """Rest, at most for so long, while spans arrive, nobody waits, and the log has room."""
        for _ in range(int(min(seconds, _LONGEST_REST) / _LOOK)):
            seen = self._log.last_logged
            if self._hurry.wait(_LOOK) or self._log.last_logged == seen or self._log.is_filling():
                return

    def _turn(self) -> None:
        """One block from the log into the store."""
        try:
            block = self._log.segments.read(self._cursor, maximum_bytes=MOST_BYTES)
        except StorageCorrupt as error:
            self._pass_damage(error)
            return
        except StorageError as error:
            self._pause(error, _LONGEST_PAUSE)
            return
        batches: list[WriteBatch] = []
        for number, record in enumerate(block.records):
            try:
                batches.append(decoded_batch(record))
            except (msgspec.DecodeError, UnicodeDecodeError):
                place = Cursor(self._cursor.segment, self._cursor.offset + number)
                self._keep_damage(place, record, "It is no entry of the log.")
        understood = [self._understood(batch) for batch in batches]
        self._apply(understood)
        for batch in batches:
            for write in batch.writes:
                if isinstance(write, RemoveSpans):
                    self._remove_from_aside(batch, write)
        if batches:
            self._last = max(self._last, batches[-1].xact_id)
        self._advance(block.following, [row.span for one in understood for row in one.rows])

    def _advance(self, cursor: Cursor, rows: Sequence[Span]) -> None:
        self._cursor = cursor
        while True:
            try:
                self._log.applied(Mark(cursor, self._last))
                break
            except StorageError as error:  # a full disk; what is applied is recognised in a replay
                self._pause(error, _LONGEST_PAUSE)
        self._available_again()
        self._listener.applied(self._last, rows)

    def _pass_damage(self, error: StorageCorrupt) -> None:
        following, content = self._log.segments.resume(self._cursor)
        self._keep_damage(self._cursor, content, error.message)
        self._advance(following, ())

    def _understood(self, batch: WriteBatch) -> _Readable:
        """Rows for the spans of a batch; writes of which none can be made are set aside."""
        writes: list[Write] = []
        rows: list[Understood] = []
        poison: list[Write] = []
        reason = ""
        for write in batch.writes:
            if isinstance(write, PutSpan):
                try:
                    row = self._understanding(
                        write.span,
                        organization_id=batch.organization_id,
                        project_id=batch.project_id,
                        source=write.source,
                        xact_id=batch.xact_id,
                        received_at=batch.received_at,
                    )
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the rest
                    poison.append(write)
                    reason = f"No row could be made of it: {type(error).__name__}."
                    continue
                rows.append(row)
            writes.append(write)
        if poison:
            self._set_aside(batch, poison, code="span_not_understood", reason=reason)
            batch = msgspec.structs.replace(batch, writes=writes)
        return _Readable(batch, rows)

    def _apply(self, batches: Sequence[_Readable]) -> None:
        """Give batches to the store, in order. Those that it refuses are found by halving."""
        if not batches:
            return
        pause, tries = _FIRST_PAUSE, 0
        while True:
            try:
                self._store.apply([one.batch for one in batches], [one.rows for one in batches])
            except TraceBatchRefused as error:
                self._part(batches, code=error.code, reason=error.message)
                return
            except (TraceStoreUnavailable, StorageError) as error:
                self._pause(error, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001 - a defect of the store must not stop the rest
                tries += 1
                name = type(error).__name__
                if tries == _UNEXPECTED_TRIES:
                    reason = f"The store failed with {name}."
                    self._part(batches, code="trace_batch_refused", reason=reason)
                    return
                self._pause(TraceStoreUnavailable(f"The trace store failed: {name}."), pause)
            else:
                return

    def _part(self, batches: Sequence[_Readable], *, code: str, reason: str) -> None:
        if len(batches) == 1:
            (one,) = batches
            self._set_aside(one.batch, one.batch.writes, code=code, reason=reason)
            return
        half = len(batches) // 2
        self._apply(batches[:half])
        self._apply(batches[half:])

    def _set_aside(
        self, batch: WriteBatch, writes: Sequence[Write], *, code: str, reason: str
    ) -> None:
        self._keep(
            lambda: self._aside.batch(batch, writes, at=self._clock.now(), code=code, reason=reason)
        )

    def _keep_damage(self, cursor: Cursor, content: bytes, reason: str) -> None:
        self._keep(lambda: self._aside.damage(cursor, content, at=self._clock.now(), reason=reason))

    def _keep(self, write: Callable[[], SetAside]) -> None:
        """Nothing goes on before what is set aside is kept."""
        while True:
            try:
                kept = write()
            except StorageError as error:
                self._pause(error, _LONGEST_PAUSE)
            else:
                self._listener.set_aside(kept)
                return

    def _remove_from_aside(self, batch: WriteBatch, write: RemoveSpans) -> None:
        while True:
            try:
                self._aside.remove(batch, write)
            except StorageError as error:
                self._pause(error, _LONGEST_PAUSE)
            else:
                return

    def _pause(self, error: KeyleaseError, seconds: float) -> None:
        self._trouble(error)
        if self._stopping.wait(seconds):
            raise _Stopped

    def _trouble(self, error: KeyleaseError) -> None:
        if self._available:
            self._available = False
            self._listener.state(error)

    def _available_again(self) -> None:
        if not self._available:
            self._available = True
            self._listener.state(None)
