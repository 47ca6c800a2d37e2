"""A signed log in a directory, made quickly, and ways to tamper with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.primitives.transparency.checkpoints import TreeHead, sign_head
from keylease.primitives.transparency.directory import (
    CHECKPOINT,
    ROTATIONS,
    LogDirectory,
    LogWriter,
)
from keylease.primitives.transparency.export import ExportHeader, encode_hashes, export_line
from keylease.primitives.transparency.log_keys import join_notes, sign_rotation, split_notes
from keylease.primitives.transparency.merkle import GrowingTree, leaf_hashes
from keylease.primitives.transparency.notes import KeyKind, NoteKey, NoteSigner
from keylease.primitives.transparency.proofs import consistency_proof, inclusion_proof
from keylease.primitives.transparency.tiles import (
    ENTRIES,
    TileHashes,
    encode_bundle,
    split_bundle,
    tile_for,
)
from keylease.primitives.transparency.verifier import Report, Trust, verify_log

ORIGIN = "keylease/audit/018f0000-0000-7000-8000-0000000000aa"


def signer(name: str = ORIGIN, kind: KeyKind = KeyKind.LOG) -> NoteSigner:
    return NoteSigner(Ed25519PrivateKey.generate(), name=name, kind=kind)


def entry(number: int) -> bytes:
    return b'{"id":"%d","at":%d,"action":"policy.loaded"}' % (number, number)


class SignedLog:
    """Writes a log as the platform does."""

    def __init__(self, path: Path, key: NoteSigner | None = None) -> None:
        self.path = path
        self.signer = key or signer()
        self.first_key = self.signer.public
        self.writer = LogWriter(path, None, origin=ORIGIN)

    def grow(self, count: int, *, make: Callable[[int], bytes] = entry) -> bytes:
        """Append entries; gives the checkpoint."""
        size = self.writer.head.size
        head = self.writer.append([make(number) for number in range(size, size + count)])
        return self.publish(head)

    def publish(self, head: TreeHead) -> bytes:
        note = sign_head(head, self.signer)
        self.writer.publish(note)
        return note

    def rotate(self) -> None:
        new = signer()
        rotations = split_notes(self.writer.directory.read(ROTATIONS) or b"")
        rotations.append(sign_rotation(self.writer.head, old=self.signer, new=new))
        self.writer.store(ROTATIONS, join_notes(rotations))
        self.signer = new
        self.publish(self.writer.head)

    @property
    def reader(self) -> LogDirectory:
        return LogDirectory(self.path)

    @property
    def head(self) -> TreeHead:
        return self.writer.head

    def proof(self, old: int) -> list[bytes]:
        return consistency_proof(
            TileHashes(self.reader, self.head.size), old=old, size=self.head.size
        )

    def verify(
        self,
        *outside: bytes,
        witnesses: Sequence[NoteKey] = (),
        key: NoteKey | None = None,
    ) -> Report:
        trust = Trust(
            log_keys=(key or self.first_key,), witness_keys=tuple(witnesses), outside=outside
        )
        return verify_log(self.reader, trust)

    def export(self, wanted: Sequence[int] | None = None, *, sizes: Sequence[int] = ()) -> bytes:
        """As the platform exports: everything, or some entries with proofs."""
        size = self.head.size
        hashes = TileHashes(self.reader, size)
        note = self.reader.read(CHECKPOINT) or b""
        header = ExportHeader(
            origin=ORIGIN,
            size=size,
            complete=wanted is None,
            checkpoint=note.decode(),
            rotations=tuple(
                item.decode() for item in split_notes(self.reader.read(ROTATIONS) or b"")
            ),
            consistency={str(old): encode_hashes(self.proof(old)) for old in sizes},
        )
        chosen = range(size) if wanted is None else wanted
        lines = [msgspec_line(header)]
        for index in chosen:
            [raw] = self.reader.entries(index, index + 1, size=size)
            proof = [] if wanted is None else inclusion_proof(hashes, index=index, size=size)
            lines.append(export_line(index, raw, proof))
        return b"".join([*lines, b'{"entries":%d}\n' % len(chosen)])


def msgspec_line(header: ExportHeader) -> bytes:
    return msgspec.json.encode(header) + b"\n"


class Tampering:
    """Somebody who may write every file of a log, and may have its key."""

    def __init__(self, log: SignedLog, into: Path) -> None:
        shutil.copytree(log.path, into)
        self.log = log
        self.path = into
        self.size = log.head.size

    @property
    def reader(self) -> LogDirectory:
        return LogDirectory(self.path)

    def verify(self, *outside: bytes, witnesses: Sequence[NoteKey] = ()) -> Report:
        trust = Trust(
            log_keys=(self.log.first_key,), witness_keys=tuple(witnesses), outside=outside
        )
        return verify_log(self.reader, trust)

    def bundle(self, index: int, change: Callable[[list[bytes]], None]) -> None:
        """Change the entries of one bundle, and nothing else."""
        name = tile_for(ENTRIES, index, self.size)
        assert name is not None
        file = self.path / name.path
        entries = split_bundle(file.read_bytes())
        change(entries)
        file.write_bytes(encode_bundle(entries))

    def rebuild(self, entries: Sequence[bytes], key: NoteSigner | None) -> None:
        """Make the whole log anew of these entries; sign it with ``key``, or not at all."""
        note = self.reader.read(CHECKPOINT)
        shutil.rmtree(self.path)
        writer = LogWriter(self.path, None, origin=ORIGIN)
        head = writer.append(list(entries))
        assert note is not None
        writer.publish(sign_head(head, key) if key else note)

    def entries(self) -> list[bytes]:
        return self.log.reader.entries(0, self.size, size=self.size)


def tree_of(entries: Sequence[bytes]) -> GrowingTree:
    tree = GrowingTree()
    tree.append(leaf_hashes(entries))
    return tree
