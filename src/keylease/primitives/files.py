"""Small files that are replaced as a whole, and survive a crash at any step.

Promises: after ``replace`` returns, the new content survives power loss; if it is interrupted at
    any point, the old content is whole. Readers need no lock, writers hold ``locked``.
Limits: rests on ``rename`` being atomic and ``fsync`` being honoured, so on a local file system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.errors import StorageError, StorageFull, StoreTimedOut

OWNER_ONLY: Final = 0o600
DIRECTORY_OWNER_ONLY: Final = 0o700
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY: Final = ".tmp-"
_POLL_SECONDS: Final = 0.02


def read_bounded(path: Path, *, maximum: int) -> bytes:
    """The content of a regular file, at most ``maximum`` + 1 bytes of it.

    Never hangs on a FIFO; raises ``OSError``, also for what is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(maximum + 1)


def make_private_directory(path: Path) -> None:
    """Make a directory that only its owner enters, parents included. Existing ones stay as is."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=DIRECTORY_OWNER_ONLY, exist_ok=True)
            if os.geteuid() == 0:
                owner = directory.parent.stat()
                os.chown(directory, owner.st_uid, owner.st_gid, follow_symlinks=False)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise explained(error, path) from None


def replace(path: Path, content: bytes) -> None:
    """Make ``content`` the whole content of ``path``, readable by its owner only.

    Raises ``StorageFull`` or ``StorageError``; the old content is then still there.
    """
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        _write_new(temporary, content)
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            temporary.unlink(missing_ok=True)
        raise explained(error, path) from None


def create(path: Path, content: bytes) -> bool:
    """Make a new file with ``content``; gives False, and changes nothing, when there is one."""
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        _write_new(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        sync_directory(path.parent)
    except OSError as error:
        raise explained(error, path) from None
    finally:
        with contextlib.suppress(OSError):  # a leftover is harmless, and removed by the next writer
            temporary.unlink(missing_ok=True)
    return True


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that a crash left beside ``path``. Only while holding its lock."""
    try:
        for leftover in path.parent.glob(f"{path.name}{_TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise explained(error, path) from None


def sync(path: Path, *, flags: int = os.O_NOFOLLOW) -> None:
    """Make a file's content durable, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the creation, renaming or removal of files in a directory durable."""
    sync(path, flags=os.O_DIRECTORY)


@contextlib.contextmanager
def locked(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold the lock file at ``path`` against other processes and threads.

    The kernel gives the lock up when its holder dies. Raises ``StoreTimedOut`` after ``seconds``.
    """
    try:
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY
        )
    except OSError as error:
        raise explained(error, path) from None
    try:
        deadline = time.monotonic() + seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StoreTimedOut(
                    f"Another process has held the lock {path} for {seconds:g} seconds.",
                    advice="Wait until it has finished, then try again.",
                )
            time.sleep(_POLL_SECONDS)
        _give_to_owner(descriptor, path.parent)
        yield
    finally:
        os.close(descriptor)


def overwrite(path: Path, content: bytes) -> None:
    """Write over a file in its place, keeping its inode, owner and mode. Not atomic.

    For a file that a confined process may open by its inode only. The caller has a whole copy of
    ``content`` elsewhere, for the case that a crash comes in between.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise explained(error, path) from None


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """Root writes on behalf of the user that the directory belongs to.

    The strongroom runs as a user of its own when it can; what root puts beside its files must stay
    readable to it.
    """
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ONLY
    )
    try:
        os.fchmod(descriptor, OWNER_ONLY)  # whatever the umask took away or an ACL added
        _give_to_owner(descriptor, path.parent)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explained(error: OSError, path: Path) -> StorageError:
    """The error that says what could not be written, and what to do."""
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    if error.errno in NO_SPACE:
        return StorageFull(
            f"There is no space to write {path}.",
            advice="Free some space; what was stored before is unchanged.",
        )
    return StorageError(
        f"{path} cannot be written: {reason}.",
        advice="Check that the directory exists and belongs to the user Keylease runs as.",
    )
