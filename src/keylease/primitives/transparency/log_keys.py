"""A log's keys over time: the old key signs the new one, and says from which size on it counts.

    keylease/audit-key-rotation/v1
    <origin>
    <size>
    <root hash at that size, base64>
    <the old key, as a vkey>
    <the new key, as a vkey>

is a note that both keys sign: the old one to hand over, the new one to show that somebody holds it.
The second line has no digits alone, so that the text is no checkpoint.

Protects: whoever pinned any earlier key finds the present one without asking anybody; a retired key
    that was stolen later cannot sign a tree larger than the one at which it was retired.
Does not protect: a key that was stolen before it was retired can name its own successor. Only a
    witness shows that two histories exist.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from keylease.errors import NoteInvalid
from keylease.primitives.transparency.checkpoints import Checkpoint, TreeHead, open_checkpoint
from keylease.primitives.transparency.notes import (
    KeyKind,
    NoteKey,
    NoteSigner,
    UnverifiedNote,
    open_note,
)

_TITLE: Final = "keylease/audit-key-rotation/v1"
_LINES: Final = 6


class KeyPeriod(msgspec.Struct, frozen=True):
    """A key, and the sizes of trees it may sign."""

    key: NoteKey
    first_size: int
    last_size: int | None = None
    """None while it is the present key."""


class Rotation(msgspec.Struct, frozen=True):
    """A rotation that the old key signed and the new one accepted."""

    head: TreeHead
    old: NoteKey
    new: NoteKey


class KeyChain(msgspec.Struct, frozen=True):
    """The keys that a reader trusts for one log, and from which to which size."""

    periods: tuple[KeyPeriod, ...]
    rotations: tuple[Rotation, ...] = ()
    """Those that were followed, in order: their tree heads are part of the log's history."""

    @property
    def origin(self) -> str:
        """The name all these keys have, which is the log's."""
        return self.periods[0].key.name

    def open(self, note: bytes, *, witness_keys: Iterable[NoteKey] = ()) -> Checkpoint:
        """Read a checkpoint of this log; raises ``NoteInvalid`` when its key is not in force."""
        checkpoint = open_checkpoint(
            note, log_keys=[period.key for period in self.periods], witness_keys=witness_keys
        )
        head = checkpoint.head
        if head.origin != self.origin:
            raise NoteInvalid(f"The checkpoint is of the log {head.origin}, not {self.origin}.")
        for period in self.periods:
            if period.key == checkpoint.signed_by and (
                head.size < period.first_size
                or (period.last_size is not None and head.size > period.last_size)
            ):
                raise NoteInvalid(
                    f"The key {period.key.key_id.hex()} may not sign a tree of {head.size} entries."
                )
        return checkpoint


def sign_rotation(head: TreeHead, *, old: NoteSigner, new: NoteSigner) -> bytes:
    """The note by which ``old`` hands over to ``new`` at the log's present head."""
    text = _text(head, old.public, new.public)
    return UnverifiedNote(text, (old.sign(text), new.sign(text))).encode()


def resolve_keys(pinned: Sequence[NoteKey], rotations: Iterable[bytes]) -> KeyChain:
    """Follow rotations from the pinned keys; raises ``NoteInvalid``.

    Rotations before the pinned key are skipped: they are about keys the reader does not know.
    """
    logs = [key for key in pinned if key.kind is KeyKind.LOG]
    if not logs:
        raise NoteInvalid(
            "No key of the log is pinned.",
            advice="Get it from somebody who runs the log, not from the log itself.",
        )
    if len({key.name for key in logs}) > 1:
        raise NoteInvalid("The pinned keys are of different logs.")
    periods = {key: KeyPeriod(key, 0) for key in logs}
    followed: list[Rotation] = []
    for note in rotations:
        rotation = _open_rotation(note, list(periods))
        if rotation is None:
            continue
        size = rotation.head.size
        # A reader who pinned both keys still learns where the one ends and the other begins.
        periods[rotation.old] = KeyPeriod(rotation.old, periods[rotation.old].first_size, size)
        periods[rotation.new] = KeyPeriod(rotation.new, size)
        followed.append(rotation)
    return KeyChain(tuple(periods.values()), tuple(followed))


def split_notes(data: bytes) -> list[bytes]:
    """The notes of a file of rotations: one after the other, each behind a line with its length."""
    notes: list[bytes] = []
    while data:
        length, separator, rest = data.partition(b"\n")
        if not separator or not length.isdigit() or not 0 < int(length) <= len(rest):
            raise NoteInvalid("The file of rotated keys is malformed.")
        notes.append(rest[: int(length)])
        data = rest[int(length) :]
    return notes


def join_notes(notes: Iterable[bytes]) -> bytes:
    """See ``split_notes``."""
    return b"".join(b"%d\n%s" % (len(note), note) for note in notes)


def key_before(note: bytes, key: NoteKey) -> NoteKey | None:
    """The key that handed over to ``key`` by this rotation, as ``key`` itself has signed it."""
    try:
        _, old, new = _parse(open_note(note, [key]).text)
    except NoteInvalid:
        return None
    return old if new == key else None


def _open_rotation(note: bytes, trusted: list[NoteKey]) -> Rotation | None:
    try:
        opened = open_note(note, trusted)
    except NoteInvalid:
        return None  # of a key from before the pinned one, or of nobody: it grants nothing
    head, old, new = _parse(opened.text)
    if not (new.name == old.name == head.origin and new.kind is old.kind is KeyKind.LOG):
        raise NoteInvalid("A rotation names a key that is not of the same log.")
    open_note(note, [new])  # the new key has to accept, or somebody could be given a key not theirs
    if old not in [found.key for found in opened.verified]:
        return None  # a reader who pinned the new key only
    return Rotation(head, old, new)


def _text(head: TreeHead, old: NoteKey, new: NoteKey) -> str:
    root = base64.b64encode(head.root).decode()
    return f"{_TITLE}\n{head.origin}\n{head.size}\n{root}\n{old}\n{new}\n"


def _parse(text: str) -> tuple[TreeHead, NoteKey, NoteKey]:
    lines = text.split("\n")
    if len(lines) != _LINES + 1 or lines[0] != _TITLE:
        raise NoteInvalid("A note among the rotated keys is not a rotation.")
    head = TreeHead.parse("\n".join(lines[1:4]) + "\n")
    return head, NoteKey.parse(lines[4]), NoteKey.parse(lines[5])
