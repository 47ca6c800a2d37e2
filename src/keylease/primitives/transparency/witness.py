"""A witness: it cosigns a log's checkpoint only if it continues the last one it cosigned.

It remembers, for each log, the newest checkpoint with its own cosignature: one small file, which is
itself the proof that somebody outside the log's machine has seen that much of it.

Protects: after this witness has signed, the log cannot shrink, be set back, or show other readers
    another history of the same size without the contradiction being provable.
Does not protect: a witness sees hashes, never entries. Run by the operator of the log, on the same
    machine, it is worth nothing; who relies on it has to know that it is not.
Limits: which key a log has is pinned when the log is first introduced, and then follows the log's
    own rotations (``log_keys``) only.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from keylease.errors import NoteInvalid, ProofInvalid, StorageCorrupt, WitnessRefused
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.files import (
    explained,
    locked,
    make_private_directory,
    read_bounded,
    replace,
)
from keylease.primitives.transparency.checkpoints import (
    Checkpoint,
    TreeHead,
    open_checkpoint,
    with_cosignatures,
)
from keylease.primitives.transparency.log_keys import (
    KeyChain,
    join_notes,
    resolve_keys,
    split_notes,
)
from keylease.primitives.transparency.merkle import EMPTY_ROOT
from keylease.primitives.transparency.notes import (
    MAXIMUM_NOTE,
    KeyKind,
    NoteKey,
    NoteSignature,
    NoteSigner,
)
from keylease.primitives.transparency.proofs import check_consistency

_MAXIMUM_FILE: Final = 4 * MAXIMUM_NOTE
_LOCK_SECONDS: Final = 10.0
_MAXIMUM_LOGS: Final = 64
"""A platform that introduces ever more logs must not fill the witness's disk."""


