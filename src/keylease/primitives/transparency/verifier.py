"""Checks a whole log offline, from a directory or a server, and says where the first fault is.

 1. Keys: follow the log's rotations from the pinned keys.
 2. Checkpoint: a key that is in force at its size has signed it.
 3. Checkpoints from elsewhere: signed by the log (and cosigned, when witnesses are pinned), and not
    of more entries than the log has now, nor of another tree of as many.
 4. Entries: every bundle is there and whole, and each entry has the hash its tile of leaves says.
 5. Tiles: every tile above is there and follows from the one below.
 6. Root: the tree computed from the entries alone has the root of the checkpoint.
 7. History: at the size of every earlier checkpoint and rotation, the tree had that root.
 8. Tail: what of the log rests on more than the log's own word.
 9. Content, when the caller asks for it: ``inspect`` sees every entry and may refuse it.

Protects: any edit, deletion, insertion, reorder, truncation or rollback of what a checkpoint from
    elsewhere covers, and any change at all by somebody without the log's key.
Does not protect: entries behind the newest checkpoint from elsewhere. They are signed, but who has
    the log's key could have removed or changed them; the report says "tail not proven".
Limits: what entries say is not judged. Nothing is believed but the pinned keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn, TypeAlias

import msgspec

from keylease.errors import LogFaulty, NoteInvalid, StorageCorrupt
from keylease.primitives.transparency.checkpoints import Checkpoint, Cosignature, TreeHead
from keylease.primitives.transparency.directory import CHECKPOINT, ROTATIONS, WITNESSED
from keylease.primitives.transparency.log_keys import KeyChain, resolve_keys, split_notes
from keylease.primitives.transparency.merkle import (
    TILE_HEIGHT,
    TILE_WIDTH,
    FullTile,
    GrowingTree,
    leaf_hashes,
)
from keylease.primitives.transparency.notes import NoteKey
from keylease.primitives.transparency.tiles import (
    ENTRIES,
    TileName,
    TileSource,
    read_tile,
    split_bundle,
    split_hashes,
    tile_for,
)

KEYS_STEP: Final = 1
CHECKPOINT_STEP: Final = 2
OUTSIDE_STEP: Final = 3
ENTRIES_STEP: Final = 4
TILES_STEP: Final = 5
ROOT_STEP: Final = 6
HISTORY_STEP: Final = 7
CONTENT_STEP: Final = 9
Inspect: TypeAlias = Callable[[int, Sequence[bytes]], None]
"""Called with the index of the first and some entries whose hashes have been computed."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader brings along; nothing of it comes from the log that is checked."""

    log_keys: tuple[NoteKey, ...]
    witness_keys: tuple[NoteKey, ...] = ()
    outside: tuple[bytes, ...] = ()
    """Checkpoints from elsewhere: a witness's, or one that the reader kept."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything held. What it does not cover is said in ``tail``."""

    origin: str
    size: int
    root: bytes
    outside_size: int | None
    """The largest size that a checkpoint from elsewhere covers; None when none was given."""
    cosigned: tuple[Cosignature, ...] = ()
    """By pinned witnesses, of the log's own newest witnessed checkpoint and of those given."""
    steps: tuple[str, ...] = ()
    completeness: str = ""
    """What an export of a part does not show; empty for the whole log."""

    @property
    def tail(self) -> str:
        """In words: up to where the log rests on more than its own word."""
        if self.outside_size is None:
            return "tail not proven: no checkpoint from elsewhere was given"
        if self.outside_size < self.size:
            newer = self.size - self.outside_size
            return (
                f"tail proven up to entry {self.outside_size - 1}; {newer} newer entries rest on "
                "the log's word"
            )
        return "tail proven: a checkpoint from elsewhere covers every entry"


