"""The write-ahead log: what was acknowledged is here, until the store has it.

Promises: when a submitted entry's future has its result, the entry survives ``kill -9`` and power
    loss. Entries that wait together share one write and one fsync. Transaction ids increase, also
    over restarts and when the clock goes back; an entry's id stands in it, so a replay gives the
    same ones.
Does not protect: against somebody who may write the files.
Limits: one owner of the directory. Bounded in bytes: beyond the bound ``TraceQueueFull``.

Directory: ``lock``, ``mark`` (how far the store has it, as JSON), and segments
(``primitives.segments``), whose records are ``WriteBatch`` in MessagePack.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import KeyleaseError, StorageError, TraceQueueFull, TraceStoreInUse
from keylease.platform.traces.ingest.entries import encoded_batch, encoded_writes
from keylease.platform.traces.interfaces import Write
from keylease.primitives import files, segments
from keylease.primitives.clock import Clock
from keylease.primitives.segments import Cursor, SegmentLog

LARGEST_ENTRY: Final = 15 * 1024 * 1024
"""Bytes of an entry's writes; a record of a segment holds a little more."""
_NANOSECONDS: Final = 1000
_GROUP: Final = 32 * 1024 * 1024
"""Bytes that share one fsync, at most."""
_SLACK: Final = 48 * 1024 * 1024
"""Bytes of segments whose records are applied but which are not removed yet."""
_FILLING: Final = 4
"""The part of the bound from which on the log is filling."""


class Unlogged(msgspec.Struct, frozen=True):
    """An entry that has no transaction yet."""

    organization_id: str
    project_id: str
    received_at: int
    writes: bytes
    """A MessagePack list."""


class Mark(msgspec.Struct, frozen=True):
    """Up to where the store has the log."""

    cursor: Cursor
    xact_id: int


class _Head(msgspec.Struct):
    xact_id: int


class _Waiting(msgspec.Struct):
    entries: Sequence[Unlogged]
    size: int
    done: Future[int]


_head: Final = msgspec.msgpack.Decoder(_Head)


def encoded(writes: Sequence[Write]) -> tuple[list[bytes], int]:
    """Writes as MessagePack lists that each fit an entry, and how many do not fit even alone."""
    whole = encoded_writes(writes)
    if len(whole) <= LARGEST_ENTRY:
        return ([whole] if writes else []), 0
    if len(writes) == 1:
        return [], 1
    half = len(writes) // 2
    first, second = encoded(writes[:half]), encoded(writes[half:])
    return first[0] + second[0], first[1] + second[1]


