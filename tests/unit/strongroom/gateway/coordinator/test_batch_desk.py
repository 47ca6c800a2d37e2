"""A batch is settled once, across crashes at every step."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import structlog
from tests.support.manual_clock import ManualClock

from keylease.errors import StorageError
from keylease.primitives.segments import Files
from keylease.strongroom.gateway.coordinator.batch_desk import BatchDesk
from keylease.strongroom.gateway.coordinator.ledger_keeper import LedgerKeeper
from keylease.strongroom.gateway.coordinator.object_registry import ObjectRegistry
from keylease.strongroom.gateway.interfaces import (
    BatchBound,
    BatchCharge,
    Demand,
    LimitKey,
    LimitKind,
    LimitWindow,
    OwnedObject,
)
from keylease.strongroom.gateway.messages import SliceUse

DAY = LimitKey("grant", LimitKind.MICRO_USD, LimitWindow.DAY)
TOTAL = LimitKey("budget", LimitKind.MICRO_USD, LimitWindow.TOTAL)
CHARGED = 900
CAPACITY = 10_000


class Disk(Files):
    full = False

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data)


class House:
    """What a coordinator has for it, over one directory."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.disk = Disk()
        self.recalls: list[tuple[int, tuple[LimitKey, ...]]] = []
        self.late: SliceUse | None = None
        """What the worker reports when it is asked."""
        self.objects = ObjectRegistry(directory / "objects", clock=clock)
        self.ledger = LedgerKeeper(
            directory / "ledger", clock=clock, recall=self._recall, files=self.disk
        )
        self.log = structlog.testing.CapturingLogger()
        self.desk = BatchDesk(
            objects=self.objects, ledger=self.ledger, log=structlog.wrap_logger(self.log)
        )

    def _recall(self, worker: int, order: int, keys: tuple[LimitKey, ...]) -> None:
        self.recalls.append((worker, keys))
        late, self.late = self.late, None
        uses = (late,) if late else ()
        asyncio.get_running_loop().call_soon(lambda: self.ledger.report(worker, uses, order=order))

    async def start_batch(self, batch_id: str = "batch_1", *, reported: bool = True) -> None:
        """Draw a batch's charge from both budgets, and remember it."""
        demands = tuple(Demand(key, CAPACITY, CHARGED) for key in (DAY, TOTAL))
        amounts = await self.ledger.reserve(0, demands)
        await self.objects.remember(owned(batch_id, self.clock.now()))
        if reported:
            uses = zip((DAY, TOTAL), amounts, strict=True)
            self.ledger.report(0, [SliceUse(k, CHARGED, amount - CHARGED) for k, amount in uses])

    def used(self) -> tuple[int, int]:
        return self.ledger.used(DAY), self.ledger.used(TOTAL)

    async def close(self) -> None:
        with contextlib.suppress(StorageError):
            await self.ledger.close()
        await self.objects.close()


def owned(batch_id: str, charged_at: int, *, object_id: str = "") -> OwnedObject:
    charge = BatchCharge(
        batch_id=batch_id,
        provider="openai",
        model="gpt-4o",
        micro_usd=CHARGED,
        limits=(DAY, TOTAL),
        charged_at=charged_at,
        requests=3,
        largest_input=40,
    )
    return OwnedObject(
        object_id=object_id or batch_id,
        principal="user:ada",
        credential_id="c",
        purpose="eval",
        environment="dev",
        batch_charge=charge,
    )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path, ManualClock())
    yield made
    await made.close()


async def again(house: House, directory: Path) -> House:
    """The same after a restart."""
    await house.close()
    return House(directory, house.clock)


async def test_what_was_drawn_too_much_goes_back_once(house: House, tmp_path: Path) -> None:
    await house.start_batch()
    await house.start_batch("batch_2")
    assert house.used() == (2 * CHARGED, 2 * CHARGED)
    await house.desk.settle("batch_1", 100)
    assert house.used() == (CHARGED + 100, CHARGED + 100)
    await house.desk.settle("batch_1", 0)
    assert house.used() == (CHARGED + 100, CHARGED + 100)
    later = await again(house, tmp_path)
    await later.desk.finish()
    await later.desk.settle("batch_1", 0)
    assert later.used() == (CHARGED + 100, CHARGED + 100), "batch_2 keeps its bound"
    await later.close()


async def test_the_charge_is_open_until_it_is_settled_also_for_the_results(
    house: House, tmp_path: Path
) -> None:
    await house.start_batch()
    charge = owned("batch_1", house.clock.now())
    results = owned("batch_1", house.clock.now(), object_id="file-out")
    await house.objects.remember(results)
    assert await house.objects.find("batch_1") == charge
    assert await house.objects.find("file-out") == results
    later = await again(house, tmp_path)
    assert await later.objects.find("file-out") == results
    await later.desk.settle("batch_1", 1)
    for object_id in ("batch_1", "file-out"):
        found = await later.objects.find(object_id)
        assert found is not None
        assert found.batch_charge is None
    # Whoever read the batch before it was settled may store this only now.
    await later.objects.remember(results)
    await later.objects.remember(charge)
    found = await later.objects.find("file-out")
    assert found is not None
    assert found.batch_charge is None
    await later.close()


