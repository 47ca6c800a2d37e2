"""A log in a directory: the files of c2sp.org/tlog-tiles, written so that a crash loses nothing.

    checkpoint                 what the log has signed last: the one commit point
    witnessed                  the newest checkpoint with a witness's cosignature, when there is one
    rotations                  how the present key follows from the first (``log_keys``)
    tile/entries/<N>[.p/<W>]   entries            tile/<level>/<N>[.p/<W>]   hashes

Promises: entries and tiles are durable before the checkpoint that covers them is; the checkpoint is
    replaced as a whole. Whatever a crash leaves behind the checkpoint was never part of the log and
    is written over or removed. A failed append changes nothing.
Does not protect: against somebody who may write the directory. Nothing read is believed: opening
    recomputes the root from the tiles' right edge, ``verifier`` recomputes everything.
Limits: one writer at a time; who calls holds a lock. On disk only the partial tiles of the present
    checkpoint are kept; those of earlier ones are prefixes of them, which ``read`` cuts off.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keylease.errors import StorageCorrupt, StorageError
from keylease.primitives.files import (
    OWNER_ONLY,
    explained,
    make_private_directory,
    read_bounded,
    remove_leftovers,
    replace,
    sync_directory,
)
from keylease.primitives.transparency.checkpoints import TreeHead
from keylease.primitives.transparency.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    GrowingTree,
    leaf_hashes,
)
from keylease.primitives.transparency.notes import MAXIMUM_NOTE
from keylease.primitives.transparency.proofs import range_hash
from keylease.primitives.transparency.tiles import (
    ENTRIES,
    MAXIMUM_BUNDLE,
    MAXIMUM_ENTRY,
    TileHashes,
    TileName,
    encode_bundle,
    prefix,
    read_tile,
    split_bundle,
    tile_for,
)

CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "witnessed"
ROTATIONS: Final = "rotations"
MAXIMUM_ROTATIONS: Final = 4 * MAXIMUM_NOTE
_LIMITS: Final = {CHECKPOINT: MAXIMUM_NOTE, WITNESSED: MAXIMUM_NOTE, ROTATIONS: MAXIMUM_ROTATIONS}
_NEW: Final = ".new"
_ATTEMPTS: Final = 5


class LogDirectory:
    """Reads a log's files; a ``TileSource``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, path: str) -> bytes | None:
        """See ``TileSource``. Paths that are none of a log's files are not looked for."""
        if path in _LIMITS:
            return self._file(path, maximum=_LIMITS[path])
        name = TileName.parse(path)
        if name is None:
            return None
        maximum = MAXIMUM_BUNDLE if name.level == ENTRIES else TILE_WIDTH * HASH_BYTES
        data = self._file(path, maximum=maximum)
        if data is None and name.width < TILE_WIDTH:
            data = self._cut_from_wider(name, maximum=maximum)
        return data

    def _file(self, path: str, *, maximum: int) -> bytes | None:
        try:
            data = read_bounded(self.path / path, maximum=maximum)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(error, self.path / path) from error
        if len(data) > maximum:
            raise StorageCorrupt(f"{path} is larger than such a file can be.")
        return data

    def _cut_from_wider(self, name: TileName, *, maximum: int) -> bytes | None:
        """A partial tile of an earlier size, from the one that took its place."""
        for _ in range(_ATTEMPTS):  # the writer may replace it while we look
            widths = [width for width in self._widths(name) if width > name.width]
            wider = TileName(name.level, name.index, min(widths, default=TILE_WIDTH))
            data = self._file(wider.path, maximum=maximum)
            if data is not None:
                return prefix(name, data)
        return None

    def _widths(self, name: TileName) -> list[int]:
        folder = (self.path / name.path).parent
        try:
            return [int(found) for found in os.listdir(folder) if found.isdecimal()]  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(error, folder) from error

    def entries(self, start: int, stop: int, *, size: int) -> list[bytes]:
        """Entries of a tree of ``size``; nothing about them is verified."""
        found: list[bytes] = []
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            name = tile_for(ENTRIES, index, size)
            if name is None:
                break
            bundle = split_bundle(read_tile(self, name))
            if len(bundle) != name.width:
                raise StorageCorrupt(f"{name.path} does not hold as many entries as it should.")
            first = index * TILE_WIDTH
            found += bundle[max(start - first, 0) : stop - first]
        return found


