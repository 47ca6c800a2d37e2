r"""A small file of checksummed lines: what the coordinator must still know after a kill.

Promises: when ``append`` returns, the record survives ``kill -9`` and power loss. A line that was
    being written when the process died is dropped at the next start; damage anywhere else raises
    ``StorageCorrupt``, because a forgotten line could revive what was dead.
Limits: one process; the caller holds the lock of the data directory. The whole file is held in
    memory by the caller; ``rewrite`` keeps it small.

Format: ``<crc32 in 8 hex digits> <JSON without a line feed>\n``.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from keylease.errors import StorageCorrupt, StorageError
from keylease.primitives.files import explained, sync_directory

_CHECKSUM_CHARACTERS: Final = 8


class Journal:
    """One journal file, opened for appending."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path`` with mode 0600; its directory must exist."""
        self._path = path
        self.lines = 0
        """Records in the file, so that the owner can tell when to rewrite it."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            sync_directory(path.parent)
        except OSError as error:
            raise explained(error, path) from error
        self._end = 0

    def load(self) -> list[bytes]:
        """Read every record and cut off a torn last one. Call once, before ``append``."""
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise explained(error, self._path) from error
        whole, _, torn = data.rpartition(b"\n")
        # Power loss can leave a hole of zeros in the last line with its end already written.
        if b"\0" in (hole := whole.rpartition(b"\n")[2]):
            whole, torn = whole[: -len(hole)].rstrip(b"\n"), hole + b"\n" + torn
        records = [self._checked(line) for line in whole.split(b"\n")] if whole else []
        self._end = len(data) - len(torn)
        if torn:
            self._truncate()
        self.lines = len(records)
        return records

    def append(self, record: bytes) -> None:
        """Write one record and wait until it is on the disk.

        Raises ``StorageFull`` or ``StorageError``; the file is then as it was before.
        """
        line = _line(record)
        try:
            _write_all(self._file, line, self._end)
            os.fsync(self._file)
        except OSError as error:
            self._truncate()
            raise explained(error, self._path) from error
        self._end += len(line)
        self.lines += 1

    def rewrite(self, records: Iterable[bytes]) -> None:
        """Replace the file by these records, atomically."""
        lines = [_line(record) for record in records]
        data = b"".join(lines)
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            replacement = os.open(
                temporary,
                os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
            try:
                _write_all(replacement, data, 0)
                os.fsync(replacement)
                temporary.replace(self._path)
            except OSError:
                os.close(replacement)
                raise
            sync_directory(self._path.parent)
        except OSError as error:
            raise explained(error, self._path) from error
        os.close(self._file)
        self._file = replacement
        self._end = len(data)
        self.lines = len(lines)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _truncate(self) -> None:
        try:
            os.ftruncate(self._file, self._end)
            os.fsync(self._file)
        except OSError as error:
            raise explained(error, self._path) from error

    def _checked(self, line: bytes) -> bytes:
        checksum, separator, record = line.partition(b" ")
        if not separator or checksum != _checksum(record):
            raise StorageCorrupt(
                f"{self._path} was damaged.",
                advice="Restore it from a back-up. Removing it forgets what it holds.",
            )
        return record


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    if os.pwrite(descriptor, data, offset) != len(data):
        raise OSError(errno.ENOSPC, "only a part was written")


def _checksum(record: bytes) -> bytes:
    return b"%08x" % zlib.crc32(record)


def _line(record: bytes) -> bytes:
    if b"\n" in record:
        raise StorageError("A journal record holds a line feed.")
    return _checksum(record) + b" " + record + b"\n"
