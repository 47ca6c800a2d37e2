"""Checkpoints: what a log says its tree is (c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from keylease.errors import NoteInvalid
from keylease.primitives.transparency.merkle import HASH_BYTES
from keylease.primitives.transparency.notes import (
    KeyKind,
    NoteKey,
    NoteSigner,
    UnverifiedNote,
    VerifiedSignature,
    check_signature,
    decode_base64,
    open_note,
    parse_note,
)

_LINES: Final = 3
_SIZE: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
LARGEST_SIZE: Final = 2**63 - 1


class TreeHead(msgspec.Struct, frozen=True):
    """Which log, how many entries, which root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint; extension lines are refused: no log of ours has any."""
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines[-1] or not lines[0]:
            raise NoteInvalid("This is not a checkpoint: origin, size, root hash.")
        size = int(lines[1]) if _SIZE.fullmatch(lines[1]) else -1
        root = decode_base64(lines[2])
        if not 0 <= size <= LARGEST_SIZE or len(root) != HASH_BYTES:
            raise NoteInvalid("A checkpoint has no proper size or root hash.")
        return cls(lines[0], size, root)


class Cosignature(msgspec.Struct, frozen=True):
    """A witness's statement about a checkpoint, verified."""

    witness: str
    at: int
    """Seconds UTC, as the witness says."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree head that a trusted key of the log has signed."""

    head: TreeHead
    note: bytes
    signed_by: NoteKey
    cosigned: tuple[Cosignature, ...] = ()
    """By the witnesses that the reader trusts, and by no other."""


def sign_head(head: TreeHead, signer: NoteSigner) -> bytes:
    """The log's own signature on a tree head. Never sign two that contradict each other."""
    return UnverifiedNote(head.text, (signer.sign(head.text),)).encode()


def open_checkpoint(
    note: bytes, *, log_keys: Iterable[NoteKey], witness_keys: Iterable[NoteKey] = ()
) -> Checkpoint:
    """Read a checkpoint; raises ``NoteInvalid`` unless one of the log's trusted keys signed it."""
    logs = [key for key in log_keys if key.kind is KeyKind.LOG]
    opened = open_note(note, [*logs, *witness_keys])
    by_log = [found for found in opened.verified if found.key in logs]
    if not by_log:
        raise NoteInvalid("None of the log's trusted keys has signed this checkpoint.")
    return Checkpoint(
        TreeHead.parse(opened.text), note, by_log[0].key, _cosignatures(opened.verified)
    )


def unverified_head(note: bytes) -> TreeHead:
    """What a checkpoint says, without looking at its signatures."""
    return TreeHead.parse(parse_note(note).unverified_text)


def own_part(note: bytes) -> bytes:
    """The note with the log's first signature only: what every witness is asked to cosign."""
    parsed = parse_note(note)
    return UnverifiedNote(parsed.unverified_text, parsed.signatures[:1]).encode()


def with_cosignatures(note: bytes, lines: str, witness_keys: Iterable[NoteKey]) -> bytes:
    """The note with signature lines of known witnesses added; raises ``NoteInvalid``.

    Lines of unknown keys are left out; a line that is there already is not added twice, a newer
    one of the same witness takes its place.
    """
    base = parse_note(note)
    known = {(key.name, key.key_id): key for key in witness_keys}
    text = base.unverified_text
    added = parse_note(f"{text}\n{lines}".encode()).signatures
    kept = {(item.name, item.key_id): item for item in base.signatures}
    for item in added:
        key = known.get((item.name, item.key_id))
        if key is not None:
            check_signature(text, item, key)
            kept[item.name, item.key_id] = item
    return UnverifiedNote(text, tuple(kept.values())).encode()


def _cosignatures(verified: Iterable[VerifiedSignature]) -> tuple[Cosignature, ...]:
    return tuple(
        Cosignature(found.key.name, found.at)
        for found in verified
        if found.key.kind is KeyKind.COSIGNER and found.at is not None
    )
