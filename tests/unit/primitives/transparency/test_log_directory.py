"""A log on disk: what a crash, a full disk or a damaged file at any place leaves behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.log_kit import ORIGIN, SignedLog, entry

from keylease.errors import StorageCorrupt, StorageError, StorageFull
from keylease.primitives.transparency.directory import LogWriter
from keylease.primitives.transparency.merkle import leaf_hash
from keylease.primitives.transparency.proofs import check_inclusion, inclusion_proof
from keylease.primitives.transparency.tiles import (
    ENTRIES,
    TileHashes,
    TileName,
    encode_bundle,
    prefix,
    read_tile,
    split_bundle,
)


def test_a_writer_killed_at_any_system_call_leaves_a_whole_log(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_log_writer", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    steps = json.loads(done.stdout)
    assert len(steps) > 30
    assert {found for found, _, _ in steps} == {250, 550}
    assert all(after == found + 7 for found, after, _ in steps)
    assert {stale for _, _, stale in steps} == {0}


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_at_any_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    log = SignedLog(tmp_path / "log")
    log.grow(250)
    head = log.head
    real = getattr(os, failing)
    for step in range(40):
        left = [step]

        def call(*arguments: object, left: list[int] = left) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "full")
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(os, failing, call)
            try:
                log.grow(300)
                break
            except StorageFull:
                assert log.head == head
        report = log.verify()
        if report.size != head.size:  # only the directory's own fsync failed: it did happen
            assert (failing, report.size) == ("fsync", 550)
            with pytest.raises(StorageCorrupt):
                log.grow(1)
            break
    else:
        pytest.fail("it never succeeded")
    assert log.verify().size == 550
    assert log.reader.entries(0, 550, size=550) == [entry(number) for number in range(550)]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_proofs_are_read_from_tiles(tmp_path: Path, size: int) -> None:
    log = SignedLog(tmp_path / "log")
    log.grow(size)
    hashes = TileHashes(log.reader, size)
    for index in {0, size // 2, size - 1}:
        proof = inclusion_proof(hashes, index=index, size=size)
        leaf = leaf_hash(entry(index))
        check_inclusion(leaf=leaf, index=index, size=size, proof=proof, root=log.head.root)


def test_tiles_of_earlier_sizes_are_cut_from_later_ones(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    whole = [entry(number) for number in range(300)]
    for step in (10, 30, 250, 10):
        log.grow(step)
    for width in (1, 9, 10, 39, 40, 200, 255):
        bundle = log.reader.read(TileName(ENTRIES, 0, width).path)
        assert bundle == encode_bundle(whole[:width])
        tile = log.reader.read(TileName(0, 0, width).path)
        assert tile == b"".join(leaf_hash(item) for item in whole[:width])
    assert log.reader.read(TileName(ENTRIES, 1, 45).path) is None
    assert log.reader.read("lock") is None
    assert log.reader.read("../secret") is None


@pytest.mark.parametrize("name", ["tile/0/000.p/10", "tile/entries/000.p/10"])
def test_a_damaged_edge_is_found_when_the_log_is_opened(tmp_path: Path, name: str) -> None:
    log = SignedLog(tmp_path / "log")
    log.grow(10)
    file = log.path / name
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    if "entries" in name:
        data = data[:-1]
        file.unlink()
    else:
        file.write_bytes(bytes(data))
    with pytest.raises(StorageCorrupt):
        LogWriter(log.path, log.head, origin=ORIGIN)


def test_an_entry_that_fits_no_bundle_is_refused(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    for wrong in (b"", b"x" * 65536):
        with pytest.raises(StorageError):
            log.writer.append([wrong])
    log.writer.append([b"x" * 65535])


@given(st.integers(0, 10**12), st.integers(0, 63), st.integers(1, 256))
def test_tile_names_have_one_form(index: int, level: int, width: int) -> None:
    for found in (TileName(level, index, width), TileName(ENTRIES, index, width)):
        assert TileName.parse(found.path) == found


def test_tile_names_are_those_of_the_format() -> None:
    assert TileName(0, 1234067).path == "tile/0/x001/x234/067"
    assert TileName(ENTRIES, 0, 3).path == "tile/entries/000.p/3"
    for wrong in (
        "tile/0/1",
        "tile/00/000",
        "tile/64/000",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/001/000",
        "tile/0/x000/001",
        "tile/0/../000",
        "tile/x/000",
        "/tile/0/000",
        "tile/0/٠٠٠",  # noqa: RUF001 - digits that are not ASCII
    ):
        assert TileName.parse(wrong) is None


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 400))
def test_bundles_are_read_back_and_never_read_past_their_end(items: list[bytes], cut: int) -> None:
    data = encode_bundle(items)
    assert split_bundle(data) == items
    if cut < len(data):
        with contextlib.suppress(StorageCorrupt):
            assert encode_bundle(split_bundle(data[:cut])) == data[:cut]
    if items:
        assert prefix(TileName(ENTRIES, 0, len(items)), data) == data
        with pytest.raises(StorageCorrupt):
            prefix(TileName(ENTRIES, 0, len(items) + 1), data)


def test_a_tile_of_another_length_is_refused(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    log.grow(10)
    file = log.path / "tile/0/000.p/10"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(StorageCorrupt):
        read_tile(log.reader, TileName(0, 0, 10))
    file.write_bytes(b"\0" * 9000)
    with pytest.raises(StorageCorrupt):
        read_tile(log.reader, TileName(0, 0, 10))
