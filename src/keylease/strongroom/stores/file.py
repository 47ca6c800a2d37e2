"""``file:///path``: a secret in a file that Kubernetes, Docker or systemd mounts.

Protects: only files below the directories listed in gateway.toml are read, after every symbolic
    link was resolved; whoever writes a policy cannot name another file.
Does not protect: against whoever can write below a listed directory.
Limits: 64 KiB; one newline at the end is cut.

How a file is opened:
1. resolve the path and the listed directories; the one must lie below one of the others;
2. open the listed directory and walk down from it, one name at a time, following no link;
3. look before opening (no device or FIFO is opened) and again after.
A link that changes between 1 and 2 makes 2 fail, and all is tried again: Kubernetes swaps
``..data`` in this way whenever it updates a mount.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import ClassVar, Final

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnavailable,
)
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.blocking import BlockingCalls
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.retries import with_retries
from keylease.strongroom.stores.versions import VersionNames

MAXIMUM_BYTES: Final = 64 * 1024
_WALK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SWAP_ATTEMPTS: Final = 5
_SWAP_PAUSE: Final = 0.01
"""Seconds: a swap of links takes far less."""
_MOVED: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


class FileStore:
    """Reads mounted files, anew at every fetch."""

    scheme: ClassVar[str] = "file"

    def __init__(
        self, settings: StoreSettings, *, clock: Clock, versions: VersionNames, posture: Posture
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._versions = versions
        self._posture = posture
        self._calls = BlockingCalls("file-store")

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Read the file."""
        return await with_retries(
            lambda: self._attempt(reference), attempts=self._settings.attempts
        )

    async def close(self) -> None:
        """Nothing is held."""

    async def _attempt(self, reference: Reference) -> FetchedSecret:
        fetched_at = self._clock.now()
        seconds = self._settings.timeout_seconds
        try:
            secret = await self._calls.call(lambda: self._read(reference.path), seconds=seconds)
        except TimeoutError:
            raise StoreTimedOut(
                f"The file {reference.path} could not be read in {seconds:g} seconds.",
                advice="Check the file system that it is mounted from.",
            ) from None
        version = self._versions.name(reference, secret)
        return FetchedSecret(secret=secret, version=version, fetched_at=fetched_at)

    def signature(self, reference: Reference) -> tuple[int, ...] | None:
        """What changes when the file does, links followed; ``None`` when it cannot be seen."""
        try:
            status = Path(reference.path).stat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)

    def _read(self, path: str) -> Secret:
        for _ in range(_SWAP_ATTEMPTS):
            content = self._try_read(path)
            if content is not None:
                return _checked(content, path)
            time.sleep(_SWAP_PAUSE)
        if not os.path.lexists(path):
            raise SecretNotFound(
                f"There is no file {path}.", advice="Check the mount and the reference."
            )
        raise StoreUnavailable(
            f"The file {path} leads to nothing, or moves away whenever it is opened.",
            advice="This passes when an update of the mount is complete; else check its links.",
        )

    def _try_read(self, path: str) -> bytes | None:
        """The content, or ``None`` when something was not there: perhaps it is being swapped."""
        try:
            root, names = self._resolved(path)
            return self._read_below(root, names, path)
        except OSError as error:
            number, reason = error.errno, error.strerror
        except RuntimeError:
            return None  # links in a circle, as Path.resolve reports them
        if number in _MOVED:
            return None
        if number in {errno.EACCES, errno.EPERM}:
            raise StoreAccessDenied(
                f"The file {path} may not be read by uid {os.geteuid()}.",
                advice="Give the user that the gateway runs as the right to read it.",
            )
        raise StoreUnavailable(
            f"The file {path} cannot be read: {reason}.",
            advice="Check the file system that it is mounted from.",
        )

    def _resolved(self, path: str) -> tuple[str, tuple[str, ...]]:
        directories = self._settings.file_directories
        if not directories:
            raise StoreAccessDenied(
                "No directory is listed for file:// references.",
                advice="List it in file_directories under [stores] in gateway.toml.",
            )
        real = Path(path).resolve(strict=True)
        for directory in directories:
            root = Path(directory).resolve()
            if real != root and real.is_relative_to(root):
                return str(root), real.relative_to(root).parts
        raise StoreAccessDenied(
            f"The file {path} does not lie below a listed directory, links resolved.",
            advice="List its directory in file_directories under [stores] in gateway.toml.",
        )

    def _read_below(self, root: str, names: tuple[str, ...], path: str) -> bytes:
        directory = os.open(root, _WALK)
        try:
            for name in names[:-1]:
                below = os.open(name, _WALK, dir_fd=directory)
                os.close(directory)
                directory = below
            status = os.stat(names[-1], dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise OSError(errno.ELOOP, "moved")
            _refuse_special(status, path)
            descriptor = os.open(names[-1], _READ, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_special(status, path)
            self._note_mode(status, path)
            return file.read(MAXIMUM_BYTES + 1)

    def _note_mode(self, status: os.stat_result, path: str) -> None:
        key = f"file:{path}"
        if status.st_mode & stat.S_IROTH:
            self._posture.note(key, f"The secret file {path} can be read by every local user.")
        else:
            self._posture.clear(key)


def _refuse_special(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretInvalid(
            f"{path} is not a regular file.", advice="Name the file that holds the secret."
        )


def _checked(content: bytes, path: str) -> Secret:
    if len(content) > MAXIMUM_BYTES:
        raise SecretInvalid(
            f"The file {path} is over {MAXIMUM_BYTES} bytes: that is no secret.",
            advice="Name the file that holds the secret alone.",
        )
    text = content.removesuffix(b"\n").removesuffix(b"\r")
    if not text:
        raise SecretInvalid(
            f"The file {path} is empty.", advice="Check what should have written it."
        )
    return Secret(text)
