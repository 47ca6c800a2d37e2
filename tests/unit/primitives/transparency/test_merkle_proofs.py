"""Hashes and proofs: known values, every small tree, random large ones, every kind of forgery."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from keylease.errors import ProofInvalid
from keylease.primitives.transparency.merkle import (
    EMPTY_ROOT,
    GrowingTree,
    joined_root,
    leaf_hash,
    leaf_hashes,
    node_hash,
    perfect_root,
)
from keylease.primitives.transparency.proofs import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    range_hash,
)

KNOWN_ENTRIES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
] + [bytes.fromhex("606162636465666768696a6b6c6d6e6f")]
KNOWN_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
"""Of these eight entries, from the tests of Google's certificate transparency."""


class PlainTree:
    """The definition of RFC 6962 section 2.1, as slow as it is written there."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def subtree(self, height: int, index: int) -> bytes:
        part = self.leaves[index << height : (index + 1) << height]
        assert len(part) == 1 << height
        return perfect_root(part)

    def root(self, start: int, stop: int) -> bytes:
        if stop == start:
            return hashlib.sha256().digest()
        if stop - start == 1:
            return self.leaves[start]
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        return node_hash(self.root(start, middle), self.root(middle, stop))


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(count)]


def test_hashes_are_those_of_rfc_6962() -> None:
    tree = GrowingTree()
    assert tree.root() == EMPTY_ROOT == hashlib.sha256(b"").digest()
    tree.append(leaf_hashes(KNOWN_ENTRIES))
    assert tree.root().hex() == KNOWN_ROOT


def test_every_small_tree_has_the_root_and_the_proofs_of_the_definition() -> None:
    leaves = leaf_hashes(entries(40))
    plain = PlainTree(leaves)
    for size in range(1, 41):
        root = plain.root(0, size)
        tree = GrowingTree()
        tree.append(leaves[:size])
        assert tree.root() == root == range_hash(plain, 0, size)
        for index in range(size):
            proof = inclusion_proof(plain, index=index, size=size)
            check_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)
        for old in range(size + 1):
            proof = consistency_proof(plain, old=old, size=size)
            check_consistency(
                old=old, old_root=plain.root(0, old), size=size, root=root, proof=proof
            )


def test_an_independent_implementation_agrees() -> None:
    """pymerkle counts entries from 1, and puts the leaf itself, or the node, into its paths."""
    theirs = InmemoryTree(algorithm="sha256")
    leaves = leaf_hashes(entries(70))
    plain = PlainTree(leaves)
    for entry in entries(70):
        theirs.append_entry(entry)
    for size in (1, 2, 3, 7, 8, 21, 64, 70):
        assert theirs.get_root(size) == range_hash(plain, 0, size)
        for index in range(0, size, 5):
            proof = theirs.prove_inclusion(index + 1, size)
            path = [bytes.fromhex(item) for item in proof.serialize()["path"]]
            assert path[0] == leaves[index]
            assert path[1:] == inclusion_proof(plain, index=index, size=size)
        for old in range(1, size, 4):
            path = [
                bytes.fromhex(item)
                for item in theirs.prove_consistency(old, size).serialize()["path"]
            ]
            ours = consistency_proof(plain, old=old, size=size)
            assert sorted(set(ours) - set(path)) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 3000))
def test_proofs_of_random_sizes_hold_and_bind(data: st.DataObject, size: int) -> None:
    leaves = leaf_hashes(entries(size))
    plain = PlainTree(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    tree = GrowingTree()
    tree.append(leaves)
    root = tree.root()
    proof = inclusion_proof(plain, index=index, size=size)
    check_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)
    with pytest.raises(ProofInvalid):
        check_inclusion(leaf=leaf_hash(b"x"), index=index, size=size, proof=proof, root=root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index or size == 1))
    if other != index:
        with pytest.raises(ProofInvalid):
            check_inclusion(leaf=leaves[index], index=other, size=size, proof=proof, root=root)
    path = consistency_proof(plain, old=old, size=size)
    old_root = range_hash(plain, 0, old) if old else EMPTY_ROOT
    check_consistency(old=old, old_root=old_root, size=size, root=root, proof=path)
    with pytest.raises(ProofInvalid):
        check_consistency(old=old, old_root=leaf_hash(b"y"), size=size, root=root, proof=path)
    if old > 0:
        with pytest.raises(ProofInvalid):
            check_consistency(
                old=old, old_root=old_root, size=size, root=leaf_hash(b"z"), proof=path
            )


def test_a_proof_changed_anywhere_does_not_hold() -> None:
    leaves = leaf_hashes(entries(77))
    plain = PlainTree(leaves)
    root, old_root = plain.root(0, 77), plain.root(0, 50)
    inclusion = inclusion_proof(plain, index=33, size=77)
    consistency = consistency_proof(plain, old=50, size=77)

    def check_inclusion_of(path: list[bytes]) -> None:
        check_inclusion(leaf=leaves[33], index=33, size=77, proof=path, root=root)

    def check_consistency_of(path: list[bytes]) -> None:
        check_consistency(old=50, old_root=old_root, size=77, root=root, proof=path)

    checks: list[tuple[list[bytes], Callable[[list[bytes]], None]]] = [
        (inclusion, check_inclusion_of),
        (consistency, check_consistency_of),
    ]
    for proof, check in checks:
        check(proof)
        for position in range(len(proof)):
            flipped = list(proof)
            flipped[position] = bytes((flipped[position][0] ^ 1,)) + flipped[position][1:]
            for forged in (
                flipped,
                proof[:position] + proof[position + 1 :],
                [*proof[:position], leaf_hash(b"more"), *proof[position:]],
            ):
                with pytest.raises(ProofInvalid):
                    check(forged)
        for forged in (
            [*proof, leaf_hash(b"more")],
            [*proof[:-1], proof[-1][:31]],
            [leaf_hash(b"many")] * 64,
        ):
            with pytest.raises(ProofInvalid):
                check(forged)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_entries_that_cannot_be_are_refused(index: int, size: int) -> None:
    plain = PlainTree(leaf_hashes(entries(5)))
    with pytest.raises(ProofInvalid):
        inclusion_proof(plain, index=index, size=size)
    with pytest.raises(ProofInvalid):
        check_inclusion(leaf=b"", index=index, size=size, proof=[], root=b"")


def test_a_smaller_tree_does_not_continue_a_larger_one() -> None:
    plain = PlainTree(leaf_hashes(entries(5)))
    with pytest.raises(ProofInvalid):
        consistency_proof(plain, old=6, size=5)
    with pytest.raises(ProofInvalid):
        check_consistency(old=6, old_root=b"", size=5, root=b"", proof=[])
    root = plain.root(0, 5)
    with pytest.raises(ProofInvalid):
        check_consistency(old=5, old_root=root, size=5, root=root, proof=[root])
    with pytest.raises(ProofInvalid):
        check_consistency(old=3, old_root=plain.root(0, 3), size=5, root=root, proof=[])


def test_growing_in_any_steps_gives_the_same_tree_and_tiles() -> None:
    chance = random.Random(7)  # noqa: S311 - sizes of steps
    leaves = leaf_hashes(entries(70_000))
    whole = GrowingTree()
    all_tiles = whole.append(leaves)
    assert len([tile for tile in all_tiles if tile.level == 0]) == 273
    assert len([tile for tile in all_tiles if tile.level == 1]) == 1
    assert [len(whole.partial(level)) // 32 for level in range(whole.levels)] == [112, 17, 1]
    stepwise = GrowingTree()
    tiles = []
    position = 0
    while position < len(leaves):
        step = chance.randint(1, 900)
        tiles += stepwise.append(leaves[position : position + step])
        position += step
    assert stepwise.root() == whole.root()
    assert sorted(tiles, key=lambda t: (t.level, t.index)) == all_tiles
    again = stepwise.copy()
    again.append([leaf_hash(b"more")])
    assert stepwise.root() == whole.root() != again.root()
    assert stepwise.size == 70_000


def test_joining_no_peaks_gives_the_empty_root() -> None:
    assert joined_root([]) == EMPTY_ROOT
