"""Handing over records: at least once, in order, resumed after a restart, released when taken."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.errors import PlatformRefused, PlatformUnreachable
from keylease.primitives.segments import WhenFull, encode
from keylease.strongroom.gateway.coordinator.log import make_log
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.gateway.records.spool import CallSpool
from keylease.strongroom.link import pushes
from keylease.strongroom.link.pushes import AuditEntryPush, CallRecordPush

ORGANIZATION = "01890000-0000-7000-8000-000000000000"


class Platform:
    """Takes batches, or fails as a test says."""

    def __init__(self) -> None:
        self.calls: list[wire.CallRecordPush] = []
        self.entries: list[wire.AuditPush] = []
        self.failing: Exception | None = None
        self.asked = 0

    @property
    def records(self) -> list[bytes]:
        return [record for push in self.calls for record in push.records]

    @property
    def sequences(self) -> list[int]:
        raw = [entry for push in self.entries for entry in push.entries]
        return [msgspec.json.decode(entry, type=AuditEntry).sequence for entry in raw]

    async def push_call_records(self, push: wire.CallRecordPush) -> wire.PushAnswer:
        self._check()
        self.calls.append(push)
        return wire.PushAnswer(taken=len(push.records))

    async def push_audit_entries(self, push: wire.AuditPush) -> wire.PushAnswer:
        self._check()
        self.entries.append(push)
        return wire.PushAnswer(taken=len(push.entries))

    def _check(self) -> None:
        self.asked += 1
        if self.failing is not None:
            raise self.failing


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROWING_SECONDS", "_FIRST_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(pushes, name, 0.001)


@contextlib.asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def run() -> None:
        await work()

    task = asyncio.get_running_loop().create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def spool_at(path: Path, *, maximum_bytes: int = 1024 * 1024) -> CallSpool:
    return CallSpool(
        path / "calls",
        maximum_bytes=maximum_bytes,
        when_full=WhenFull.REFUSE,
        on_state=lambda _: None,
    )


def push_of(spool: CallSpool, path: Path) -> CallRecordPush:
    return CallRecordPush(spool, directory=path, clock=ManualClock(), log=make_log(level="error"))


async def fill(spool: CallSpool, *records: bytes) -> None:
    before = spool.log.end
    spool.append(b"".join(map(encode, records)))
    await eventually(lambda: spool.log.end > before)


async def settled(push: CallRecordPush, spool: CallSpool) -> None:
    """Everything was taken, written down and released."""
    await eventually(lambda: spool._readers["platform"] == spool.log.end)
    assert push.behind_bytes == 0


async def test_batches_follow_each_other_over_a_restart(tmp_path: Path) -> None:
    platform = Platform()
    spool = spool_at(tmp_path)
    push = push_of(spool, tmp_path)
    await fill(spool, b"one", b"two")
    async with running(lambda: push.run(platform)):
        await eventually(lambda: len(platform.records) == 2)
        await fill(spool, b"three")
        await eventually(lambda: len(platform.records) == 3)
        await settled(push, spool)
    await spool.close()
    again = spool_at(tmp_path)
    resumed = push_of(again, tmp_path)
    async with running(lambda: resumed.run(platform)):
        again.append(encode(b"four"))
        await eventually(lambda: len(platform.records) == 4)
    await again.close()
    assert platform.records == [b"one", b"two", b"three", b"four"]
    assert {batch.spool_id for batch in platform.calls} == {platform.calls[0].spool_id}
    places = [(batch.start, batch.end) for batch in platform.calls]
    assert places[0][0] == wire.SpoolPosition()
    assert all(before[1] == after[0] for before, after in itertools.pairwise(places))


@pytest.mark.parametrize(
    "failing",
    [PlatformUnreachable("It is away."), PlatformRefused("No.", reason="input_invalid")],
)
async def test_what_is_not_taken_stays_and_is_sent_again(
    tmp_path: Path, failing: Exception
) -> None:
    platform = Platform()
    platform.failing = failing
    spool = spool_at(tmp_path)
    push = push_of(spool, tmp_path)
    await fill(spool, b"one")
    async with running(lambda: push.run(platform)):
        await eventually(lambda: platform.asked >= 3)
        assert push.state.error
        platform.failing = None
        await eventually(lambda: platform.records == [b"one"])
        await eventually(lambda: not push.state.error)
    await spool.close()


async def test_files_go_when_every_reader_has_them(tmp_path: Path) -> None:
    platform = Platform()
    spool = spool_at(tmp_path, maximum_bytes=64 * 1024)  # segments of 8 KiB
    push = push_of(spool, tmp_path)
    spool.hold("otlp", spool.log.start)
    for number in range(40):
        await fill(spool, b"%04d" % number + b"x" * 1000)
    segments = list((tmp_path / "calls").glob("*.seg"))
    assert len(segments) > 3
    async with running(lambda: push.run(platform)):
        await eventually(lambda: len(platform.records) == 40)
        await settled(push, spool)
    assert list((tmp_path / "calls").glob("*.seg")) == segments, "the other one still needs them"
    await spool.release("otlp", spool.log.end)
    assert len(list((tmp_path / "calls").glob("*.seg"))) == 1
    await spool.close()


async def test_damage_is_skipped_and_seen_as_a_gap(tmp_path: Path) -> None:
    platform = Platform()
    spool = spool_at(tmp_path, maximum_bytes=64 * 1024)
    push = push_of(spool, tmp_path)
    for number in range(20):
        await fill(spool, b"%04d" % number + b"x" * 1000)
    first = min((tmp_path / "calls").glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[40] ^= 0xFF
    first.write_bytes(data)
    async with running(lambda: push.run(platform)):
        await eventually(lambda: platform.records and platform.records[-1].startswith(b"0019"))
    assert platform.calls[0].start > wire.SpoolPosition(), "what lies before is missing"
    assert not platform.records[0].startswith(b"0000")
    await spool.close()


async def test_a_spool_that_was_lost_begins_again_under_another_name(tmp_path: Path) -> None:
    platform = Platform()
    spool = spool_at(tmp_path)
    push = push_of(spool, tmp_path)
    await fill(spool, b"one")
    async with running(lambda: push.run(platform)):
        await eventually(lambda: platform.records == [b"one"])
        await settled(push, spool)
    await spool.close()
    for path in (tmp_path / "calls").glob("*.seg"):
        path.unlink()
    again = spool_at(tmp_path)
    resumed = push_of(again, tmp_path)
    await fill(again, b"2")
    async with running(lambda: resumed.run(platform)):
        await eventually(lambda: platform.records == [b"one", b"2"])
    await again.close()
    assert platform.calls[0].spool_id != platform.calls[1].spool_id


async def test_audit_entries_leave_whole_files_and_their_numbers_go_on(tmp_path: Path) -> None:
    platform = Platform()

    def opened() -> AuditSpool:
        return AuditSpool(
            tmp_path / "audit",
            clock=ManualClock(),
            organization_id=ORGANIZATION,
            maximum_bytes=64 * 1024,
        )

    spool = opened()
    for _ in range(60):
        await spool.write(AuditAction.LEASE_ISSUED, details={"x": "y" * 300})
    push = AuditEntryPush(spool, log=make_log(level="error"))
    assert spool.waiting == 60
    async with running(lambda: push.run(platform)):
        await eventually(lambda: spool.waiting == 0)
        await eventually(lambda: len(list((tmp_path / "audit").glob("*.seg"))) == 1)
    assert platform.sequences == list(range(1, 61))
    await spool.close()
    # Everything was taken, and the last file is gone too: the numbers go on all the same.
    for path in (tmp_path / "audit").glob("*.seg"):
        path.unlink()
    again = opened()
    await again.write(AuditAction.LEASE_ISSUED)
    resumed = AuditEntryPush(again, log=make_log(level="error"))
    async with running(lambda: resumed.run(platform)):
        await eventually(lambda: platform.sequences[-1] == 61)
    await again.close()
    assert platform.sequences == list(range(1, 62))
