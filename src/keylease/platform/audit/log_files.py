"""The logs on disk: opened once, checked against what the database remembers, written by one.

    <data>/audit/lock
    <data>/audit/logs/<log id>/    see ``keylease.primitives.transparency.directory``
    <data>/audit/keys/<log id>.key

Protects: a log whose files were set back, damaged or signed by another key is not written to; a
    second history is never signed because a file was restored.
Limits: blocking calls; the sequencer makes them in a thread, one at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keylease.errors import NoteInvalid, StorageCorrupt, TransparencyError
from keylease.platform.audit.signing_keys import SigningKeys
from keylease.primitives.files import make_private_directory
from keylease.primitives.transparency.checkpoints import (
    TreeHead,
    sign_head,
    unverified_head,
)
from keylease.primitives.transparency.directory import (
    CHECKPOINT,
    ROTATIONS,
    LogDirectory,
    LogWriter,
)
from keylease.primitives.transparency.log_keys import (
    key_before,
    resolve_keys,
    split_notes,
)
from keylease.primitives.transparency.merkle import EMPTY_ROOT
from keylease.primitives.transparency.notes import NoteKey, NoteSigner
from keylease.primitives.transparency.proofs import range_hash
from keylease.primitives.transparency.tiles import TileHashes

_ORIGIN: Final = "keylease/audit/"
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}", re.ASCII)


def origin_of(log_id: str) -> str:
    """The name by which verifiers and witnesses know a log."""
    return _ORIGIN + log_id


def safe_log_id(organization_id: str) -> str:
    """The log of an organization; what could not be a file's name becomes one."""
    if _PLAIN.fullmatch(organization_id):
        return organization_id
    return hashlib.sha256(organization_id.encode()).hexdigest()[:32]


class OpenLog:
    """One log, open for writing."""

    def __init__(
        self, log_id: str, writer: LogWriter, keys: SigningKeys, signer: NoteSigner
    ) -> None:
        self.log_id = log_id
        self.writer = writer
        self._keys = keys
        self._signer = signer

    @property
    def head(self) -> TreeHead:
        """What was published last."""
        return self.writer.head

    @property
    def key(self) -> NoteKey:
        """The key in force."""
        return self._signer.public

    def append(self, entries: Sequence[bytes]) -> tuple[TreeHead, bytes]:
        """Make entries durable and part of the log; gives the new head and its signed note."""
        head = self.writer.append(entries)
        return head, self._publish(head)

    def rotate_key(self) -> tuple[TreeHead, bytes]:
        """Put a new key in force, vouched for by the old one, and sign the head with it."""
        head = self.head
        self._signer = self._keys.rotate(self.log_id, self.writer, head=head)
        return head, self._publish(head)

    def _publish(self, head: TreeHead) -> bytes:
        note = sign_head(head, self._signer)
        self.writer.publish(note)
        return note


class LogFiles:
    """All logs of the installation."""

    def __init__(self, directory: Path) -> None:
        self._logs = directory / "logs"
        make_private_directory(self._logs)
        self._keys = SigningKeys(directory / "keys")
        self.lock_file = directory / "lock"

    def reader(self, log_id: str) -> LogDirectory:
        """The files of a log, for reading. Other processes may use it as well."""
        return LogDirectory(self._logs / log_id)

    def checkpoint(self, log_id: str) -> tuple[TreeHead, bytes] | None:
        """The present head and its note, as our own files have them; None before the first."""
        note = self.reader(log_id).read(CHECKPOINT)
        return (unverified_head(note), note) if note else None

    def keys(self, log_id: str) -> tuple[NoteKey, list[bytes]]:
        """The public key in force, and the rotations that led to it."""
        rotations = self.reader(log_id).read(ROTATIONS) or b""
        signer = self._keys.load(log_id, origin=origin_of(log_id))
        return signer.public, split_notes(rotations)

    def open(self, log_id: str, *, known: TreeHead | None) -> OpenLog:
        """Open a log for writing; ``known`` is the head that the database remembers.

        1. The checkpoint is signed by our key (or by the one before it, right after a rotation).
        2. The tiles at its right edge have its root.
        3. At the remembered size, the tree had the remembered root.

        Raises ``StorageCorrupt`` when one of these does not hold, and ``StorageError``.
        """
        origin = origin_of(log_id)
        reader = self.reader(log_id)
        note = reader.read(CHECKPOINT)
        if note is None:
            if known is not None and known.size:
                raise _set_back(log_id, known.size, 0)
            signer = self._keys.make(log_id, origin=origin)
            return OpenLog(log_id, LogWriter(reader.path, None, origin=origin), self._keys, signer)
        rotations = reader.read(ROTATIONS) or b""
        signer = self._keys.settle(log_id, origin=origin, rotations=rotations)
        head = _own_head(note, signer.public, rotations)
        writer = LogWriter(reader.path, head, origin=origin)
        if known is not None:
            _check_known(writer, known)
        return OpenLog(log_id, writer, self._keys, signer)


def _own_head(note: bytes, key: NoteKey, rotations: bytes) -> TreeHead:
    notes = split_notes(rotations)
    before = key_before(notes[-1], key) if notes else None
    try:
        # Right after a rotation the checkpoint may still be the old key's last one.
        chain = resolve_keys([before], [notes[-1]]) if before else resolve_keys([key], [])
        return chain.open(note).head
    except NoteInvalid as error:
        raise StorageCorrupt(
            f"The audit log's checkpoint is not signed by its own key. {error.message}",
            advice="`keylease audit verify` says more. Nothing is written to this log until then.",
        ) from error


def _check_known(writer: LogWriter, known: TreeHead) -> None:
    head = writer.head
    if known.size > head.size:
        raise _set_back(known.origin, known.size, head.size)
    if known.size == 0:
        root = EMPTY_ROOT
    else:
        try:
            root = range_hash(TileHashes(writer.directory, head.size), 0, known.size)
        except TransparencyError as error:
            raise StorageCorrupt(error.message) from error
    if root != known.root:
        raise StorageCorrupt(
            f"The audit log {known.origin} is not the one that the database knows.",
            advice="One of them was replaced. `keylease audit verify` with a witnessed checkpoint "
            "says whether it was the log.",
        )


def _set_back(name: str, known: int, found: int) -> StorageCorrupt:
    return StorageCorrupt(
        f"The audit log {name} had {known} entries and now has {found}: it was set back.",
        advice="Restore its files. Writing to it now would sign a second history.",
    )