class KnownHeads:
    """Tree heads that a log must have had, in order of size, and what of them was seen."""

    def __init__(self, heads: Sequence[tuple[TreeHead, str]]) -> None:
        self._left = sorted(heads, key=lambda item: item[0].size)
        self.last_good = 0

    def next_size(self) -> int | None:
        """The size at which ``check`` has to be called next."""
        return self._left[0][0].size if self._left else None

    def check(self, tree: GrowingTree) -> None:
        """Raise ``LogFaulty`` unless the tree has the roots known for its size."""
        while self._left and self._left[0][0].size == tree.size:
            head, whence = self._left.pop(0)
            if tree.root() != head.root:
                raise LogFaulty(
                    f"At {head.size} entries the log had another root, says {whence}. The first "
                    f"entry that was changed lies from {self.last_good} to {head.size - 1}.",
                    step=HISTORY_STEP,
                    place=whence,
                    index=self.last_good,
                )
            self.last_good = tree.size


def verify_log(source: TileSource, trust: Trust, *, inspect: Inspect | None = None) -> Report:
    """Check a log; raises ``LogFaulty`` at the first fault, and ``StorageError``."""
    rotations = source.read(ROTATIONS) or b""
    chain = open_chain(trust, rotations)
    checkpoint = _own_checkpoint(source, chain, trust)
    heads, cosigned = outside_heads(chain, trust, checkpoint)
    witnessed = source.read(WITNESSED)
    if witnessed is not None:
        opened = _open(chain, witnessed, trust, step=CHECKPOINT_STEP, place=WITNESSED)
        _check_not_ahead(opened.head, checkpoint.head, place=WITNESSED)
        heads.append((opened.head, f"the log's own {WITNESSED} checkpoint"))
        cosigned += opened.cosigned
    tree, first_fault = _read_entries(source, checkpoint.head.size, KnownHeads(heads), inspect)
    finish(tree, checkpoint, first_fault)
    signer = checkpoint.signed_by.key_id.hex()
    return Report(
        origin=chain.origin,
        size=checkpoint.head.size,
        root=checkpoint.head.root,
        outside_size=outside_size(chain, trust),
        cosigned=cosigned,
        steps=(
            f"Keys: {_counted(len(chain.rotations), 'rotation')} followed from the pinned key.",
            f"Checkpoint: {checkpoint.head.size} entries, signed by {signer}.",
            f"Checkpoints from elsewhere: {len(trust.outside)}.",
            "Entries: every one has the hash its tile says.",
            "Tiles: every one follows from those below.",
            f"Root: {checkpoint.head.root.hex()}, as signed.",
            f"History: {_counted(len(heads), 'earlier head')} on the way.",
        ),
    )


def open_chain(trust: Trust, rotations: bytes) -> KeyChain:
    """Step 1."""
    try:
        return resolve_keys(trust.log_keys, split_notes(rotations))
    except NoteInvalid as error:
        raise LogFaulty(
            error.message, step=KEYS_STEP, place=ROTATIONS, advice=error.advice
        ) from error


def _own_checkpoint(source: TileSource, chain: KeyChain, trust: Trust) -> Checkpoint:
    note = source.read(CHECKPOINT)
    if note is None:
        raise LogFaulty("The log has no checkpoint.", step=CHECKPOINT_STEP, place=CHECKPOINT)
    return _open(chain, note, trust, step=CHECKPOINT_STEP, place=CHECKPOINT)


def open_own(chain: KeyChain, note: bytes, trust: Trust, *, place: str) -> Checkpoint:
    """Step 2, for a checkpoint that lies elsewhere than in a log's own file."""
    return _open(chain, note, trust, step=CHECKPOINT_STEP, place=place)


def _open(chain: KeyChain, note: bytes, trust: Trust, *, step: int, place: str) -> Checkpoint:
    try:
        return chain.open(note, witness_keys=trust.witness_keys)
    except NoteInvalid as error:
        raise LogFaulty(error.message, step=step, place=place, advice=error.advice) from error


