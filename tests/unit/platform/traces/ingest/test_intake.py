"""From a write to the store: durable first, in order, and never stopped by one of them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.trace_kit import MemoryStore, plainly, put, raw_span

from keylease.errors import (
    StorageError,
    StorageFull,
    TraceQueueFull,
    TraceStoreInUse,
    TraceStoreUnavailable,
)
from keylease.platform.traces.ingest import writer
from keylease.platform.traces.ingest.intake import Intake, opened
from keylease.platform.traces.ingest.write_log import WriteLog
from keylease.platform.traces.interfaces import MergeSpan, RemoveSpans, Understood, WriteBatch
from keylease.platform.traces.model import Span
from keylease.primitives.segments import Files

ORG, PROJECT = "org", "project"


def ingest(
    directory: Path,
    store: MemoryStore,
    clock: ManualClock | None = None,
    **more: Any,  # noqa: ANN401 - members of many types
) -> AbstractAsyncContextManager[Intake]:
    return opened(
        directory,
        store=store,
        understanding=plainly,
        clock=clock or ManualClock(),
        gather_seconds=0.01,
        **more,
    )


def everything_below(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_what_was_taken_is_read_after_it_has_settled(tmp_path: Path) -> None:
    store = MemoryStore()
    async with ingest(tmp_path, store) as intake:
        xact_id = await intake.take(ORG, PROJECT, [put(1, name="one"), put(2, name="two")])
        assert len(str(xact_id)) == 19
        await intake.settled(xact_id)
        assert store.names == ["one", "two"]
        assert intake.applied == xact_id


async def test_transactions_increase_when_the_clock_goes_back_and_over_restarts(
    tmp_path: Path,
) -> None:
    clock, store = ManualClock(), MemoryStore()
    ids = []
    for _ in range(3):
        async with ingest(tmp_path, store, clock) as intake:
            for number in range(2):
                ids.append(await intake.take(ORG, PROJECT, [put(number)]))
                clock.set_back(3600)
            await intake.settled(ids[-1])
    assert ids == sorted(set(ids))


async def test_ids_go_on_from_the_store_when_the_log_is_new(tmp_path: Path) -> None:
    clock, store = ManualClock(), MemoryStore()
    async with ingest(tmp_path / "one", store, clock) as intake:
        first = await intake.take(ORG, PROJECT, [put(1)])
        await intake.settled(first)
    clock.set_back(3600)
    async with ingest(tmp_path / "two", store, clock) as intake:
        assert await intake.take(ORG, PROJECT, [put(2)]) > first


async def test_requests_that_wait_together_share_a_write(tmp_path: Path) -> None:
    class Slow(Files):
        def sync(self, descriptor: int) -> None:
            import time  # noqa: PLC0415 - for this double only

            time.sleep(0.05)
            super().sync(descriptor)

    store = MemoryStore()
    async with ingest(tmp_path, store, disk=Slow()) as intake:
        taken = await asyncio.gather(
            *(intake.take(ORG, PROJECT, [put(number)]) for number in range(1, 31))
        )
        assert len(set(taken)) == 30
        assert intake.log.writes < 30
        await intake.settled(max(taken))
    assert len(store.rows) == 30


async def test_a_span_that_nobody_understands_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    async with ingest(tmp_path, store) as intake:
        xact_id = await intake.take(
            ORG, PROJECT, [put(1, name="good"), put(2, name="poison"), put(3, name="fine")]
        )
        await intake.settled(xact_id)
        assert store.names == ["fine", "good"]
        (aside,) = intake.set_aside.listed(ORG)
        assert (aside.spans, aside.code, aside.xact_id) == (1, "span_not_understood", xact_id)
        assert "ValueError" in aside.reason
        assert intake.set_aside.listed("another") == []
        batch = intake.set_aside.content(ORG, aside.id)
        assert batch is not None
        assert len(batch.writes) == 1
        assert intake.set_aside.content("another", aside.id) is None
        assert intake.set_aside.discard(ORG, aside.id)
        assert intake.set_aside.listed(ORG) == []


async def test_a_batch_that_the_store_refuses_is_found_among_others(tmp_path: Path) -> None:
    store = MemoryStore()
    store.refuses = {"bad"}
    store.may_go_on.clear()
    async with ingest(tmp_path, store) as intake:
        ids = [
            await intake.take(ORG, PROJECT, [put(number, name="bad" if number == 4 else "good")])
            for number in range(1, 8)
        ]
        store.may_go_on.set()
        await intake.settled(ids[-1])
        assert store.names == ["good"] * 6
        assert [aside.xact_id for aside in intake.set_aside.listed(ORG)] == [ids[3]]


async def test_a_defect_of_the_store_sets_aside_only_what_it_cannot_take(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = KeyError("a defect")
    async with ingest(tmp_path, store) as intake:
        xact_id = await intake.take(ORG, PROJECT, [put(1)])
        await eventually(lambda: intake.set_aside.listed(ORG), seconds=20)
        assert intake.set_aside.listed(ORG)[0].xact_id == xact_id
        store.trouble = None
        await intake.settled(await intake.take(ORG, PROJECT, [put(2, name="later")]))
        assert store.names == ["later"]


async def test_what_the_store_did_not_take_waits_and_is_replayed(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = TraceStoreUnavailable("It is away.")
    async with ingest(tmp_path, store) as intake:
        ids = [await intake.take(ORG, PROJECT, [put(number)]) for number in range(1, 4)]
        with pytest.raises(TraceStoreUnavailable):
            await intake.settled(ids[0], seconds=0.05)
        await eventually(lambda: intake.trouble is not None)
    store.trouble = None
    async with ingest(tmp_path, store) as intake:
        await intake.settled(ids[-1])
        assert sorted(store.batches) == ids
        assert intake.trouble is None


async def test_the_store_that_comes_back_is_used_again(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = TraceStoreUnavailable("It is away.")
    async with ingest(tmp_path, store) as intake:
        xact_id = await intake.take(ORG, PROJECT, [put(1)])
        await eventually(lambda: intake.trouble is not None)
        store.trouble = None
        await intake.settled(xact_id)
        await eventually(lambda: intake.trouble is None)


async def test_a_log_that_is_full_says_when_to_come_again(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = TraceStoreUnavailable("It is away.")
    async with ingest(tmp_path, store, maximum_bytes=20_000) as intake:
        large = put(1, attributes={"text": "word " * 2000})
        await intake.take(ORG, PROJECT, [large])
        with pytest.raises(TraceQueueFull) as full:
            await intake.take(ORG, PROJECT, [large])
        assert full.value.retry_after > 0
        store.trouble = None
        await intake.settled(intake.log.last_logged)
        await eventually(lambda: intake.log.backlog() == 0)
        await intake.take(ORG, PROJECT, [large])


async def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_later(
    tmp_path: Path,
) -> None:
    class Full(Files):
        full = False

        def write(self, descriptor: int, data: memoryview) -> int:
            if self.full:
                super().write(descriptor, data[: len(data) // 2])
                raise OSError(28, "No space left on device")
            return super().write(descriptor, data)

    disk, store = Full(), MemoryStore()
    async with ingest(tmp_path, store, disk=disk) as intake:
        await intake.take(ORG, PROJECT, [put(1, name="before")])
        disk.full = True
        with pytest.raises(StorageFull):
            await intake.take(ORG, PROJECT, [put(2, name="refused")])
        disk.full = False
        await intake.settled(await intake.take(ORG, PROJECT, [put(3, name="after")]))
        assert store.names == ["after", "before"]
    async with ingest(tmp_path, store) as intake:
        assert store.names == ["after", "before"]


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    async with ingest(tmp_path, store):
        with pytest.raises(TraceStoreInUse):
            async with ingest(tmp_path, store):
                pass


async def test_merges_and_removals_keep_their_order_and_merges_are_masked(tmp_path: Path) -> None:
    store = MemoryStore()
    key = "AKIA" + "QYLPMN5HHHFPZAM2"
    async with ingest(tmp_path, store) as intake:
        merge = MergeSpan(
            trace_id="1" * 32,
            span_id="1" * 16,
            fields={"metadata": msgspec.Raw(msgspec.json.encode({"note": f"aws {key}"}))},
            by="user:1",
        )
        remove = RemoveSpans(trace_id="1" * 32, by="user:1")
        xact_id = await intake.take(ORG, PROJECT, [put(1), merge, remove, put(1), remove, remove])
        await intake.settled(xact_id)
    entries = [store.batches[each].writes for each in sorted(store.batches)]
    assert [[type(write).__name__ for write in entry] for entry in entries] == [
        ["PutSpan", "MergeSpan"],
        ["RemoveSpans"],  # in a transaction of its own
        ["PutSpan"],
        ["RemoveSpans"],
        ["RemoveSpans"],
    ]
    assert max(store.batches) == xact_id
    changed = entries[0][1]
    assert isinstance(changed, MergeSpan)
    text = msgspec.json.decode(changed.fields["metadata"])["note"]
    assert text.startswith("aws [secret:aws-")
    assert key.encode() not in everything_below(tmp_path)


async def test_listeners_get_rows_that_were_just_written(tmp_path: Path) -> None:
    seen: list[Span] = []
    store = MemoryStore()
    async with ingest(tmp_path, store) as intake:
        stop = intake.fresh(seen.extend)
        await intake.settled(await intake.take(ORG, PROJECT, [put(1, name="shown")]))
        await eventually(lambda: seen)
        stop()
        await intake.settled(await intake.take(ORG, PROJECT, [put(2, name="unseen")]))
    assert [span.name for span in seen] == ["shown"]


async def test_spans_that_are_too_large_for_the_log_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    huge = raw_span(2, attributes={f"part {n}": "y " * 3_500_000 for n in range(3)})
    async with ingest(tmp_path, store) as intake:
        taken = await intake.take_spans(ORG, PROJECT, [raw_span(1), huge, raw_span(3)])
        assert taken.rejected == 1
        await intake.settled(taken.xact_id)
        assert len(store.rows) == 2


async def test_a_body_that_is_being_taken_counts_until_it_is_done(tmp_path: Path) -> None:
    async with ingest(tmp_path, MemoryStore()) as intake:
        with contextlib.ExitStack() as bodies:
            bodies.enter_context(intake.room("o")).take(120 * 1024 * 1024)
            with intake.room("o") as room, pytest.raises(TraceQueueFull):
                room.take(100 * 1024 * 1024)
        with intake.room("o") as room:
            room.take(100 * 1024 * 1024)


async def test_one_organization_leaves_room_for_others(tmp_path: Path) -> None:
    megabyte = 1024 * 1024
    async with ingest(tmp_path, MemoryStore()) as intake:
        with intake.room("greedy") as first, intake.room("greedy") as second:
            first.take(100 * megabyte)
            with pytest.raises(TraceQueueFull):
                second.take(60 * megabyte)
            with intake.room("other") as other:
                other.take(40 * megabyte)
        with intake.room("greedy") as again:
            again.take(140 * megabyte)


async def test_a_log_that_was_deleted_acknowledges_nothing_more(tmp_path: Path) -> None:
    async with ingest(tmp_path, MemoryStore()) as intake:
        await intake.settled(await intake.take(ORG, PROJECT, [put(1)]))
        await asyncio.to_thread(shutil.rmtree, tmp_path / "log")
        with pytest.raises(StorageError):
            await intake.take(ORG, PROJECT, [put(2)])


async def test_a_log_that_is_deleted_before_it_is_read_is_said(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = TraceStoreUnavailable("It is away.")
    async with ingest(tmp_path, store) as intake:
        await intake.take(ORG, PROJECT, [put(1)])
        await eventually(lambda: intake.trouble is not None)
        await asyncio.to_thread(shutil.rmtree, tmp_path / "log")
        with pytest.raises(StorageError):
            intake.log.segments.read(intake.log.mark.cursor)


async def test_a_defect_in_the_log_reaches_those_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingest(tmp_path, MemoryStore()) as intake:

        def broken(_: bytes) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(intake.log.segments, "append_block", broken)
            with pytest.raises(StorageError, match="MemoryError"):
                await intake.take(ORG, PROJECT, [put(1)])
        assert await intake.take(ORG, PROJECT, [put(2)])


async def test_a_defect_in_the_writer_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_LONGEST_PAUSE", 0.01)
    store = MemoryStore()
    async with ingest(tmp_path, store) as intake:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(intake.log.segments, "read", broken)
            xact_id = await intake.take(ORG, PROJECT, [put(1)])
            await eventually(lambda: intake.trouble is not None)
        await intake.settled(xact_id)
        assert len(store.rows) == 1


async def test_removals_and_retention_reach_what_was_set_aside(tmp_path: Path) -> None:
    clock = ManualClock()
    async with ingest(tmp_path, MemoryStore(), clock) as intake:
        poison = [
            put(1, name="poison", attributes={"user": "ann"}),
            put(2, name="poison", attributes={"user": "bob"}),
            put(3, name="poison", attributes={"user": "bob"}),
        ]
        await intake.take(ORG, PROJECT, poison)
        await intake.take(ORG, "another", poison)
        trace = poison[1].span.trace_id
        for removal in (
            RemoveSpans(trace_id=trace, span_id="f" * 16, by="x"),
            RemoveSpans(trace_id=trace, by="x"),
            RemoveSpans(user_id="ann", by="x"),
        ):
            await intake.settled(await intake.take(ORG, PROJECT, [removal]))
        other, mine = sorted(intake.set_aside.listed(ORG), key=lambda one: one.project_id)
        assert (other.spans, mine.spans, mine.trace_ids) == (3, 1, (poison[2].span.trace_id,))
        assert intake.set_aside.content(ORG, mine.id) is not None
        later = clock.now() + 1
        intake.set_aside.expire(lambda _, project: later if project == "another" else None)
        assert [one.id for one in intake.set_aside.listed(ORG)] == [mine.id]
        await intake.settled(
            await intake.take(ORG, PROJECT, [RemoveSpans(everything=True, by="x")])
        )
        assert not list((tmp_path / "set-aside").iterdir())


class SlowStore(MemoryStore):
    """Takes a minute for each block, on the clock that it is given."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def apply(self, batches: Sequence[WriteBatch], spans: Sequence[Sequence[Understood]]) -> None:
        self._clock.advance(60)
        super().apply(batches, spans)


