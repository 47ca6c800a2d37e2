"""Tiles and entry bundles: names and bytes (c2sp.org/tlog-tiles), and reading hashes from them."""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol, Self

import msgspec

from keylease.errors import ProofInvalid, StorageCorrupt
from keylease.primitives.transparency.merkle import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    GrowingTree,
    perfect_root,
)

ENTRIES: Final = -1
"""The level that stands for entry bundles."""
MAXIMUM_ENTRY: Final = 2**16 - 1
"""Bytes: a bundle gives each entry's length in 16 bits."""
MAXIMUM_BUNDLE: Final = TILE_WIDTH * (MAXIMUM_ENTRY + 2)
_LENGTH: Final = struct.Struct(">H")
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII
)
_HIGHEST_LEVEL: Final = 63
_CACHED_TILES: Final = 512


class TileName(msgspec.Struct, frozen=True):
    """Which tile or entry bundle."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path below the log's prefix."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else str(self.level)
        suffix = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{number}{suffix}"

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """The tile of a path; None when it is none, or not in the one form the format has."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        level = ENTRIES if match[1] == "entries" else int(match[1])
        width = int(match[3]) if match[3] else TILE_WIDTH
        name = cls(level, int(match[2].replace("/", "").replace("x", "")), width)
        if level > _HIGHEST_LEVEL or name.path != path:
            return None
        return name


def tile_for(level: int, index: int, size: int) -> TileName | None:
    """The tile with this index in a tree of ``size`` leaves; None when that tree has none."""
    hashes = size >> (TILE_HEIGHT * max(level, 0))
    width = min(hashes - index * TILE_WIDTH, TILE_WIDTH)
    return TileName(level, index, width) if width > 0 else None


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries in the form of a bundle; each has at most ``MAXIMUM_ENTRY`` bytes."""
    return b"".join([_LENGTH.pack(len(entry)) + entry for entry in entries])


def split_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle; raises ``StorageCorrupt`` when it ends within one."""
    entries: list[bytes] = []
    offset, end = 0, len(data)
    while offset < end:
        start = offset + 2
        offset = start + (data[offset] << 8 | data[start - 1] if start <= end else end)
        if offset > end:
            raise StorageCorrupt(f"An entry bundle ends within its entry {len(entries)}.")
        entries.append(data[start:offset])
    return entries


def prefix(name: TileName, data: bytes) -> bytes:
    """The partial tile or bundle ``name``, cut from a wider one."""
    if name.level != ENTRIES:
        return data[: name.width * HASH_BYTES]
    offset = 0
    for _ in range(name.width):
        if offset + 2 > len(data):
            raise StorageCorrupt("An entry bundle has fewer entries than its name says.")
        offset += 2 + _LENGTH.unpack_from(data, offset)[0]
    return data[:offset]


class TileSource(Protocol):
    """Where the files of a log come from: a directory or a server."""

    def read(self, path: str) -> bytes | None:
        """The bytes at a path below the log's prefix; None when there is nothing.

        Raises ``StorageError`` or another ``KeyleaseError`` when that cannot be known.
        """
        ...


def read_tile(source: TileSource, name: TileName) -> bytes:
    """The bytes of a tile or bundle; a full one serves for a partial one.

    Raises ``StorageCorrupt`` when it is missing or has not the length its name says. Nothing is
    said about its content.
    """
    data = source.read(name.path)
    if data is None and name.width < TILE_WIDTH:
        whole = source.read(TileName(name.level, name.index).path)
        if whole is not None:
            data = prefix(name, whole)
    if data is None:
        raise StorageCorrupt(f"{name.path} is missing.")
    if name.level != ENTRIES and len(data) != name.width * HASH_BYTES:
        raise StorageCorrupt(f"{name.path} is {len(data)} bytes long: not what its name says.")
    return data


def split_hashes(tile: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


class TileHashes:
    """The hashes of a tree of a given size, read from its tiles: ``SubtreeHashes`` for proofs.

    Nothing read is verified; what is made from it has to be.
    """

    def __init__(self, source: TileSource, size: int) -> None:
        self._source = source
        self.size = size
        self._cached: OrderedDict[TileName, list[bytes]] = OrderedDict()

    def subtree(self, height: int, index: int) -> bytes:
        """See ``SubtreeHashes``."""
        level, within = divmod(height, TILE_HEIGHT)
        position = index << within
        name = tile_for(level, position >> TILE_HEIGHT, self.size)
        start = position & (TILE_WIDTH - 1)
        if name is None or start + (1 << within) > name.width:
            raise ProofInvalid(f"A tree of {self.size} entries has no such node.")
        return perfect_root(self._tile(name)[start : start + (1 << within)])

    def edges(self) -> list[list[bytes]]:
        """The partial tiles from which a ``GrowingTree`` of this size is restored."""
        edges: list[list[bytes]] = []
        level = 0
        while (hashes := self.size >> (TILE_HEIGHT * level)) > 0:
            name = tile_for(level, hashes >> TILE_HEIGHT, self.size)
            edges.append(self._tile(name) if name else [])
            level += 1
        return edges

    def growing(self) -> GrowingTree:
        """A tree that goes on from here."""
        return GrowingTree.restored(self.size, self.edges())

    def _tile(self, name: TileName) -> list[bytes]:
        if name in self._cached:
            self._cached.move_to_end(name)
            return self._cached[name]
        hashes = split_hashes(read_tile(self._source, name))
        self._cached[name] = hashes
        if len(self._cached) > _CACHED_TILES:
            self._cached.popitem(last=False)
        return hashes