class Witness:
    """Witnesses logs from one directory. Its calls block for a few milliseconds."""

    def __init__(self, directory: Path, signer: NoteSigner, *, clock: Clock) -> None:
        """``signer`` is of the kind ``COSIGNER`` and used for nothing else."""
        if signer.public.kind is not KeyKind.COSIGNER:
            raise NoteInvalid("A witness signs with a cosigner's key.")
        self._directory = directory
        self._signer = signer
        self._clock = clock
        make_private_directory(directory)

    @property
    def key(self) -> NoteKey:
        """What readers pin to rely on this witness."""
        return self._signer.public

    def introduce(self, key: NoteKey, rotations: Sequence[bytes] = ()) -> None:
        """Pin the key of a log that is not known yet, or follow the rotations of one that is.

        Raises ``WitnessRefused`` (``key_changed``) when the log's key is now another one and no
        rotation leads to it, and ``NoteInvalid``.
        """
        with self._locked():
            path = self._path(key.name, "keys")
            known = self._file(path)
            if known is None:
                self._check_room()
                replace(path, join_notes([f"{key}\n".encode(), *rotations]))
                return
            pinned, *before = split_notes(known)
            followed = [*before, *(note for note in rotations if note not in before)]
            chain = resolve_keys([NoteKey.parse(pinned.decode())], followed)
            if key not in [period.key for period in chain.periods]:
                raise WitnessRefused(
                    f"The log {key.name} has another key, and its old key does not vouch for it.",
                    reason="key_changed",
                    advice="Find out who changed it before this witness is told to forget the log.",
                )
            if len(followed) > len(before):
                replace(path, join_notes([pinned, *followed]))

    def size(self, origin: str) -> int:
        """How many entries of a log have been witnessed; 0 when none."""
        note = self.note(origin)
        return self._opened(origin, note).head.size if note else 0

    def note(self, origin: str) -> bytes | None:
        """The newest checkpoint of a log with this witness's cosignature."""
        return self._file(self._path(origin, "checkpoint"))

    def cosign(
        self, checkpoint: bytes, *, old_size: int, proof: Sequence[bytes] = ()
    ) -> NoteSignature:
        """Check a checkpoint against the last one, remember it, and sign it.

        1. A key of the log that is pinned here has signed it.
        2. It is not smaller than what was cosigned before.
        3. ``old_size`` is the size cosigned before (0 when none).
        4. Of the same size, it has the same root; else the proof leads from one to the other.
        5. It is on this disk before the signature is given away.

        Raises ``WitnessRefused`` with one of the reasons ``unknown_log``, ``not_signed``,
        ``rollback``, ``unknown_size``, ``split_view``, ``inconsistent``; and ``StorageError``.
        """
        with self._locked():
            opened = self._checked_signature(checkpoint)
            head = opened.head
            last = self._last(head.origin)
            if head.size < last.size:
                raise WitnessRefused(
                    f"The log had {last.size} entries and now claims {head.size}.",
                    reason="rollback",
                    known_size=last.size,
                )
            if old_size != last.size:
                raise WitnessRefused(
                    f"This witness has seen {last.size} entries, not {old_size}.",
                    reason="unknown_size",
                    known_size=last.size,
                )
            self._check_continues(last, head, checkpoint, proof)
            signature = self._signer.sign(head.text, at=self._clock.now() // MICROSECONDS)
            cosigned = with_cosignatures(checkpoint, signature.line, [self.key])
            replace(self._path(head.origin, "checkpoint"), cosigned)
            return signature

    def _checked_signature(self, checkpoint: bytes) -> Checkpoint:
        try:
            origin = checkpoint.partition(b"\n")[0].decode()
        except UnicodeDecodeError as error:
            raise NoteInvalid("A checkpoint is not UTF-8.") from error
        chain = self._chain(origin)
        if chain is None:
            raise WitnessRefused("This witness does not know the log.", reason="unknown_log")
        try:
            return chain.open(checkpoint)
        except NoteInvalid as error:
            raise WitnessRefused(error.message, reason="not_signed") from error

    def _check_continues(
        self, last: TreeHead, head: TreeHead, checkpoint: bytes, proof: Sequence[bytes]
    ) -> None:
        if head.size == last.size and head.root != last.root:
            # Both are signed by the log: the two notes together are proof for anybody.
            digest = hashlib.sha256(checkpoint).hexdigest()[:16]
            replace(self._path(head.origin, f"contradiction-{digest}"), checkpoint)
            raise WitnessRefused(
                f"The log shows two different trees of {head.size} entries.",
                reason="split_view",
                known_size=last.size,
                advice="Both checkpoints are kept beside each other in the witness's directory.",
            )
        try:
            check_consistency(
                old=last.size, old_root=last.root, size=head.size, root=head.root, proof=proof
            )
        except ProofInvalid as error:
            raise WitnessRefused(
                f"The log does not continue what was witnessed. {error.message}",
                reason="inconsistent",
                known_size=last.size,
            ) from error

    def _last(self, origin: str) -> TreeHead:
        note = self.note(origin)
        return self._opened(origin, note).head if note else TreeHead(origin, 0, EMPTY_ROOT)

    def _opened(self, origin: str, note: bytes) -> Checkpoint:
        """Our own record; our own signature on it is what makes it one."""
        chain = self._chain(origin)
        keys = [period.key for period in chain.periods] if chain else []
        why = "It is not cosigned by this witness."
        try:
            opened = open_checkpoint(note, log_keys=keys, witness_keys=[self.key])
            if opened.cosigned and opened.head.origin == origin:
                return opened
        except NoteInvalid as error:
            why = error.message
        raise StorageCorrupt(
            f"What this witness remembers of the log {origin} is damaged. {why}",
            advice="Restore the witness's directory; forgetting it would allow a rollback.",
        )

    def _chain(self, origin: str) -> KeyChain | None:
        data = self._file(self._path(origin, "keys"))
        if data is None:
            return None
        pinned, *rotations = split_notes(data)
        return resolve_keys([NoteKey.parse(pinned.decode())], rotations)

    def _check_room(self) -> None:
        if len(list(self._directory.glob("*.keys"))) >= _MAXIMUM_LOGS:
            raise WitnessRefused(
                f"This witness knows {_MAXIMUM_LOGS} logs already.", reason="too_many_logs"
            )

    def _path(self, origin: str, kind: str) -> Path:
        # An origin is the log's to choose, a file name is ours.
        return self._directory / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.{kind}"

    def _file(self, path: Path) -> bytes | None:
        try:
            return read_bounded(path, maximum=_MAXIMUM_FILE)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explained(error, path) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Checking and remembering are one step, also for two processes."""
        with locked(self._directory / "lock", seconds=_LOCK_SECONDS):
            for leftover in self._directory.glob("*.tmp-*"):
                leftover.unlink(missing_ok=True)
            yield
