"""The journal: what it promises under torn writes, damage and a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keylease.errors import StorageCorrupt, StorageError, StorageFull
from keylease.primitives.journal import Journal

RECORDS = [b'{"n":%d}' % number for number in range(5)]


def filled(path: Path) -> None:
    journal = Journal(path)
    assert journal.load() == []
    for record in RECORDS:
        journal.append(record)
    journal.close()


def read(path: Path) -> list[bytes]:
    journal = Journal(path)
    try:
        return journal.load()
    finally:
        journal.close()


def test_records_are_read_in_order(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    assert read(tmp_path / "j") == RECORDS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(1, 100))
def test_a_write_cut_off_anywhere_loses_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut"
    path.unlink(missing_ok=True)
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    complete = whole[:-cut].count(b"\n")
    assert read(path) == RECORDS[:complete]
    journal = Journal(path)
    journal.load()
    journal.append(b"after")
    journal.close()
    assert read(path) == [*RECORDS[:complete], b"after"]


def test_a_hole_in_the_last_line_is_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path)
    with path.open("ab") as file:
        file.write(b"\0" * 40 + b'"}\n')
    assert read(path) == RECORDS
    assert read(path) == RECORDS


def test_damage_is_found_everywhere_else(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path)
    whole = path.read_bytes()
    for position in range(len(whole) - 1):
        damaged = bytearray(whole)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        with pytest.raises(StorageCorrupt):
            read(path)


def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    filled(path)
    journal = Journal(path)
    journal.load()
    with monkeypatch.context() as patch:
        real = os.pwrite
        patch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
        with pytest.raises(StorageFull):
            journal.append(b"lost")
        with pytest.raises(StorageFull):
            journal.rewrite([b"lost"])
    journal.append(b"kept")
    journal.close()
    assert read(path) == [*RECORDS, b"kept"]


def test_a_failed_fsync_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j")
    journal.load()
    calls: list[int] = []

    def fails(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError):
        journal.append(b"lost")
    journal.close()
    assert (tmp_path / "j").read_bytes() == b""


def test_rewriting_replaces_everything_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path)
    journal = Journal(path)
    journal.load()
    journal.rewrite([b"only"])
    journal.append(b"more")
    journal.close()
    assert read(path) == [b"only", b"more"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]


def test_a_record_with_a_line_feed_and_a_linked_file_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.load()
    with pytest.raises(StorageError):
        journal.append(b"a\nb")
    journal.close()
    (tmp_path / "link").symlink_to(tmp_path / "j")
    with pytest.raises(StorageError):
        Journal(tmp_path / "link")