def outside_heads(
    chain: KeyChain, trust: Trust, checkpoint: Checkpoint
) -> tuple[list[tuple[TreeHead, str]], tuple[Cosignature, ...]]:
    """Step 3: the heads the log must have had, from outside and from its rotations."""
    heads: list[tuple[TreeHead, str]] = []
    cosigned = checkpoint.cosigned
    for number, note in enumerate(trust.outside, start=1):
        place = f"checkpoint {number} from elsewhere"
        opened = _open(chain, note, trust, step=OUTSIDE_STEP, place=place)
        if trust.witness_keys and not opened.cosigned:
            raise LogFaulty(
                f"No pinned witness has cosigned {place}.", step=OUTSIDE_STEP, place=place
            )
        _check_not_ahead(opened.head, checkpoint.head, place=place)
        heads.append((opened.head, place))
        cosigned += opened.cosigned
    for rotation in chain.rotations:
        _check_not_ahead(rotation.head, checkpoint.head, place="a rotation of the log's key")
        heads.append((rotation.head, "a rotation of the log's key"))
    return heads, cosigned


def outside_size(chain: KeyChain, trust: Trust) -> int | None:
    """The largest size covered from elsewhere; every checkpoint given has been opened before."""
    return max((chain.open(note).head.size for note in trust.outside), default=None)


def _check_not_ahead(head: TreeHead, present: TreeHead, *, place: str) -> None:
    if head.size > present.size:
        raise LogFaulty(
            f"The log has {present.size} entries; {place} is of {head.size}. Its end was cut off, "
            "it was set back, or what is checked is older than that checkpoint.",
            step=OUTSIDE_STEP,
            place=place,
            index=present.size,
        )
    if head.size == present.size and head.root != present.root:
        raise LogFaulty(
            f"The log and {place} have two different trees of {head.size} entries: somebody was "
            "shown another log.",
            step=OUTSIDE_STEP,
            place=place,
            index=0,
        )


