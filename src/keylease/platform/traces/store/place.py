"""The directory of an embedded store: whose it is, its format, and that one process has it.

    traces/
      store.id      which store belongs here; outlives the store's own directory
      store/
        format      format number and identifier, as JSON
        lock        held by the process that has the store open
        making      there from before the engine's first file until `format` is
        engine/     the engine's files; `shadow` below it has what a back-up copies
        incoming/   columns on their way into the engine; emptied at each start

Promises: a store that is gone, that is another one, or that a newer program wrote is refused with
    what to do. A directory is never taken for a new store where there was one before. One whose
    making was interrupted has never held anything, and is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import TraceStoreInUse, TraceStoreTooNew, TraceStoreUnavailable
from keylease.primitives.files import (
    OWNER_ONLY,
    explained,
    make_private_directory,
    read_bounded,
    replace,
    sync_directory,
)

FORMAT: Final = 1
SHADOW: Final = "shadow"
"""Where the engine freezes tables. What an interrupted back-up leaves there would keep the bytes of
removed rows on the disk; it is emptied at each start."""
_LONGEST: Final = 4096
_RESTORE: Final = (
    "Restore a back-up into an empty directory with `keylease traces restore`. To go on with an "
    "empty store instead, move the directory {directory} and the file {known} away."
)


class _Marker(msgspec.Struct, frozen=True):
    format: int
    store_id: str


def is_in_use(directory: Path) -> bool:
    """Whether a process has the store in ``directory`` open now."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise explained(error, directory / "lock") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Place:
    """An embedded store's directory, locked by this process until ``close``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine = directory / "engine"
        self.incoming = directory / "incoming"
        self.store_id = ""
        self.is_new = False
        self._known = directory.with_name(f"{directory.name}.id")
        self._marker = directory / "format"
        self._making = directory / "making"
        self._lock = -1

    def open(self, *, store_id: str = "") -> None:
        """Lock the directory and see that it is what it should be; make it when it is the first.

        Raises ``TraceStoreInUse``, ``TraceStoreTooNew``, ``TraceStoreUnavailable``.
        """
        known = self.known_id()
        if known and not self._marker.exists():
            raise TraceStoreUnavailable(
                f"The trace store in {self.directory} is gone.", advice=self._advice()
            )
        make_private_directory(self.directory)
        self._take_lock()
        try:
            self._check(known, store_id)
            make_private_directory(self.engine)
            shutil.rmtree(self.engine / SHADOW, ignore_errors=True)
            shutil.rmtree(self.incoming, ignore_errors=True)
            make_private_directory(self.incoming)
        except BaseException:
            self.close()
            raise

    def made(self) -> None:
        """Remember that there is a store here from now on: its tables are made."""
        if self.is_new:
            marker = _Marker(format=FORMAT, store_id=self.store_id)
            replace(self._marker, msgspec.json.encode(marker))
            sync_directory(self.directory.parent)
            replace(self._known, self.store_id.encode())
            self._making.unlink(missing_ok=True)
            self.is_new = False

    def close(self) -> None:
        """Let the next process have the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def known_id(self) -> str:
        """The identifier of the store that should be here; empty when there was none yet."""
        try:
            return read_bounded(self._known, maximum=_LONGEST).decode(errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise explained(error, self._known) from None

    def _check(self, known: str, store_id: str) -> None:
        marker = self._read_marker()
        if marker is None:
            if self._making.exists():
                shutil.rmtree(self.engine, ignore_errors=True)
            if self._has_engine_files():
                raise TraceStoreUnavailable(
                    f"{self.directory} holds a trace store without its file `format`.",
                    advice=self._advice(),
                )
            replace(self._making, b"")
            self.store_id = store_id or str(uuid.uuid4())
            self.is_new = True
            return
        self._making.unlink(missing_ok=True)
        if marker.format > FORMAT:
            raise TraceStoreTooNew(
                f"The trace store in {self.directory} has format {marker.format}; "
                f"this program knows {FORMAT}.",
                advice="Start the newer program again, or restore an older back-up.",
            )
        if known and marker.store_id != known:
            raise TraceStoreUnavailable(
                f"{self.directory} holds another trace store than the one that belongs here.",
                advice=self._advice(),
            )
        self.store_id = marker.store_id
        if not known:  # a crash came between the two files, or the operator moved a store here
            replace(self._known, marker.store_id.encode())
        if not self._has_engine_files():
            raise TraceStoreUnavailable(
                f"The trace store in {self.directory} has lost its data.", advice=self._advice()
            )

    def _has_engine_files(self) -> bool:
        return self.engine.is_dir() and any(self.engine.iterdir())

    def _read_marker(self) -> _Marker | None:
        try:
            return msgspec.json.decode(read_bounded(self._marker, maximum=_LONGEST), type=_Marker)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explained(error, self._marker) from None
        except msgspec.DecodeError:
            raise TraceStoreUnavailable(
                f"{self._marker} is damaged.", advice=self._advice()
            ) from None

    def _take_lock(self) -> None:
        path = self.directory / "lock"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(path, flags, OWNER_ONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TraceStoreInUse(
                f"Another process has the trace store in {self.directory} open.",
                advice="Stop it first; one process at a time owns a store.",
            ) from None
        except OSError as error:
            with contextlib.suppress(OSError):  # the first failure is the one to report
                self.close()
            raise explained(error, path) from None

    def _advice(self) -> str:
        return _RESTORE.format(directory=self.directory, known=self._known)
