from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import LimitReached, StorageCorrupt, StorageFull
from keylease.primitives.segments import Files
from keylease.strongroom.gateway.coordinator.ledger_keeper import LedgerKeeper
from keylease.strongroom.gateway.interfaces import Demand, LimitKey, LimitKind, LimitWindow
from keylease.strongroom.gateway.messages import SliceUse
from keylease.strongroom.gateway.worker.slices import Slices

TOKENS = LimitKey("grant", LimitKind.TOKENS, LimitWindow.MINUTE)
DAY = LimitKey("grant", LimitKind.MICRO_USD, LimitWindow.DAY)


class Disk(Files):
    full = False

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data)


class Group:
    """A keeper and workers that answer recalls, all in one loop."""

    def __init__(self, directory: Path, *, workers: int, disk: Disk | None = None) -> None:
        self.clock = ManualClock()
        self.slices = {number: Slices() for number in range(workers)}
        self.deaf: set[int] = set()
        self.recalls = 0
        self.keeper = LedgerKeeper(directory, clock=self.clock, recall=self.recall, files=disk)
        self.keeper.workers = workers

    def recall(self, worker: int, order: int, keys: tuple[LimitKey, ...]) -> None:
        self.recalls += 1
        if worker not in self.deaf:
            uses = self.slices[worker].report(self.clock.monotonic(), keys=keys)
            asyncio.get_running_loop().call_soon(
                lambda: self.keeper.report(worker, uses, order=order)
            )

    async def call(self, worker: int, *demands: Demand) -> None:
        """Reserve as a worker does; everything demanded is used."""
        slices = self.slices[worker]
        hold = slices.try_reserve(demands, self.clock.monotonic())
        if hold is None:
            amounts = await self.keeper.reserve(worker, demands)
            slices.credit(demands, amounts, self.clock.monotonic())
            hold = slices.try_reserve(demands, self.clock.monotonic())
            assert hold is not None
        slices.settle(hold, tuple(demand.amount for demand in demands))


@pytest.mark.parametrize("workers", [1, 2])
async def test_exactly_the_limit_is_given_out(tmp_path: Path, workers: int) -> None:
    group = Group(tmp_path / "ledger", workers=workers)
    admitted = refused = 0
    for number in range(300):
        try:
            await group.call(number % workers, Demand(TOKENS, 1000, 7))
            admitted += 1
        except LimitReached:
            refused += 1
    assert admitted == 1000 // 7
    assert refused == 300 - admitted
    await group.keeper.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_concurrent_calls_never_exceed_the_limit(tmp_path: Path, workers: int) -> None:
    group = Group(tmp_path / "ledger", workers=workers)
    results = await asyncio.gather(
        *(group.call(n % workers, Demand(DAY, 100, 3)) for n in range(90)), return_exceptions=True
    )
    assert results.count(None) <= 33
    assert all(result is None or isinstance(result, LimitReached) for result in results)
    assert results.count(None) >= 30
    await group.keeper.close()


async def test_unused_slices_of_another_worker_are_called_back(tmp_path: Path) -> None:
    group = Group(tmp_path / "ledger", workers=2)
    await group.call(0, Demand(TOKENS, 1000, 1))
    assert group.slices[0].remaining(TOKENS) > 10
    await group.call(1, Demand(TOKENS, 1000, 999))
    assert group.recalls == 1
    with pytest.raises(LimitReached):
        await group.call(1, Demand(TOKENS, 1000, 1))
    await group.keeper.close()


async def test_a_worker_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    group = Group(tmp_path / "ledger", workers=2)
    await group.call(0, Demand(TOKENS, 1000, 1))
    group.deaf.add(0)
    with pytest.raises(LimitReached):
        await asyncio.wait_for(group.call(1, Demand(TOKENS, 1000, 999)), 1)
    await group.keeper.close()


async def test_a_restart_counts_open_slices_as_spent(tmp_path: Path) -> None:
    group = Group(tmp_path / "ledger", workers=1)
    amounts = await group.keeper.reserve(0, (Demand(DAY, 1000, 100), Demand(TOKENS, 1000, 10)))
    group.keeper.report(0, (SliceUse(DAY, 40, 10),))
    await asyncio.sleep(0.05)
    # no close: the process is killed here
    again = Group(tmp_path / "ledger", workers=1)
    assert again.keeper.used(DAY) == amounts[0] - 10
    assert again.keeper.used(TOKENS) == amounts[1]
    await again.keeper.close()
    third = Group(tmp_path / "ledger", workers=1)
    assert third.keeper.used(DAY) == amounts[0] - 10
    third.clock.advance(61)
    assert third.keeper.used(TOKENS) == 0
    await third.keeper.close()
    await group.keeper.close()


async def test_without_a_journal_nothing_is_handed_out(tmp_path: Path) -> None:
    disk = Disk()
    group = Group(tmp_path / "ledger", workers=1, disk=disk)
    await group.keeper.reserve(0, (Demand(DAY, 1000, 100),))
    disk.full = True
    before = group.keeper.taken(DAY)
    with pytest.raises(StorageFull):
        await group.keeper.reserve(0, (Demand(DAY, 1000, 100),))
    assert group.keeper.taken(DAY) == before
    group.keeper.report(0, (SliceUse(DAY, 10, 0),))
    await asyncio.sleep(0.05)
    disk.full = False
    await group.keeper.reserve(0, (Demand(DAY, 1000, 100),))
    taken = group.keeper.taken(DAY)
    again = Group(tmp_path / "ledger", workers=1)
    assert again.keeper.used(DAY) == taken
    await again.keeper.close()


async def test_the_journal_stays_small(tmp_path: Path) -> None:
    group = Group(tmp_path / "ledger", workers=1)
    demand = Demand(DAY, 10**9, 1)
    for _ in range(200):
        amounts = await group.keeper.reserve(0, (demand,))
        uses = tuple(SliceUse(DAY, 0, amounts[0] // 200) for _ in range(200))
        group.keeper.report(0, uses)
    size = sum(file.stat().st_size for file in (tmp_path / "ledger").iterdir())
    assert size < 3 * 1024 * 1024
    await group.keeper.close()
    assert sum(file.stat().st_size for file in (tmp_path / "ledger").iterdir()) < 1000


async def test_a_damaged_ledger_stops_the_start(tmp_path: Path) -> None:
    group = Group(tmp_path / "ledger", workers=1)
    for _ in range(3):
        await group.keeper.reserve(0, (Demand(DAY, 1000, 1),))
    (segment,) = (tmp_path / "ledger").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[30] ^= 1
    segment.write_bytes(data)
    with pytest.raises(StorageCorrupt, match="ledger of limits"):
        Group(tmp_path / "ledger", workers=1)
    await group.keeper._queue.close()