def _read_entries(
    source: TileSource, size: int, heads: KnownHeads, inspect: Inspect | None
) -> tuple[GrowingTree, LogFaulty | None]:
    """Steps 4, 5 and 7 in one pass; the first fault of 4 and 5 is kept until the root is known."""
    tree = GrowingTree()
    fault: LogFaulty | None = None
    for index in range(-(-size // TILE_WIDTH)):
        try:
            hashes = _bundle_hashes(source, index, size, inspect)
            fault = fault or _leaf_fault(source, index, size, hashes)
            full = grow(tree, hashes, heads)
            fault = fault or _tile_fault(source, [tile for tile in full if tile.level], size)
        except LogFaulty as later:
            raise fault or later from None
    return tree, fault or _edge_fault(source, tree, size)


def grow(tree: GrowingTree, hashes: Sequence[bytes], heads: KnownHeads) -> list[FullTile]:
    """Append, stopping wherever a root is known."""
    full: list[FullTile] = []
    position = 0
    while (known := heads.next_size()) is not None and known <= tree.size + len(hashes) - position:
        step = known - tree.size
        full += tree.append(hashes[position : position + step])
        position += step
        heads.check(tree)
    return full + tree.append(hashes[position:])


def _bundle_hashes(
    source: TileSource, index: int, size: int, inspect: Inspect | None
) -> list[bytes]:
    name = _needed(tile_for(ENTRIES, index, size))
    first = index * TILE_WIDTH
    try:
        entries = split_bundle(read_tile(source, name))
    except StorageCorrupt as error:
        raise LogFaulty(error.message, step=ENTRIES_STEP, place=name.path, index=first) from error
    hashes = leaf_hashes(entries)
    if len(entries) != name.width:
        fault = _leaf_fault(source, index, size, hashes)
        raise fault or LogFaulty(
            f"{name.path} holds {len(entries)} entries, not {name.width}.",
            step=ENTRIES_STEP,
            place=name.path,
            index=first + min(len(entries), name.width),
        )
    if inspect is not None:
        inspect(first, entries)
    return hashes


def _leaf_fault(
    source: TileSource, index: int, size: int, hashes: Sequence[bytes]
) -> LogFaulty | None:
    """Step 4 for one bundle: the first entry that is not what its tile says."""
    name = _needed(tile_for(0, index, size))
    bundle = TileName(ENTRIES, name.index, name.width).path
    first = index * TILE_WIDTH
    try:
        tile = read_tile(source, name)
    except StorageCorrupt as error:
        return LogFaulty(error.message, step=TILES_STEP, place=name.path, index=first)
    if tile == b"".join(hashes):
        return None
    said = split_hashes(tile)
    at = next(
        (
            number
            for number, (found, wanted) in enumerate(zip(hashes, said, strict=False))
            if found != wanted
        ),
        min(len(hashes), len(said)),
    )
    return LogFaulty(
        f"Entry {first + at} is not the one that was logged: {_difference(hashes, said)}.",
        step=ENTRIES_STEP,
        place=bundle,
        index=first + at,
    )


def _difference(found: Sequence[bytes], said: Sequence[bytes]) -> str:
    missing = len(set(said) - set(found))
    added = len(set(found) - set(said))
    if missing and added:
        return "it was changed, or entries were moved"
    if missing:
        return f"{_counted(missing, 'entry', 'entries')} removed here"
    if added:
        return f"{_counted(added, 'entry', 'entries')} inserted here"
    return "entries stand in another order, or one stands here twice"


def _tile_fault(source: TileSource, tiles: Sequence[FullTile], size: int) -> LogFaulty | None:
    """Step 5: a tile above the leaves that does not follow from those below."""
    for tile in tiles:
        name = _needed(tile_for(tile.level, tile.index, size))
        try:
            said = read_tile(source, name)
        except StorageCorrupt as error:
            return LogFaulty(error.message, step=TILES_STEP, place=name.path)
        wanted = tile.hashes[: len(said)]
        if said != wanted:
            pairs = zip(split_hashes(said), split_hashes(wanted), strict=False)
            slot = next(number for number, (a, b) in enumerate(pairs) if a != b)
            span = 1 << (TILE_HEIGHT * tile.level)
            first = (tile.index * TILE_WIDTH + slot) * span
            return LogFaulty(
                f"{name.path} does not follow from the tiles below: hash {slot}, of entries "
                f"{first} to {min(first + span, size) - 1}.",
                step=TILES_STEP,
                place=name.path,
                index=first,
            )
    return None


def _edge_fault(source: TileSource, tree: GrowingTree, size: int) -> LogFaulty | None:
    """Step 5 for the partial tiles at the right edge."""
    edge = [
        FullTile(level, size >> (TILE_HEIGHT * (level + 1)), tree.partial(level))
        for level in range(1, tree.levels)
        if tree.partial(level)
    ]
    return _tile_fault(source, edge, size)


def finish(tree: GrowingTree, checkpoint: Checkpoint, first_fault: LogFaulty | None) -> None:
    """Step 6, which also says what the first fault of steps 4 and 5 means."""
    if tree.root() == checkpoint.head.root:
        if first_fault is not None:
            level = "leaf hashes" if first_fault.step == ENTRIES_STEP else "hashes"
            raise LogFaulty(
                f"The entries are those that were signed, but their {level} are damaged. "
                f"{first_fault.message}",
                step=TILES_STEP,
                place=first_fault.place.replace("/entries/", "/0/"),
                advice="The tiles can be computed from the entries again.",
            )
        return
    if first_fault is not None:
        raise first_fault
    raise LogFaulty(
        f"The {tree.size} entries do not have the root that was signed; entries and tiles were "
        "changed together.",
        step=ROOT_STEP,
        place=CHECKPOINT,
        index=0,
        advice="A checkpoint from elsewhere, of fewer entries, would narrow the place down.",
    )


def _needed(name: TileName | None) -> TileName:
    if name is None:
        _defect()
    return name


def _defect() -> NoReturn:
    raise AssertionError("a tile was asked for that the tree does not have")


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
