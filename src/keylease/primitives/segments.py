r"""Crash-safe append-only logs made of segment files.

Promises: what ``append`` returned for survives ``kill -9`` and power loss (written, then fsynced,
    then published to readers). A tail that was never acknowledged is cut when the log is opened,
    and said so. Damage anywhere else is ``StorageCorrupt`` with file and offset; the other
    segments stay readable. A failed write leaves no part of itself behind.
Does not protect: against somebody who may write the files. The checksum finds accidents; it is no
    signature.
Limits: one writer process per directory (the data directory's lock sees to that) and one writing
    thread at a time; any number of readers. A damaged *last record* cannot be told from one that
    was never finished, and is cut.

File ``<number, 16 digits>.seg``, all integers big-endian:
    header   "KLSEGv1\n", u64 number, u32 CRC-32 of the 16 bytes before it
    record   u32 length (1 .. 2**24 - 1), u32 CRC-32 of length and payload, payload
The form is stored: a change needs another magic.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn
from zlib import crc32

import msgspec

from keylease.errors import StorageCorrupt, StorageError, StorageFull
from keylease.primitives.files import sync_directory

MAXIMUM_RECORD: Final = 2**24 - 1
"""Bytes of payload. The first byte of every record is therefore zero; ``_valid_later`` uses it."""
_MAGIC: Final = b"KLSEGv1\n"
_HEADER: Final = struct.Struct(">8sQI")
_RECORD: Final = struct.Struct(">II")
_LENGTH: Final = struct.Struct(">I")
_NAME: Final = re.compile(r"(\d{16})\.seg")
_CANDIDATE: Final = re.compile(rb"\x00(?!\x00\x00\x00)")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WhenFull(StrEnum):
    """What happens at the bound on total size."""

    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A place between two records."""

    segment: int
    offset: int


class Batch(msgspec.Struct, frozen=True):
    """Some records, in order, and the place after them."""

    records: tuple[bytes, ...]
    following: Cursor
    dropped: bool = False
    """Records between the asked cursor and the first one given were dropped for room."""


class Files:
    """The two system calls that can fail on a full or dying disk; tests put their own here."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of ``data``; the number of bytes taken."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the file's data is on stable storage."""
        if sys.platform == "darwin":
            import fcntl  # noqa: PLC0415 - macOS only: fsync there stops at the drive's cache

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)


def encode(payload: bytes) -> bytes:
    """One record in the form of the file."""
    size = len(payload)
    if not 0 < size <= MAXIMUM_RECORD:
        raise StorageError(f"A record of {size} bytes cannot be stored.")
    length = _LENGTH.pack(size)
    return length + _LENGTH.pack(crc32(payload, crc32(length))) + payload


def count(block: bytes) -> int:
    """How many whole records a block holds; raises ``StorageError`` when it ends within one.

    Looks at lengths only: whoever made the block has just computed its checksums.
    """
    offset, records, size = 0, 0, len(block)
    while offset < size:
        if offset + _RECORD.size > size:
            break
        offset += _RECORD.size + _LENGTH.unpack_from(block, offset)[0]
        records += 1
    if offset != size:
        raise StorageError("A block does not end at the end of a record.")
    return records


def _record_end(data: bytes, offset: int) -> int | None:
    """Where the record at ``offset`` ends, or ``None`` when there is no valid one."""
    if offset + _RECORD.size > len(data):
        return None
    length, checksum = _RECORD.unpack_from(data, offset)
    start = offset + _RECORD.size
    end = start + length
    if not 0 < length <= MAXIMUM_RECORD or end > len(data):
        return None
    expected = crc32(memoryview(data)[start:end], crc32(data[offset : offset + 4]))
    return end if checksum == expected else None


def _good_end(data: bytes) -> int:
    offset = _HEADER.size
    while (end := _record_end(data, offset)) is not None:
        offset = end
    return offset


