"""Inclusion and consistency proofs: made as RFC 6962 section 2.1 says, checked as RFC 9162 says.

The two are different algorithms on purpose: one descends the tree, the other climbs it.
A check returns nothing or raises ``ProofInvalid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from keylease.errors import ProofInvalid
from keylease.primitives.transparency.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    joined_root,
    node_hash,
)

LONGEST_PROOF: Final = 63
"""Hashes; a tree has fewer than 2**63 leaves."""


class SubtreeHashes(Protocol):
    """Where the hashes of a stored tree come from."""

    def subtree(self, height: int, index: int) -> bytes:
        """The hash over leaves ``index * 2**height`` to ``(index + 1) * 2**height``, all there."""
        ...


def range_hash(hashes: SubtreeHashes, start: int, stop: int) -> bytes:
    """The hash over leaves ``start`` to ``stop``, a node of some tree, or its root."""
    peaks: list[bytes] = []
    while start < stop:
        height = (stop - start).bit_length() - 1
        peaks.append(hashes.subtree(height, start >> height))
        start += 1 << height
    return joined_root(peaks)


def _split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(hashes: SubtreeHashes, *, index: int, size: int) -> list[bytes]:
    """The proof that leaf ``index`` is in the tree of ``size`` leaves, the leaf's sibling first."""
    if not 0 <= index < size:
        raise ProofInvalid(f"A tree of {size} entries has no entry {index}.")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(range_hash(hashes, middle, stop))
            stop = middle
        else:
            proof.append(range_hash(hashes, start, middle))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(hashes: SubtreeHashes, *, old: int, size: int) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is the beginning of the one of ``size``."""
    if not 0 <= old <= size:
        raise ProofInvalid(f"A tree of {size} entries was never one of {old}.")
    if old in {0, size}:
        return []
    proof: list[bytes] = []
    start, stop = 0, size
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(range_hash(hashes, middle, stop))
            stop = middle
        else:
            proof.append(range_hash(hashes, start, middle))
            start = middle
    if start:  # else the old root is itself the node, and the verifier has it
        proof.append(range_hash(hashes, start, stop))
    proof.reverse()
    return proof


def check_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ``ProofInvalid`` unless the proof leads from the leaf hash to the root.

    RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"A tree of {size} entries has no entry {index}.")
    _check_form(proof)
    first, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(f"The inclusion proof of entry {index} is too long.")
        if first & 1 or first == last:
            found = node_hash(sibling, found)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        first >>= 1
        last >>= 1
    if last:
        raise ProofInvalid(f"The inclusion proof of entry {index} is too short.")
    if found != root:
        raise ProofInvalid(f"The inclusion proof of entry {index} leads to another root.")


def check_consistency(
    *, old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ``ProofInvalid`` unless the old tree is the beginning of the new one.

    RFC 9162 section 2.1.4.2; a tree of no entries is the beginning of every tree.
    """
    if not 0 <= old <= size:
        raise ProofInvalid(f"A tree of {size} entries does not continue one of {old}.")
    _check_form(proof)
    if old in {0, size}:
        _check_trivial(old=old, old_root=old_root, root=root, proof=proof)
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise ProofInvalid("The consistency proof is empty.")
    found_old, found = _climb(path, old=old, size=size)
    if found_old != old_root:
        raise ProofInvalid(f"The consistency proof does not begin at the known root of {old}.")
    if found != root:
        raise ProofInvalid(f"The consistency proof does not lead to the root of {size}.")


def _check_trivial(*, old: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise ProofInvalid("The consistency proof has hashes where none are needed.")
    if old_root != (EMPTY_ROOT if old == 0 else root):
        raise ProofInvalid(f"There are two different roots for {old} entries.")


def _climb(path: Sequence[bytes], *, old: int, size: int) -> tuple[bytes, bytes]:
    """The roots of the old and of the new tree that the path leads to."""
    first, last = old - 1, size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    found_old = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("The consistency proof is too long.")
        if first & 1 or first == last:
            found_old = node_hash(sibling, found_old)
            found = node_hash(sibling, found)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        first >>= 1
        last >>= 1
    if last:
        raise ProofInvalid("The consistency proof is too short.")
    return found_old, found


def _check_form(proof: Sequence[bytes]) -> None:
    if len(proof) > LONGEST_PROOF or any(len(item) != HASH_BYTES for item in proof):
        raise ProofInvalid("The proof is not a list of SHA-256 hashes.")
