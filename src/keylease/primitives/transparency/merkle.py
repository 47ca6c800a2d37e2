"""Merkle tree hashes (RFC 6962 section 2.1), and a tree that only grows.

``GrowingTree`` holds the right edge of a tree alone: at most 255 hashes for each level of tiles, so
that a tree of any size costs a few kilobytes and an append costs its own hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, Self

import msgspec

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return _sha256(_LEAF + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """The hashes of many entries."""
    return [_sha256(_LEAF + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return _sha256(_NODE + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over hashes whose number is a power of two, at least one."""
    level = hashes
    while len(level) > 1:
        level = [
            _sha256(_NODE + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def joined_root(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees, given from the left (largest) to the right (smallest)."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in peaks[-2::-1]:
        root = node_hash(peak, root)
    return root


class FullTile(msgspec.Struct, frozen=True):
    """A tile that will never change again."""

    level: int
    index: int
    hashes: bytes


class GrowingTree:
    """A tree to whose right side leaves are added."""

    def __init__(self) -> None:
        self.size = 0
        self._edges: list[list[bytes]] = []
        """By tile level: the hashes of its partial tile."""

    @classmethod
    def restored(cls, size: int, edges: Sequence[Sequence[bytes]]) -> Self:
        """A tree of ``size`` leaves from the partial tile of each level, lowest first."""
        tree = cls()
        tree.size = size
        tree._edges = [list(edge) for edge in edges]
        return tree

    def copy(self) -> Self:
        """A tree of its own with the same leaves."""
        return self.restored(self.size, self._edges)

    def append(self, leaves: Sequence[bytes]) -> list[FullTile]:
        """Add leaf hashes; gives the tiles that became full, lower levels first."""
        full: list[FullTile] = []
        added: Sequence[bytes] = leaves
        level = 0
        counted = self.size
        while added:
            if level == len(self._edges):
                self._edges.append([])
            pending = [*self._edges[level], *added]
            index = counted >> TILE_HEIGHT
            carried: list[bytes] = []
            start = 0
            while len(pending) - start >= TILE_WIDTH:
                tile = pending[start : start + TILE_WIDTH]
                full.append(FullTile(level, index, b"".join(tile)))
                carried.append(perfect_root(tile))
                index += 1
                start += TILE_WIDTH
            self._edges[level] = pending[start:]
            added = carried
            counted >>= TILE_HEIGHT
            level += 1
        self.size += len(leaves)
        return full

    def partial(self, level: int) -> bytes:
        """The hashes of the partial tile of a level; empty when there is none."""
        return b"".join(self._edges[level]) if level < len(self._edges) else b""

    @property
    def levels(self) -> int:
        """How many levels of tiles the tree has."""
        return len(self._edges)

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        peaks: list[bytes] = []
        for edge in reversed(self._edges):
            start = 0
            for bit in range(TILE_HEIGHT - 1, -1, -1):
                if len(edge) & (1 << bit):
                    peaks.append(perfect_root(edge[start : start + (1 << bit)]))
                    start += 1 << bit
        return joined_root(peaks)
