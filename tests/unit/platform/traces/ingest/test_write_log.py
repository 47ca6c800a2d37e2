"""The write-ahead log after power cuts, damage and lost files: what was acknowledged is there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.trace_kit import MemoryStore, plainly, put

from keylease.platform.traces.ingest.entries import decoded_batch
from keylease.platform.traces.ingest.intake import opened
from keylease.platform.traces.ingest.write_log import Mark, Unlogged, WriteLog, encoded
from keylease.platform.traces.interfaces import Understood, WriteBatch
from keylease.primitives.segments import Cursor

SEGMENT = "0000000000000001.seg"


def unlogged(number: int) -> Unlogged:
    (part,), _ = encoded([put(number, name=f"span {number}")])
    return Unlogged("org", "project", 1, part)


def log_at(directory: Path, clock: ManualClock | None = None) -> WriteLog:
    return WriteLog(directory, clock=clock or ManualClock(), maximum_bytes=10**7)


def filled(directory: Path, count: int) -> list[tuple[int, int]]:
    """Entries one after the other: the transaction of each, and where it ended in the file."""
    log = log_at(directory)
    made = []
    for number in range(count):
        xact_id = log.submit([unlogged(number)]).result(10)
        made.append((xact_id, log.segments.end.offset))
    log.close()
    return made


def read(log: WriteLog) -> list[int]:
    """The transactions that a replay meets."""
    return [decoded_batch(record).xact_id for record in log.segments.read(log.mark.cursor).records]


def test_a_power_cut_at_any_byte_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Everything after the last fsync is dropped, or a part of it is there, byte by byte."""
    whole = tmp_path / "whole"
    made = filled(whole, 4)
    content = (whole / SEGMENT).read_bytes()
    assert len(content) == made[-1][1]
    directory = tmp_path / "cut"
    shutil.copytree(whole, directory)
    for size in range(20, len(content) + 1):
        (directory / SEGMENT).write_bytes(content[:size])
        log = log_at(directory)
        assert read(log) == [xact_id for xact_id, end in made if end <= size]
        log.close()


@pytest.mark.parametrize("seed", range(8))
def test_noise_where_the_torn_write_was_is_cut_off(tmp_path: Path, seed: int) -> None:
    made = filled(tmp_path, 3)
    chance = random.Random(seed)  # noqa: S311 - no secret
    content = (tmp_path / SEGMENT).read_bytes()[: made[1][1]]
    (tmp_path / SEGMENT).write_bytes(content + chance.randbytes(chance.randrange(1, 200)))
    log = log_at(tmp_path)
    assert read(log) == [made[0][0], made[1][0]]
    following = log.submit([unlogged(9)]).result(10)
    assert following > made[1][0]
    assert read(log)[-1] == following
    log.close()


class Stored(MemoryStore):
    """Tells which transactions came, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[int] = []

    def apply(self, batches: Sequence[WriteBatch], spans: Sequence[Sequence[Understood]]) -> None:
        super().apply(batches, spans)
        self.order += [batch.xact_id for batch in batches]


async def replayed(directory: Path, last: int) -> Stored:
    store = Stored()
    async with opened(
        directory, store=store, understanding=plainly, clock=ManualClock(), gather_seconds=0.01
    ) as intake:
        await eventually(lambda: intake.applied >= last, seconds=20)
        store.damage = intake.set_aside.damaged()  # type: ignore[attr-defined]  # for the test
    return store


def spoil(file: Path, offset: int, size: int = 3) -> None:
    content = bytearray(file.read_bytes())
    for place in range(offset, offset + size):
        content[place] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("inside", [0, 5, 40], ids=["length", "checksum", "payload"])
async def test_a_damaged_record_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, inside: int
) -> None:
    made = filled(tmp_path / "log", 5)
    spoil(tmp_path / "log" / SEGMENT, made[1][1] + inside)
    store = await replayed(tmp_path, made[-1][0])
    assert store.order == [xact_id for xact_id, _ in made[:2] + made[3:]]
    (damage,) = store.damage  # type: ignore[attr-defined]  # set above
    assert damage.code == "storage_corrupt"
    assert damage.content_kept
    assert damage.bytes == made[2][1] - made[1][1]


async def test_damage_at_two_places_costs_two_records(tmp_path: Path) -> None:
    made = filled(tmp_path / "log", 6)
    spoil(tmp_path / "log" / SEGMENT, made[0][1] + 40)
    spoil(tmp_path / "log" / SEGMENT, made[3][1] + 40)
    store = await replayed(tmp_path, made[-1][0])
    assert store.order == [made[n][0] for n in (0, 2, 3, 5)]


async def test_a_record_that_is_no_entry_is_set_aside(tmp_path: Path) -> None:
    log = log_at(tmp_path / "log")
    log.segments.append([b"\x81\xa1x\x01"])
    last = log.submit([unlogged(1)]).result(10)
    log.close()
    store = await replayed(tmp_path, last)
    assert store.order == [last]
    assert len(store.damage) == 1  # type: ignore[attr-defined]  # set above


def test_what_a_sender_wrote_to_look_like_a_record_is_never_read_as_one(tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    filled(forged, 1)
    record = (forged / SEGMENT).read_bytes()[20:]
    log = log_at(tmp_path / "log")
    (part,), _ = encoded([put(1, attributes={"blob": record + b"after it"})])
    log.submit([Unlogged("org", "project", 1, part)]).result(10)
    second = log.submit([unlogged(2)]).result(10)
    log.close()
    file = tmp_path / "log" / SEGMENT
    spoil(file, 20, 1)  # the length of the first record
    log = log_at(tmp_path / "log")
    cursor, damaged = log.segments.resume(Cursor(1, 20))
    assert record in damaged
    assert [decoded_batch(r).xact_id for r in log.segments.read(cursor).records] == [second]
    log.close()


def test_the_mark_lets_go_what_is_applied_and_only_that(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    first = log.submit([unlogged(1)]).result(10)
    log.applied(Mark(log.segments.end, first))
    assert log.backlog() == 0
    second = log.submit([unlogged(2)]).result(10)
    log.close()
    log = log_at(tmp_path)
    assert read(log) == [second]
    assert log.mark.xact_id == first
    log.close()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"cursor":{"segment":9,"offset":0}}'])
def test_without_a_readable_mark_everything_is_replayed(tmp_path: Path, content: bytes) -> None:
    made = filled(tmp_path, 3)
    (tmp_path / "mark").write_bytes(content)
    log = log_at(tmp_path)
    assert read(log) == [xact_id for xact_id, _ in made]
    assert log.notices
    log.close()


def test_a_mark_behind_the_end_of_a_lost_log_keeps_ids_increasing(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    first = log.submit([unlogged(1)]).result(10)
    log.applied(Mark(Cursor(7, 4000), first))
    log.close()
    clock = ManualClock()
    clock.set_back(10_000)
    log = log_at(tmp_path, clock)
    assert log.submit([unlogged(2)]).result(10) > first
    log.close()


def test_segments_before_the_mark_are_removed(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    (large,), _ = encoded([put(1, attributes={"text": "word " * 800_000})])
    for _ in range(8):
        last = log.submit([Unlogged("org", "project", 1, large)]).result(10)
        log.applied(Mark(log.segments.end, last))
    log.submit([unlogged(2)]).result(10)
    log.close()
    assert len(list(tmp_path.glob("*.seg"))) <= 2
