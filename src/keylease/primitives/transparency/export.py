"""Entries with their proofs in one file: newline-delimited JSON, made as a stream.

    {"keylease_audit_export": 1, "origin": ..., "size": ..., "complete": ..., "checkpoint": ...}
    {"index": 0, "entry": {...}}                     complete: every entry, from the first
    {"index": 7, "entry": {...}, "proof": [...]}     a part: each with its inclusion proof
    {"entries": 2}                                   the last line, so that a cut shows

The value of ``entry`` is the logged bytes as they are: what was hashed. Formatting the file anew
(``jq`` without ``-c``, an editor) changes them, and verification says so.

Protects: as ``verifier`` does, for the entries that are in the file.
Does not protect: that a part holds everything that was asked for. Only a complete export shows that
    nothing was left out.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from keylease.errors import LogFaulty, NoteInvalid, ProofInvalid
from keylease.primitives.transparency.checkpoints import Checkpoint, Cosignature, TreeHead
from keylease.primitives.transparency.log_keys import KeyChain, join_notes
from keylease.primitives.transparency.merkle import (
    TILE_WIDTH,
    GrowingTree,
    leaf_hash,
    leaf_hashes,
)
from keylease.primitives.transparency.notes import decode_base64
from keylease.primitives.transparency.proofs import check_consistency, check_inclusion
from keylease.primitives.transparency.verifier import (
    CHECKPOINT_STEP,
    ENTRIES_STEP,
    HISTORY_STEP,
    Inspect,
    KnownHeads,
    Report,
    Trust,
    finish,
    grow,
    open_chain,
    open_own,
    outside_heads,
    outside_size,
)

EXPORT_FORMAT: Final = 1
LONGEST_LINE: Final = 1024 * 1024


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. Append-only."""

    keylease_audit_export: int = EXPORT_FORMAT
    origin: str
    size: int
    complete: bool
    checkpoint: str
    """The signed note that everything else is proven against."""
    witnessed: str = ""
    """The newest note with a witness's cosignature."""
    rotations: tuple[str, ...] = ()
    consistency: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """For a part: from which earlier sizes a consistency proof leads to this checkpoint."""
    filter: dict[str, str] = msgspec.field(default_factory=dict)
    """What was asked for, for people."""


class ExportLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry."""

    index: int
    entry: msgspec.Raw
    proof: tuple[str, ...] = ()


class ExportEnd(msgspec.Struct, frozen=True):
    """The last line."""

    entries: int


def encode_hashes(hashes: Sequence[bytes]) -> tuple[str, ...]:
    """Hashes as text."""
    return tuple(base64.b64encode(item).decode() for item in hashes)


def export_line(index: int, entry: bytes, proof: Sequence[bytes] = ()) -> bytes:
    """One line, with its line feed."""
    if proof:
        line = ExportLine(index, msgspec.Raw(entry), encode_hashes(proof))
        return msgspec.json.encode(line) + b"\n"
    return b'{"index":%d,"entry":%b}\n' % (index, entry)


def verify_export(
    lines: Iterable[bytes], trust: Trust, *, inspect: Inspect | None = None
) -> Report:
    """Check an export; raises ``LogFaulty`` at the first fault. The steps are those of verifier."""
    stream = iter(lines)
    header = _header(next(stream, b""))
    chain = open_chain(trust, join_notes([note.encode() for note in header.rotations]))
    place = "line 1"
    checkpoint = open_own(chain, header.checkpoint.encode(), trust, place=place)
    if checkpoint.head.size != header.size:
        raise LogFaulty(
            "The export is not of its checkpoint's size.", step=CHECKPOINT_STEP, place=place
        )
    heads, cosigned = outside_heads(chain, trust, checkpoint)
    if header.witnessed:
        opened = open_own(chain, header.witnessed.encode(), trust, place=place)
        heads.append((opened.head, "the export's witnessed checkpoint"))
        cosigned += opened.cosigned
    if header.complete:
        count = _verify_complete(stream, checkpoint, KnownHeads(heads), inspect)
    else:
        _verify_history(header, checkpoint, heads)
        count = _verify_part(stream, checkpoint, inspect)
    return _report(header, chain, trust, cosigned, count)


def _report(
    header: ExportHeader,
    chain: KeyChain,
    trust: Trust,
    cosigned: tuple[Cosignature, ...],
    count: int,
) -> Report:
    checkpoint = chain.open(header.checkpoint.encode())
    shown = "" if header.complete else "; an entry that matches may have been left out"
    return Report(
        origin=chain.origin,
        size=header.size,
        root=checkpoint.head.root,
        outside_size=outside_size(chain, trust),
        cosigned=cosigned,
        steps=(
            f"Keys: {len(chain.rotations)} rotations followed from the pinned key.",
            f"Checkpoint: {header.size} entries, signed by {checkpoint.signed_by.key_id.hex()}.",
            f"Checkpoints from elsewhere: {len(trust.outside)}.",
            f"Entries: {count} in the file, each proven.",
        ),
        completeness="" if header.complete else f"a part of the log: {count} entries{shown}",
    )


def _header(line: bytes) -> ExportHeader:
    try:
        header = msgspec.json.decode(line, type=ExportHeader)
    except msgspec.DecodeError as error:
        raise LogFaulty(
            "The file does not begin as an audit export does.", step=CHECKPOINT_STEP, place="line 1"
        ) from error
    if header.keylease_audit_export != EXPORT_FORMAT:
        raise LogFaulty(
            f"The export has format {header.keylease_audit_export}.",
            step=CHECKPOINT_STEP,
            place="line 1",
            advice="Verify it with the version that made it, or a newer one.",
        )
    return header


def _entry_lines(stream: Iterator[bytes]) -> Iterator[ExportLine]:
    """The lines between the first and the last; raises ``LogFaulty`` when the last is missing."""
    decode = msgspec.json.Decoder(ExportLine).decode
    number, count, previous = 1, 0, -1
    for raw in stream:
        number += 1
        try:
            line = decode(raw)
        except msgspec.DecodeError:
            _check_end(raw, stream, number=number, count=count, following=previous + 1)
            return
        if line.index <= previous:
            raise LogFaulty(
                f"Entry {line.index} stands behind entry {previous}.",
                step=ENTRIES_STEP,
                place=f"line {number}",
                index=line.index,
            )
        previous = line.index
        count += 1
        yield line
    raise LogFaulty(
        f"The file ends after {count} entries without saying that it ends.",
        step=ENTRIES_STEP,
        place=f"line {number}",
        index=previous + 1,
    )


def _check_end(
    raw: bytes, stream: Iterator[bytes], *, number: int, count: int, following: int
) -> None:
    place = f"line {number}"
    try:
        end = msgspec.json.decode(raw, type=ExportEnd)
    except msgspec.DecodeError as error:
        raise LogFaulty(
            "A line is not an entry.", step=ENTRIES_STEP, place=place, index=following
        ) from error
    if end.entries != count or next(stream, None) is not None:
        raise LogFaulty(
            f"The file has {count} entries before its last line, which says {end.entries}.",
            step=ENTRIES_STEP,
            place=place,
            index=following,
        )


def _verify_complete(
    stream: Iterator[bytes], checkpoint: Checkpoint, heads: KnownHeads, inspect: Inspect | None
) -> int:
    tree = GrowingTree()
    lines = _entry_lines(stream)
    while batch := list(itertools.islice(lines, TILE_WIDTH)):
        entries = [bytes(line.entry) for line in batch]
        if [line.index for line in batch] != list(range(tree.size, tree.size + len(batch))):
            at = next(n for n, line in enumerate(batch) if line.index != tree.size + n)
            raise _missing(tree.size + at)
        if tree.size + len(batch) > checkpoint.head.size:
            raise LogFaulty(
                "The file has more entries than its checkpoint.",
                step=ENTRIES_STEP,
                place=f"line {checkpoint.head.size + 2}",
                index=checkpoint.head.size,
            )
        grow(tree, leaf_hashes(entries), heads)
        if inspect is not None:
            inspect(batch[0].index, entries)
    if tree.size != checkpoint.head.size:
        raise _missing(tree.size)
    finish(tree, checkpoint, None)
    return tree.size


def _missing(index: int) -> LogFaulty:
    return LogFaulty(
        f"Entry {index} is missing.", step=ENTRIES_STEP, place=f"line {index + 2}", index=index
    )


def _verify_part(stream: Iterator[bytes], checkpoint: Checkpoint, inspect: Inspect | None) -> int:
    count = 0
    head = checkpoint.head
    for line in _entry_lines(stream):
        entry = bytes(line.entry)
        try:
            check_inclusion(
                leaf=leaf_hash(entry),
                index=line.index,
                size=head.size,
                proof=_decoded(line.proof),
                root=head.root,
            )
        except (ProofInvalid, NoteInvalid) as error:
            raise LogFaulty(
                error.message, step=ENTRIES_STEP, place=f"line {count + 2}", index=line.index
            ) from error
        if inspect is not None:
            inspect(line.index, [entry])
        count += 1
    return count


def _verify_history(
    header: ExportHeader, checkpoint: Checkpoint, heads: Sequence[tuple[TreeHead, str]]
) -> None:
    """Step 7 for a part: by consistency proofs, since the entries between are not all there."""
    for head, place in heads:
        proof = _proof_from(header.consistency, head, checkpoint.head, place)
        try:
            check_consistency(
                old=head.size,
                old_root=head.root,
                size=checkpoint.head.size,
                root=checkpoint.head.root,
                proof=_decoded(proof),
            )
        except (ProofInvalid, NoteInvalid) as error:
            raise LogFaulty(error.message, step=HISTORY_STEP, place=place, index=0) from error


def _proof_from(
    known: Mapping[str, tuple[str, ...]], head: TreeHead, present: TreeHead, place: str
) -> tuple[str, ...]:
    if head.size in {0, present.size}:
        return ()
    proof = known.get(str(head.size))
    if proof is None:
        raise LogFaulty(
            f"The export has no consistency proof from {head.size} entries, the size of {place}.",
            step=HISTORY_STEP,
            place=place,
            advice="Export again and name that size, or export the whole log.",
        )
    return proof


def _decoded(hashes: Sequence[str]) -> list[bytes]:
    return [decode_base64(item) for item in hashes]
