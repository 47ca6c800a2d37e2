"""The data directory: one owner at a time, one format, created so that a crash leaves nothing odd.

    format         the number of the layout, written last
    lock           flock(2) of the process that owns the directory; holds its pid
    organization   the organization's identifier, made once
    strongroom/    0700, of the strongroom's user
    platform/      0700, of the platform's user; nothing here reads it
    backup-N-*/    what was there before an upgrade from format N

The lock belongs to the open file and goes with the process, however it ends. A newer format is
refused: an older program must not write what it does not understand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from keylease.errors import DataDirectoryLocked, DataFormatTooNew, StorageCorrupt, StorageError
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7

DATA_FORMAT: Final = 1
UPGRADES: Final[Mapping[int, Callable[[Path], None]]] = {}
"""Format N -> the step that makes N + 1 of it. A step may be run again after a crash."""
STRONGROOM_PART: Final = ("strongroom", "lock", "format", "organization")
"""What the strongroom's user owns; ``platform/`` beside it is another zone's."""
_PRIVATE: Final = 0o700
_NOT_DATA: Final = ("backup-*", "*.sock", "lock", "platform")


class DataDirectory:
    """A data directory that this process owns until ``close``."""

    def __init__(self, path: Path, *, organization_id: str, lock: int) -> None:
        """Use ``open_data_directory``."""
        self.path = path
        self.organization_id = organization_id
        self._lock: int | None = lock

    @property
    def strongroom(self) -> Path:
        """The strongroom's own part, mode 0700."""
        return self.path / "strongroom"

    @property
    def control_socket(self) -> Path:
        """Where the coordinator is spoken to."""
        return self.strongroom / "control.sock"

    def close(self) -> None:
        """Give the directory up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_data_directory(
    path: Path,
    *,
    clock: Clock,
    current: int = DATA_FORMAT,
    upgrades: Mapping[int, Callable[[Path], None]] = UPGRADES,
) -> DataDirectory:
    """Create or open the directory and own it.

    Raises ``DataDirectoryLocked``, ``DataFormatTooNew``, ``StorageCorrupt`` or ``StorageError``.
    """
    try:
        # 1. The directory itself; an existing one must be ours and private.
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _check_private(path)
        # 2. The lock, before anything inside is read or written.
        lock = _lock(path)
        try:
            # 3. The format: older ones are brought up to date, after a copy was made.
            _bring_to_format(path, current=current, upgrades=upgrades, clock=clock)
            # 4. What every directory of this format has.
            (path / "strongroom").mkdir(mode=_PRIVATE, exist_ok=True)
            organization_id = _organization(path, clock)
            # 5. The format is written last: a directory without it is one that was not finished.
            if not (path / "format").exists():
                files.replace(path / "format", f"{current}\n".encode())
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise StorageError(
            f"The data directory {path} cannot be used: {error.strerror}.",
            advice="Choose another one with --data-dir, or mend its permissions.",
        ) from error
    return DataDirectory(path, organization_id=organization_id, lock=lock)


def owner_of(path: Path) -> int | None:
    """The pid of the process that owns the directory now; ``None`` when nobody does.

    Good for a message only: the answer may be old when it is read.
    """
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def _check_private(path: Path) -> None:
    status = path.stat()
    if status.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise StorageError(
            f"The data directory {path} belongs to another user (uid {status.st_uid}).",
            advice="Choose another one with --data-dir.",
        )
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise StorageError(
            f"The data directory {path} can be written by other users.",
            advice=f"chmod go-w {path}",
        )


def _lock(path: Path) -> int:
    # No link is followed: root opens this in a directory that belongs to the gateway's user.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path / "lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = _pid_in(descriptor)
        os.close(descriptor)
        who = f"process {pid}" if pid else "another process"
        raise DataDirectoryLocked(
            f"The data directory {path} is in use by {who}.",
            advice="Stop that process first, or choose another directory with --data-dir.",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _bring_to_format(
    path: Path, *, current: int, upgrades: Mapping[int, Callable[[Path], None]], clock: Clock
) -> None:
    file = path / "format"
    if not file.exists():
        return
    text = file.read_bytes().strip()
    if not text.isdigit() or not int(text):
        raise StorageCorrupt(
            f"The file {file} does not hold a format number.",
            advice="Put the data directory back from a back-up, or choose another with --data-dir.",
        )
    found = int(text)
    if found > current:
        raise DataFormatTooNew(
            f"The data directory {path} has format {found}; this version knows {current}.",
            advice="Use the newer version of keylease, or another directory with --data-dir.",
        )
    for number in range(found, current):
        _back_up(path, number, clock)
        upgrades[number](path)
        files.replace(file, f"{number + 1}\n".encode())


def _back_up(path: Path, number: int, clock: Clock) -> None:
    """Copy everything beside itself; a copy that was not finished has no final name."""
    if any(path.glob(f"backup-{number}-*")):
        return  # a step that is run again after a crash keeps the copy from before its first run
    unfinished = path / ".backup.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(
        path, unfinished, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_DATA, ".backup.*")
    )
    for folder, _, names in os.walk(unfinished):
        for name in names:
            files.sync(Path(folder) / name)
        files.sync_directory(Path(folder))
    unfinished.rename(path / f"backup-{number}-{clock.now() // 1_000_000}")
    files.sync_directory(path)


def _organization(path: Path, clock: Clock) -> str:
    file = path / "organization"
    with contextlib.suppress(FileNotFoundError):
        text = file.read_bytes().strip()
        try:
            return str(UUID(text.decode("ascii")))
        except ValueError as error:
            raise StorageCorrupt(
                f"The file {file} does not hold an identifier.",
                advice="Put it back from a back-up: everything stored here refers to it.",
            ) from error
    identifier = uuid7(clock)
    files.replace(file, f"{identifier}\n".encode())
    return identifier