def _valid_later(data: bytes, offset: int) -> bool:
    """Whether a valid record lies somewhere behind a bad one: then it is damage, no torn tail."""
    return any(
        _record_end(data, match.start()) is not None
        for match in _CANDIDATE.finditer(data, offset + 1)
    )


def _later_places(data: bytes, offset: int) -> Iterator[int]:
    if offset + _RECORD.size <= len(data):
        stated = offset + _RECORD.size + _LENGTH.unpack_from(data, offset)[0]
        if stated == len(data) or _record_end(data, stated) is not None:
            yield stated
    for match in _CANDIDATE.finditer(data, offset + 1):
        end: int | None = match.start()
        while end is not None and end < len(data):
            end = _record_end(data, end)
        if end is not None:
            yield match.start()


def _header(number: int) -> bytes:
    front = struct.pack(">8sQ", _MAGIC, number)
    return front + _LENGTH.pack(crc32(front))


class SegmentLog:
    """One log in one directory.

    Raises ``StorageFull`` (disk, quota or bound), ``StorageCorrupt`` and ``StorageError``.
    ``append`` and ``release`` are called by one thread at a time; ``read`` by any.
    """

    def __init__(
        self,
        directory: Path,
        *,
        maximum_bytes: int,
        segment_bytes: int = 16 * 1024 * 1024,
        when_full: WhenFull = WhenFull.REFUSE,
        files: Files | None = None,
    ) -> None:
        """Open or create the log. ``notices`` then says what had to be repaired."""
        self._directory = directory
        self._maximum = maximum_bytes
        self._segment_bytes = max(4096, min(segment_bytes, maximum_bytes // 8))
        self.when_full = when_full
        self._files = files or Files()
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}
        """Segment number -> bytes that readers may see; ascending."""
        self._descriptor = -1
        self._active = 0
        self._dirty = False
        """A failed write could not be undone yet."""
        self.notices: list[str] = []
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._recover()
        except OSError as error:
            self._refuse(error)

    # --- opening ---------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:016d}.seg"

    def _recover(self) -> None:
        found = sorted(
            int(match[1]) for path in self._directory.iterdir() if (match := _NAME.match(path.name))
        )
        for number in found:
            self._sizes[number] = self._path(number).stat().st_size
        for number, following in itertools.pairwise(found):
            if following != number + 1:
                self.notices.append(f"Segments {number + 1} to {following - 1} are missing.")
        if not found:
            self._begin(1)
            return
        last = found[-1]
        data = self._path(last).read_bytes()
        if len(data) < _HEADER.size and _header(last).startswith(data):
            self._path(last).unlink()  # the crash came while the file was being made
            del self._sizes[last]
            self._begin(last)
            return
        if data[: _HEADER.size] != _header(last):
            self.notices.append(str(self._damage(last, 0)))
            self._begin(last + 1)
            return
        end = _good_end(data)
        if end < len(data) and _valid_later(data, end):
            self.notices.append(str(self._damage(last, end)))
            self._begin(last + 1)
            return
        self._descriptor = os.open(self._path(last), os.O_WRONLY | os.O_CLOEXEC)
        self._active, self._sizes[last] = last, end
        if end < len(data):
            self.notices.append(
                f"{self._path(last).name}: {len(data) - end} bytes of an unfinished write were cut."
            )
            os.ftruncate(self._descriptor, end)
            self._files.sync(self._descriptor)
        os.lseek(self._descriptor, end, os.SEEK_SET)

    def _begin(self, number: int) -> None:
        """Create segment ``number`` and make it the one that is written to."""
        path = self._path(number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._write_all(descriptor, _header(number))
            self._files.sync(descriptor)
            sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        with self._lock:
            self._descriptor, self._active = descriptor, number
            self._sizes[number] = _HEADER.size

    # --- writing ---------------------------------------------------------------------------

    def append(self, payloads: Iterable[bytes]) -> Cursor:
        """Store records durably; see ``append_block``."""
        return self.append_block(b"".join(map(encode, payloads)))

    def append_block(self, block: bytes) -> Cursor:
        """Store a block of encoded records durably; all or none of it. Returns the new end."""
        try:
            self._repair()
            if self._sizes[self._active] + len(block) > self._segment_bytes:
                self._rotate()
            self._make_room(len(block))
            if os.fstat(self._descriptor).st_nlink == 0:  # nobody would ever find it again
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            end = self._sizes[self._active]
            self._dirty = True
            self._write_all(self._descriptor, block)
            self._files.sync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._repair()
            self._refuse(error)
        self._dirty = False
        with self._lock:
            self._sizes[self._active] = end + len(block)
        return self.end

    def rotate(self) -> Cursor:
        """Begin a new segment, so that ``release`` can remove everything before it."""
        try:
            self._repair()
            self._rotate()
        except OSError as error:
            self._refuse(error)
        return self.end

    def _rotate(self) -> None:
        if self._sizes[self._active] > _HEADER.size:
            self._begin(self._active + 1)

    def _repair(self) -> None:
        """Undo a failed write. Readers never saw it: they stop at the published size."""
        if self._dirty:
            os.ftruncate(self._descriptor, self._sizes[self._active])
            os.lseek(self._descriptor, self._sizes[self._active], os.SEEK_SET)
            self._dirty = False

    def _write_all(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._files.write(descriptor, view) :]

    def _make_room(self, size: int) -> None:
        if self.total_bytes + size <= self._maximum:
            return
        if self.when_full is WhenFull.DROP_OLDEST:
            while self.total_bytes + size > self._maximum and len(self._sizes) > 1:
                self._remove(next(iter(self._sizes)))
        if self.total_bytes + size > self._maximum:
            raise StorageFull(
                f"{self._directory.name} has reached its bound of {self._maximum} bytes.",
                advice="It empties when its records are delivered, or raise the bound.",
            )

    def release(self, cursor: Cursor) -> None:
        """Remove the segments that lie wholly before ``cursor``."""
        try:
            for number in [n for n in self._sizes if n < cursor.segment and n != self._active]:
                self._remove(number)
        except OSError as error:
            self._refuse(error)

    def _remove(self, number: int) -> None:
        with self._lock:
            del self._sizes[number]
        self._path(number).unlink(missing_ok=True)
        sync_directory(self._directory)

    def close(self) -> None:
        """Give up the file. Nothing is lost: every append was durable when it returned."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- reading ---------------------------------------------------------------------------

    @property
    def start(self) -> Cursor:
        """Before the oldest record that is kept."""
        with self._lock:
            return Cursor(next(iter(self._sizes)), _HEADER.size)

    @property
    def end(self) -> Cursor:
        """After the newest record."""
        with self._lock:
            return Cursor(self._active, self._sizes[self._active])

    @property
    def total_bytes(self) -> int:
        """Size of all segments."""
        with self._lock:
            return sum(self._sizes.values())

    def bytes_after(self, cursor: Cursor) -> int:
        """How much lies behind ``cursor``: what a reader still has to do."""
        with self._lock:
            return sum(
                size - (max(cursor.offset, _HEADER.size) if n == cursor.segment else _HEADER.size)
                for n, size in self._sizes.items()
                if n >= cursor.segment
            )

    def read(
        self, cursor: Cursor, *, maximum_records: int = 1000, maximum_bytes: int = 4 * 1024 * 1024
    ) -> Batch:
        """Give the records behind ``cursor``; none when it is at the end.

        Raises ``StorageCorrupt`` when the next record is damaged; ``after_damage`` leads on.
        """
        place, dropped = self._settle(cursor)
        records: list[bytes] = []
        taken = 0
        while len(records) < maximum_records and taken < maximum_bytes:
            with self._lock:
                size = self._sizes.get(place.segment)
                following = next((n for n in self._sizes if n > place.segment), None)
            if size is None:  # dropped for room meanwhile
                if records:
                    break
                place, dropped = self._settle(place)
                continue
            if place.offset >= size:
                if following is None:
                    break
                place = Cursor(following, _HEADER.size)
                continue
            try:
                data = self._read_bytes(place, min(size, place.offset + maximum_bytes - taken))
                found = self._split(data, place, size, maximum_records - len(records))
            except FileNotFoundError as error:
                with self._lock:
                    if place.segment in self._sizes:  # removed, and not by us
                        self._refuse(error)
                continue
            except StorageCorrupt:
                if records:
                    break
                raise
            records += found
            used = sum(len(record) + _RECORD.size for record in found)
            taken += used
            place = Cursor(place.segment, place.offset + used)
        return Batch(tuple(records), place, dropped=dropped)

    def _settle(self, cursor: Cursor) -> tuple[Cursor, bool]:
        """Move a cursor whose segment is gone to the oldest record that is kept."""
        start = self.start
        if cursor.segment < start.segment:
            return start, cursor.segment > 0
        return (cursor if cursor.offset else Cursor(cursor.segment, _HEADER.size)), False

    def _read_bytes(self, place: Cursor, stop: int) -> bytes:
        with self._path(place.segment).open("rb", buffering=0) as file:
            if file.read(_HEADER.size) != _header(place.segment):
                raise self._damage(place.segment, 0)
            return os.pread(file.fileno(), stop - place.offset, place.offset)

    def _split(self, data: bytes, place: Cursor, size: int, limit: int) -> list[bytes]:
        """The whole records in ``data``; at least one, or ``StorageCorrupt``."""
        records: list[bytes] = []
        offset = 0
        while len(records) < limit and (end := _record_end(data, offset)) is not None:
            records.append(data[offset + _RECORD.size : end])
            offset = end
        if records:
            return records
        if len(data) >= _RECORD.size and place.offset + len(data) < size:
            need = _RECORD.size + _LENGTH.unpack_from(data)[0]  # larger than what we meant to read
            if len(data) < need <= size - place.offset:
                return self._split(self._read_bytes(place, place.offset + need), place, size, limit)
        raise self._damage(place.segment, place.offset)

    def after_damage(self, cursor: Cursor) -> Cursor:
        """Where reading goes on after ``read`` raised ``StorageCorrupt`` at ``cursor``."""
        with self._lock:
            following = next((n for n in self._sizes if n > cursor.segment), None)
        return Cursor(following, _HEADER.size) if following is not None else self.end

    def resume(self, cursor: Cursor) -> tuple[Cursor, bytes]:
        """Where whole records go on after damage at ``cursor``, and the bytes between.

        In the same segment when the damaged record's length leads to a whole one, or when whole
        records lead from some place to its end: what a sender wrote into a record to look like one
        does not. Otherwise as ``after_damage``.
        """
        with self._lock:
            size = self._sizes.get(cursor.segment, 0)
        data = self._path(cursor.segment).read_bytes()[:size]
        if cursor.offset < _HEADER.size or data[: _HEADER.size] != _header(cursor.segment):
            return self.after_damage(cursor), data
        for place in _later_places(data, cursor.offset):
            return Cursor(cursor.segment, place), data[cursor.offset : place]
        return self.after_damage(cursor), data[cursor.offset :]

    def records(self) -> Iterator[bytes]:
        """Every record from the start; raises ``StorageCorrupt`` at the first damaged one."""
        cursor = self.start
        while (batch := self.read(cursor)).records:
            yield from batch.records
            cursor = batch.following

    # --- errors ----------------------------------------------------------------------------

    def _damage(self, number: int, offset: int) -> StorageCorrupt:
        return StorageCorrupt(
            f"{self._path(number)} is damaged at offset {offset}.",
            advice="The other segments are still read. Keep the file if its records matter.",
        )

    def _refuse(self, error: OSError) -> NoReturn:
        if error.errno in _NO_SPACE:
            raise StorageFull(
                f"No space is left for {self._directory}.", advice="Free space on that disk."
            ) from error
        raise StorageError(
            f"{self._directory} cannot be used: {os.strerror(error.errno or 0)}.",
            advice="Check the disk and the permissions of the directory.",
        ) from error
