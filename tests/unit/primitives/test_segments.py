from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keylease.errors import StorageCorrupt, StorageError, StorageFull
from keylease.primitives import segments
from keylease.primitives.segments import Cursor, Files, SegmentLog, WhenFull

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def open_log(path: Path, **options: object) -> SegmentLog:
    options.setdefault("maximum_bytes", 1024 * 1024)
    return SegmentLog(path, **options)  # type: ignore[arg-type]  # options vary by test


def last_segment(path: Path) -> Path:
    return max(path.glob("*.seg"))


class FailingDisk(Files):
    """Takes ``room`` bytes and then fails as told, in the middle of a write."""

    def __init__(self, room: int, *, error: int = errno.ENOSPC) -> None:
        self.room = room
        self.error = error
        self.sync_error = 0

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        taken = super().write(descriptor, data[: self.room])
        self.room -= taken
        return taken

    def sync(self, descriptor: int) -> None:
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(descriptor)


def test_records_come_back_in_order_and_after_reopening(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.append([b"one", b"two"])
    log.append([b"three"])
    assert list(log.records()) == [b"one", b"two", b"three"]
    log.close()
    again = open_log(tmp_path / "log")
    assert list(again.records()) == [b"one", b"two", b"three"]
    assert again.notices == []
    again.append([b"four"])
    assert list(again.records())[-1] == b"four"


def test_files_are_private(tmp_path: Path) -> None:
    open_log(tmp_path / "log").append([b"x"])
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert last_segment(tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_reader_follows_across_segments(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=4096)
    cursor = log.start
    seen: list[bytes] = []
    for number in range(60):
        log.append([b"%d" % number + b"." * 300])
        batch = log.read(cursor, maximum_records=2)
        seen += batch.records
        cursor = batch.following
    while (batch := log.read(cursor)).records:
        seen += batch.records
        cursor = batch.following
    assert [int(record.split(b".")[0]) for record in seen] == list(range(60))
    assert len(list((tmp_path / "log").glob("*.seg"))) > 3
    assert log.bytes_after(cursor) == 0


def test_released_segments_go_and_numbers_go_on(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=4096)
    for number in range(40):
        log.append([b"%d" % number + b"." * 300])
    log.release(log.end)
    assert len(list((tmp_path / "log").glob("*.seg"))) == 1
    log.close()
    again = open_log(tmp_path / "log", segment_bytes=4096)
    assert again.start.segment > 1
    stale = again.read(Cursor(1, 20))
    assert stale.dropped


@pytest.mark.parametrize("when_full", list(WhenFull))
def test_the_bound_on_size(tmp_path: Path, when_full: WhenFull) -> None:
    log = open_log(tmp_path / "log", maximum_bytes=64 * 1024, when_full=when_full)

    def fill() -> None:
        for number in range(200):
            log.append([b"%04d" % number + b"." * 996])

    if when_full is WhenFull.REFUSE:
        with pytest.raises(StorageFull):
            fill()
        before = list(log.records())
        assert before[0].startswith(b"0000")
        log.release(log.end)
        log.append([b"room again"])
    else:
        fill()
        kept = list(log.records())
        assert kept[-1].startswith(b"0199")
        assert not kept[0].startswith(b"0000")
    assert log.total_bytes <= 64 * 1024
    assert sum(f.stat().st_size for f in (tmp_path / "log").iterdir()) == log.total_bytes


@pytest.mark.parametrize("room", [0, 1, 7, 8, 9, 50])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, room: int, error: int) -> None:
    disk = FailingDisk(10_000, error=error)
    log = open_log(tmp_path / "log", files=disk)
    log.append([b"acknowledged"])
    size = last_segment(tmp_path / "log").stat().st_size
    disk.room = room
    expected = StorageError if error == errno.EIO else StorageFull
    with pytest.raises(expected):
        log.append([b"x" * 100])
    assert last_segment(tmp_path / "log").stat().st_size == size
    assert list(log.records()) == [b"acknowledged"]
    disk.room = 10_000
    log.append([b"after"])
    assert list(log.records()) == [b"acknowledged", b"after"]


def test_a_failed_sync_is_not_acknowledged(tmp_path: Path) -> None:
    disk = FailingDisk(10_000)
    log = open_log(tmp_path / "log", files=disk)
    disk.sync_error = errno.EIO
    with pytest.raises(StorageError):
        log.append([b"never durable"])
    disk.sync_error = 0
    log.append([b"durable"])
    log.close()
    assert list(open_log(tmp_path / "log").records()) == [b"durable"]


def test_no_space_for_a_new_segment(tmp_path: Path) -> None:
    disk = FailingDisk(10**9)
    log = open_log(tmp_path / "log", segment_bytes=4096, files=disk)
    log.append([b"a" * 4000])
    disk.room = 3
    with pytest.raises(StorageFull):
        log.append([b"b" * 4000])
    assert len(list((tmp_path / "log").glob("*.seg"))) == 1
    disk.room = 10**9
    log.append([b"c" * 4000])
    assert [record[:1] for record in log.records()] == [b"a", b"c"]


def test_truncation_at_every_byte_loses_only_the_tail(tmp_path: Path) -> None:
    payloads = [b"first", b"second record", bytes(range(256)), b"last"]
    source = open_log(tmp_path / "source")
    ends = [source.append([payload]).offset for payload in payloads]
    source.close()
    data = last_segment(tmp_path / "source").read_bytes()
    for size in range(len(data)):
        directory = tmp_path / f"cut-{size}"
        directory.mkdir()
        (directory / f"{1:016d}.seg").write_bytes(data[:size])
        log = open_log(directory)
        whole = [payload for payload, end in zip(payloads, ends, strict=True) if end <= size]
        assert list(log.records()) == whole
        log.append([b"new"])
        assert list(log.records()) == [*whole, b"new"]
        log.close()
        assert list(open_log(directory).records()) == [*whole, b"new"]


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    payloads = [b"first", b"second", b"third"]
    source = open_log(tmp_path / "source")
    for payload in payloads:
        source.append([payload])
    source.close()
    data = last_segment(tmp_path / "source").read_bytes()
    last_start = len(data) - len(segments.encode(payloads[-1]))
    for position in range(len(data)):
        for bit in range(8):
            directory = tmp_path / f"flip-{position}-{bit}"
            directory.mkdir()
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            (directory / f"{1:016d}.seg").write_bytes(flipped)
            log = open_log(directory)
            assert log.notices, "a change must be noticed"
            if position >= last_start:  # cannot be told from a torn tail
                assert list(log.records()) == payloads[:2]
            else:
                with pytest.raises(StorageCorrupt, match=f"{1:016d}.seg is damaged at offset"):
                    list(log.records())
            log.append([b"goes on"])
            cursor = log.start
            seen: list[bytes] = []
            for _ in range(6):
                try:
                    batch = log.read(cursor)
                except StorageCorrupt:
                    cursor = log.after_damage(cursor)
                    continue
                seen += batch.records
                cursor = batch.following
            assert seen[-1] == b"goes on"
            assert all(record in [*payloads, b"goes on"] for record in seen)
            log.close()


def test_damage_in_an_older_segment_leaves_the_others_readable(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=4096)
    for number in range(40):
        log.append([b"%02d" % number + b"." * 500])
    log.close()
    second = tmp_path / "log" / f"{2:016d}.seg"
    data = bytearray(second.read_bytes())
    data[1200] ^= 0xFF
    second.write_bytes(data)
    log = open_log(tmp_path / "log", segment_bytes=4096)
    seen: list[bytes] = []
    cursor = log.start
    damages: list[str] = []
    while cursor < log.end:
        try:
            batch = log.read(cursor)
        except StorageCorrupt as error:
            damages.append(error.message)
            cursor = log.after_damage(cursor)
            continue
        seen += batch.records
        cursor = batch.following
    assert len(damages) == 1
    assert str(second) in damages[0]
    assert seen[0].startswith(b"00")
    assert seen[-1].startswith(b"39")
    assert len(seen) < 40


def test_a_missing_segment_is_said(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=4096)
    for _ in range(40):
        log.append([b"." * 500])
    log.close()
    (tmp_path / "log" / f"{2:016d}.seg").unlink()
    assert "missing" in open_log(tmp_path / "log", segment_bytes=4096).notices[0]


@given(
    batches=st.lists(st.lists(st.binary(min_size=1, max_size=900), max_size=5), max_size=12),
    seed=st.integers(),
)
@PROPERTY
def test_a_crash_at_any_byte_keeps_what_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = open_log(directory, segment_bytes=4096)
    acknowledged: list[bytes] = []
    for batch in batches:
        log.append(batch)
        acknowledged += batch
    log.close()
    torn = segments.encode(b"never acknowledged")
    with last_segment(directory).open("ab") as file:
        file.write(torn[: random.Random(seed).randrange(len(torn))])  # noqa: S311 - a test's dice
    assert list(open_log(directory, segment_bytes=4096).records()) == acknowledged


def test_a_zeroed_tail_is_a_torn_tail(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.append([b"kept"])
    log.close()
    with last_segment(tmp_path / "log").open("ab") as file:
        file.write(bytes(100_000))
    again = open_log(tmp_path / "log")
    assert list(again.records()) == [b"kept"]
    assert "unfinished" in again.notices[0]


def test_large_records_and_small_reads(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", maximum_bytes=2**27)
    log.append([b"a" * 3_000_000, b"b"])
    batch = log.read(log.start, maximum_bytes=1000)
    assert [len(record) for record in batch.records] == [3_000_000]
    assert log.read(batch.following, maximum_bytes=1000).records == (b"b",)
    with pytest.raises(StorageError):
        log.append([b"x" * (segments.MAXIMUM_RECORD + 1)])
    with pytest.raises(StorageError):
        log.append([b""])


def test_blocks_are_counted_without_reading_them() -> None:
    block = segments.encode(b"one") + segments.encode(b"three")
    assert segments.count(block) == 2
    with pytest.raises(StorageError):
        segments.count(block[:-1])