async def test_a_charge_is_that_of_the_first_owner(house: House) -> None:
    await house.start_batch()
    foreign = msgspec.structs.replace(
        owned("batch_1", 1, object_id="file-out"), principal="user:eve"
    )
    mine = msgspec.structs.replace(owned("x", 1, object_id="file-out"), batch_charge=None)
    await house.objects.remember(mine)
    await house.objects.remember(foreign)
    assert await house.objects.find("file-out") == mine


async def test_a_batch_that_nobody_knows_settles_nothing(house: House) -> None:
    await house.start_batch()
    await house.desk.settle("batch_9", 0)
    assert house.used() == (CHARGED, CHARGED)


async def test_what_cost_more_than_its_bound_is_charged(house: House, tmp_path: Path) -> None:
    await house.start_batch()
    await house.desk.settle("batch_1", CHARGED + 50)
    assert house.used() == (CHARGED + 50, CHARGED + 50)
    later = await again(house, tmp_path)
    assert later.used() == (CHARGED + 50, CHARGED + 50)
    await later.close()


async def test_the_day_after_nothing_comes_back_to_that_day(house: House, tmp_path: Path) -> None:
    await house.start_batch()
    house.clock.advance(86_400)
    await house.start_batch("batch_2")
    assert house.used() == (CHARGED, 2 * CHARGED)
    await house.desk.settle("batch_1", 100)
    assert house.used() == (CHARGED, CHARGED + 100)
    later = await again(house, tmp_path)
    assert later.used() == (CHARGED, CHARGED + 100)
    await later.close()


async def test_a_charge_that_is_not_reported_yet_is_asked_for(house: House) -> None:
    await house.start_batch(reported=False)
    assert house.used() == (0, 0)
    house.late = SliceUse(DAY, CHARGED, 0)
    await house.desk.settle("batch_1", 100)
    assert house.recalls == [(0, (DAY, TOTAL))]
    assert house.ledger.used(DAY) == 100


async def test_no_count_falls_below_zero(house: House) -> None:
    await house.start_batch(reported=False)
    await house.desk.settle("batch_1", 0)
    assert house.used() == (0, 0)


@pytest.mark.parametrize("step", ["the cost is known", "the ledger has it"])
async def test_a_crash_between_the_files_is_made_up_for(
    house: House, tmp_path: Path, step: str
) -> None:
    await house.start_batch()
    assert await house.objects.decide_cost("batch_1", 100)
    journalled = step == "the ledger has it"
    if journalled:
        [(charge, cost)] = await house.objects.decided()
        await house.ledger.give_back(charge, cost)
    later = await again(house, tmp_path)
    assert later.used() == ((100, 100) if journalled else (CHARGED, CHARGED))
    await later.desk.finish()
    assert later.used() == (100, 100)
    assert await later.objects.decided() == []
    last = await again(later, tmp_path)
    await last.desk.finish()
    assert last.used() == (100, 100)
    await last.close()


async def test_a_full_disk_under_the_ledger_is_made_up_for(house: House, tmp_path: Path) -> None:
    await house.start_batch()
    house.disk.full = True
    with pytest.raises(StorageError):
        await house.desk.settle("batch_1", 100)
    assert [call.method_name for call in house.log.calls] == ["error"]
    later = await again(house, tmp_path)
    assert later.used() == (CHARGED, CHARGED)
    await later.desk.finish()
    assert later.used() == (100, 100)
    await later.close()


async def test_a_registry_from_before_batches_were_settled_is_read(
    house: House, tmp_path: Path
) -> None:
    plain = msgspec.structs.replace(
        owned("file-1", 1),
        batch_charge=None,
        batch_models=("gpt-4o",),
        batch_bound=BatchBound(
            input_tokens=9, output_tokens=8, open_answers=7, requests=6, largest_input=5
        ),
    )
    await house.objects.remember(plain)
    assert await house.objects.find("file-1") == plain
    await house.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "objects" / "objects.sqlite")) as connection:
        for table in ("batch_lines", "batch_charges", "batch_results"):
            connection.execute(f"DROP TABLE {table}")
        connection.commit()
    house.objects = ObjectRegistry(tmp_path / "objects", clock=house.clock)
    house.ledger = LedgerKeeper(
        tmp_path / "ledger", clock=house.clock, recall=lambda *_: None, files=house.disk
    )
    found = await house.objects.find("file-1")
    assert found is not None
    assert found.batch_bound == BatchBound(input_tokens=9, output_tokens=8, open_answers=7)


async def test_what_is_settled_or_forgotten_takes_no_room(house: House, tmp_path: Path) -> None:
    for name in ("batch_1", "batch_2", "resp_1"):
        await house.objects.remember(owned(name, house.clock.now()))
    await house.desk.settle("batch_1", 1)
    house.clock.advance(61 * 86_400)
    later = await again(house, tmp_path)
    await later.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "objects" / "objects.sqlite")) as connection:
        kept = connection.execute("SELECT batch_id FROM batch_charges").fetchall()
    assert kept == [("batch_2",)], "stored responses are forgotten with their charges"