class WriteLog:
    """One log in one directory, with one thread that writes."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        maximum_bytes: int,
        at_least: int = 0,
        disk: segments.Files | None = None,
    ) -> None:
        """Open or create it; ``at_least`` is the last transaction that the store knows.

        Raises ``TraceStoreInUse``, ``StorageFull`` and ``StorageError``.
        """
        self._clock = clock
        self._maximum = maximum_bytes
        self._mark_file = directory / "mark"
        files.make_private_directory(directory)
        self._lock_file = _locked(directory / "lock")
        self.segments = SegmentLog(directory, maximum_bytes=maximum_bytes + _SLACK, files=disk)
        self.mark = self._read_mark()
        self._last = max(self.mark.xact_id, self._last_logged(), at_least)
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._release: Cursor | None = None
        self._turning = False
        self._closing = False
        self.last_logged = self._last
        """The newest transaction that is durable."""
        self.writes = 0
        """How many times the disk was written to; fewer than entries when they wait together."""
        self._thread = threading.Thread(target=self._work, name="trace-log", daemon=True)
        self._thread.start()

    @property
    def notices(self) -> list[str]:
        """What had to be repaired when the log was opened."""
        return self.segments.notices

    # --- writing ---------------------------------------------------------------------------

    def submit(self, entries: Sequence[Unlogged]) -> Future[int]:
        """Log entries in this order; the future gives the last one's transaction.

        Raises ``TraceQueueFull``. The future raises ``StorageFull`` or ``StorageError``: then none
        of them is logged.
        """
        size = sum(len(entry.writes) for entry in entries)
        done: Future[int] = Future()
        with self._changed:
            if self._closing:
                raise StorageError("The trace store is being closed.", advice="Send it again.")
            if self.backlog() + size > self._maximum:
                raise TraceQueueFull(
                    "More spans arrive than can be written.",
                    retry_after=2,
                    advice="Send them again after the time that Retry-After says.",
                )
            self._waiting.append(_Waiting(entries, size, done))
            self._waiting_bytes += size
            self._changed.notify_all()
        return done

    def backlog(self) -> int:
        """Bytes that the store does not have yet."""
        return self._waiting_bytes + self.segments.bytes_after(self.mark.cursor)

    def is_filling(self) -> bool:
        """Whether so much waits for the store that it must not wait longer."""
        return self.backlog() > self._maximum // _FILLING

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._release or self._turning or self._closing):
                    self._changed.wait()
                if self._closing and not self._waiting:
                    return
                group = self._next_group()
                release, self._release = self._release, None
                turning, self._turning = self._turning, False
            if group:
                self._append(group)
            if release is not None:
                with contextlib.suppress(StorageError):  # tried again with the next mark
                    self.segments.release(release)
            if turning:
                with contextlib.suppress(StorageError):  # tried again at the next time
                    self._turn_over()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._waiting and size + self._waiting[0].size <= max(_GROUP, self._waiting[0].size):
            waiting = self._waiting.popleft()
            size += waiting.size
            if waiting.done.set_running_or_notify_cancel():
                group.append(waiting)
            else:
                self._waiting_bytes -= waiting.size
        return group

    def _append(self, group: list[_Waiting]) -> None:
        results: list[int] = []
        records: list[bytes] = []
        last = self._last
        for waiting in group:
            for entry in waiting.entries:
                last = max(self._clock.now() * _NANOSECONDS, last + 1)
                records.append(
                    segments.encode(
                        encoded_batch(
                            organization_id=entry.organization_id,
                            project_id=entry.project_id,
                            xact_id=last,
                            received_at=entry.received_at,
                            writes=entry.writes,
                        )
                    )
                )
            results.append(last)
        error: KeyleaseError | None = None
        try:
            self.segments.append_block(b"".join(records))
        except KeyleaseError as refused:
            error = refused
        except Exception as defect:  # noqa: BLE001 - those who wait must hear of it, whatever it is
            error = StorageError(f"Writing the log ended in {type(defect).__name__}.")
        with self._changed:
            self._waiting_bytes -= sum(waiting.size for waiting in group)
            if error is None:
                self._last = self.last_logged = last
                self.writes += 1
            self._changed.notify_all()
        for waiting, result in zip(group, results, strict=True):
            if error is None:
                waiting.done.set_result(result)
            else:
                waiting.done.set_exception(error)

    # --- reading ---------------------------------------------------------------------------

    def wait_beyond(self, cursor: Cursor, given_up: Callable[[], bool]) -> None:
        """Return when something lies behind ``cursor``, or on ``wake`` when it is given up."""
        with self._changed:
            self._changed.wait_for(lambda: given_up() or self.segments.bytes_after(cursor) > 0)

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def applied(self, mark: Mark) -> None:
        """The store has everything up to ``mark``: remember it, and let whole segments go."""
        content = msgspec.json.encode({"format": 1, "cursor": mark.cursor, "xact_id": mark.xact_id})
        files.replace(self._mark_file, content)
        with self._changed:
            self.mark = mark
            self._release = mark.cursor
            self._changed.notify_all()

    def turn_over(self) -> None:
        """Let the segment go that is written to, if the store has all of it.

        It would keep what was removed since until sixteen megabytes more have come.
        """
        with self._changed:
            self._turning = True
            self._changed.notify_all()

    def _turn_over(self) -> None:
        if self.segments.bytes_after(self.mark.cursor) == 0:  # then no other thread moves the mark
            self.applied(Mark(self.segments.rotate(), self.mark.xact_id))

    def close(self) -> None:
        """Write what waits, then give everything up."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.segments.close()
        os.close(self._lock_file)

    # --- opening ---------------------------------------------------------------------------

    def _read_mark(self) -> Mark:
        """The mark, or the log's beginning: what is applied twice changes nothing."""
        start = Mark(self.segments.start, 0)
        try:
            mark = msgspec.json.decode(self._mark_file.read_bytes(), type=Mark)
        except FileNotFoundError:
            return start
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self.segments.notices.append("The log's mark cannot be read: all of it is replayed.")
            return start
        if mark.cursor > self.segments.end:
            self.segments.notices.append("The log ends before its mark: all of it is replayed.")
            return Mark(start.cursor, mark.xact_id)
        return mark

    def _last_logged(self) -> int:
        """The newest transaction in the log; records that cannot be read are passed over."""
        cursor, last = self.mark.cursor, 0
        while self.segments.bytes_after(cursor) > 0:
            try:
                batch = self.segments.read(cursor)
            except StorageError:
                cursor, _ = self.segments.resume(cursor)
                continue
            if not batch.records:
                break
            for record in batch.records:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    last = max(last, _head.decode(record).xact_id)
            cursor = batch.following
        return last


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise TraceStoreInUse(
            f"Another process writes the log of spans in {path.parent}.",
            advice="Stop it, or use another data directory.",
        ) from error
    return lock