async def test_while_spans_arrive_the_writer_rests_until_the_log_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    store = SlowStore(clock := ManualClock())

    def is_filling(_: WriteLog) -> bool:
        """Asked after each moment of a rest in which something came."""
        looked.append(store.calls)
        return len(looked) == 3

    monkeypatch.setattr(writer, "_LONGEST_REST", 60.0)
    monkeypatch.setattr(WriteLog, "is_filling", is_filling)
    async with ingest(tmp_path, store, clock) as intake:
        number = 0
        while len(looked) < 3:
            number += 1
            assert number < 10_000
            await intake.take(ORG, PROJECT, [put(number)])
        await eventually(lambda: store.calls > looked[2])


async def test_who_waits_to_read_waits_for_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("_LOOK", "_LONGEST_REST"):
        monkeypatch.setattr(writer, seconds, 60.0)
    monkeypatch.setattr(writer, "ENOUGH_BYTES", 1)
    monkeypatch.setattr(writer, "MOST_BYTES", 300)
    store = SlowStore(clock := ManualClock())
    async with ingest(tmp_path, store, clock) as intake:
        for number in range(1, 9):
            xact_id = await intake.take(ORG, PROJECT, [put(number)])
        await intake.settled(xact_id)
    assert store.calls > 3, "one call of a few would prove nothing"