class LogWriter:
    """Appends to a log. The caller holds a lock, and signs what ``append`` says."""

    def __init__(self, path: Path, head: TreeHead | None, *, origin: str) -> None:
        """Open at ``head``, which the caller has verified; None for a log that is not begun.

        Raises ``StorageCorrupt`` when the tiles do not lead to that head's root, and
        ``StorageError``. What a crash left behind the head is removed.
        """
        self.directory = LogDirectory(path)
        self._origin = origin
        make_private_directory(path)
        size = head.size if head else 0
        hashes = TileHashes(self.directory, size)
        self._tree = hashes.growing()
        found = range_hash(hashes, 0, size) if size else EMPTY_ROOT
        if head is not None and found != head.root:
            raise StorageCorrupt(
                f"The tiles of {path} are not those of its checkpoint.",
                advice="`keylease audit verify` says where the first fault is.",
            )
        self._bundle = self._partial_bundle(size)
        self._waiting: tuple[GrowingTree, bytes] | None = None
        self._note = self.directory.read(CHECKPOINT)
        self._remove_leftovers()

    @property
    def head(self) -> TreeHead:
        """What was published last."""
        return TreeHead(self._origin, self._tree.size, self._tree.root())

    def _partial_bundle(self, size: int) -> bytes:
        name = tile_for(ENTRIES, size // TILE_WIDTH, size)
        return read_tile(self.directory, name) if name else b""

    def append(self, entries: Sequence[bytes]) -> TreeHead:
        """Make entries durable; they are part of the log once their checkpoint is published.

        Raises ``StorageFull`` or ``StorageError``; nothing has then happened. ``StorageCorrupt``
        says that somebody else changed the log while it was open: open it again.
        """
        if self.directory.read(CHECKPOINT) != self._note:
            raise StorageCorrupt(
                f"{self.directory.path} was changed, or taken away, while it was open.",
                advice="Only one process may write a log. Restore its files if they are gone.",
            )
        if any(not 0 < len(entry) <= MAXIMUM_ENTRY for entry in entries):
            raise StorageError("An entry is empty, or too long to be logged.")
        tree = self._tree.copy()
        full = tree.append(leaf_hashes(entries))
        files = {TileName(tile.level, tile.index).path: tile.hashes for tile in full}
        bundle = self._pack(entries, files)
        for level in range(tree.levels):
            index = tree.size >> (TILE_HEIGHT * (level + 1))
            name = tile_for(level, index, tree.size)
            if name is not None and tree.partial(level) != self._tree.partial(level):
                files[name.path] = tree.partial(level)
        _write_files(self.directory.path, files)
        self._waiting = (tree, bundle)
        return TreeHead(self._origin, tree.size, tree.root())

    def _pack(self, entries: Sequence[bytes], files: dict[str, bytes]) -> bytes:
        """Put bundles into ``files``; gives the one that stays partial."""
        position, bundle = 0, self._bundle
        size = self._tree.size
        while position < len(entries):
            room = TILE_WIDTH - size % TILE_WIDTH
            part = entries[position : position + room]
            bundle += encode_bundle(part)
            index = size // TILE_WIDTH
            size += len(part)
            width = size - index * TILE_WIDTH
            files[TileName(ENTRIES, index, width).path] = bundle
            if width == TILE_WIDTH:
                bundle = b""
            position += room
        return bundle

    def publish(self, note: bytes) -> None:
        """Put a checkpoint in force: of what was appended last, or of the head once more."""
        replace(self.directory.path / CHECKPOINT, note)
        self._note = note
        if self._waiting is not None:
            old = self._tree
            self._tree, self._bundle = self._waiting
            self._waiting = None
            with contextlib.suppress(StorageError):  # harmless; removed when next opened
                self._remove_outdated(old)

    def store(self, name: str, content: bytes) -> None:
        """Replace ``witnessed`` or ``rotations``."""
        replace(self.directory.path / name, content)

    # --- what is no longer, or never was, part of the log -------------------------------------

    def _remove_outdated(self, old: GrowingTree) -> None:
        """Remove the partial tiles that the last append has replaced."""
        size = self._tree.size
        for level in (ENTRIES, *range(old.levels)):
            index = old.size >> (TILE_HEIGHT * (max(level, 0) + 1))
            before = tile_for(level, index, old.size)
            if before is not None and before != tile_for(level, index, size):
                self._remove(self.directory.path / before.path)

    def _remove_leftovers(self) -> None:
        """Remove what a killed writer left behind the head. It wrote upwards, without a hole."""
        size = self._tree.size
        for level in (ENTRIES, *range(self._tree.levels + 1)):
            index = size >> (TILE_HEIGHT * (max(level, 0) + 1))
            kept = tile_for(level, index, size)
            self._remove_replaced(level, index)
            while self._remove_tile(level, index, kept=kept):
                index += 1
        for name in _LIMITS:
            remove_leftovers(self.directory.path / name)

    def _remove_replaced(self, level: int, index: int) -> None:
        """Remove partial tiles before ``index`` that are full by now: only the last append's."""
        for near in {index, max(index - 1, 0)}:
            folder = (self.directory.path / TileName(level, near).path).parent
            try:
                partial = list(folder.glob("*.p")) if folder.is_dir() else []
                found = [path for each in partial for path in each.iterdir()]
            except OSError as error:
                raise explained(error, folder) from error
            for path in found:
                name = TileName.parse(path.relative_to(self.directory.path).as_posix())
                if name is not None and name.index < index:
                    self._remove(path)

    def _remove_tile(self, level: int, index: int, *, kept: TileName | None) -> bool:
        """Remove every width of a tile but one; whether there was anything, kept or removed."""
        full = self.directory.path / TileName(level, index).path
        partial = full.with_name(f"{full.name}.p")
        try:
            found = [full, full.with_name(full.name + _NEW)]
            if partial.is_dir():
                found += list(partial.iterdir())
            found = [path for path in found if path.exists()]
        except OSError as error:
            raise explained(error, full) from error
        for path in found:
            if kept is None or path != self.directory.path / kept.path:
                self._remove(path)
        return bool(found)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            if path.parent.suffix == ".p":
                path.parent.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise explained(error, path) from error


def _write_files(root: Path, files: dict[str, bytes]) -> None:
    """Write files that nobody reads before the next checkpoint; all of them are durable after."""
    made: list[Path] = []
    folders: set[Path] = set()
    path = root
    try:
        for name, content in files.items():
            path = root / name
            if not path.parent.is_dir():
                make_private_directory(path.parent)
                folders.update(folder for folder in path.parents if folder.is_relative_to(root))
            temporary = path.with_name(path.name + _NEW)
            made.append(temporary)
            _write(temporary, content)
            temporary.replace(path)
            folders.add(path.parent)
        for folder in folders:
            sync_directory(folder)
    except OSError as error:
        for temporary in made:
            with contextlib.suppress(OSError):  # the first failure is the one to report
                temporary.unlink(missing_ok=True)
        raise explained(error, path) from error


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, OWNER_ONLY)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(error: OSError, path: Path) -> StorageError:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    return StorageError(
        f"{path} cannot be read: {reason}.",
        advice="Check that it belongs to the user Keylease runs as.",
    )
