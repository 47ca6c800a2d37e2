from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import sqlite3
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.errors import KeyleaseError, StorageCorrupt, StorageError, StorageFull
from keylease.primitives.segments import Files, SegmentLog, WhenFull, encode
from keylease.strongroom.gateway.coordinator.object_registry import ObjectRegistry
from keylease.strongroom.gateway.interfaces import BatchBound, OwnedObject
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.gateway.records.commit_queue import CommitQueue
from keylease.strongroom.gateway.records.spool import CallSpool

ORGANIZATION = "01890000-0000-7000-8000-000000000000"


class Disk(Files):
    """A disk that can be full, and counts how often it was synced."""

    def __init__(self) -> None:
        self.full = False
        self.syncs = 0

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        super().sync(descriptor)


def call_spool(
    path: Path,
    states: list[KeyleaseError | None],
    *,
    maximum_bytes: int = 1024 * 1024,
    when_full: WhenFull = WhenFull.REFUSE,
    files: Files | None = None,
) -> CallSpool:
    return CallSpool(
        path,
        maximum_bytes=maximum_bytes,
        when_full=when_full,
        on_state=states.append,
        files=files,
    )


async def test_records_are_durable_soon_and_wake_the_readers(tmp_path: Path) -> None:
    spool = call_spool(tmp_path / "calls", [])
    reader = asyncio.create_task(spool.beyond(spool.log.end))
    await asyncio.sleep(0)
    start = spool.log.end
    spool.append(encode(b"one") + encode(b"two"))
    await asyncio.wait_for(reader, 1)
    assert (await spool.read(start)).records == (b"one", b"two")
    await spool.close()
    assert list(SegmentLog(tmp_path / "calls", maximum_bytes=2**20).records()) == [b"one", b"two"]


async def test_many_records_share_few_syncs(tmp_path: Path) -> None:
    disk = Disk()
    spool = call_spool(tmp_path / "calls", [], files=disk)
    for number in range(500):
        spool.append(encode(b"%d" % number))
    await spool.close()
    assert disk.syncs < 10
    assert len(list(SegmentLog(tmp_path / "calls", maximum_bytes=2**20).records())) == 500


async def test_a_full_disk_is_said_and_recovers_by_itself(tmp_path: Path) -> None:
    disk = Disk()
    states: list[KeyleaseError | None] = []
    spool = call_spool(tmp_path / "calls", states, files=disk)
    disk.full = True
    started = asyncio.get_running_loop().time()
    spool.append(encode(b"ended while the disk was full"))
    await eventually(lambda: states)
    assert asyncio.get_running_loop().time() - started < 0.05
    assert isinstance(states[0], StorageFull)
    assert not spool.writable
    spool.append(encode(b"another"))
    disk.full = False
    await eventually(lambda: len(states) == 2)
    assert states[1] is None
    await spool.close()
    assert spool.lost == 0
    kept = list(SegmentLog(tmp_path / "calls", maximum_bytes=2**20).records())
    assert kept == [b"ended while the disk was full", b"another"]


async def test_the_bound_refuses_until_records_are_delivered(tmp_path: Path) -> None:
    states: list[KeyleaseError | None] = []
    spool = call_spool(tmp_path / "calls", states, maximum_bytes=64 * 1024)
    while not states:
        spool.append(encode(b"x" * 4000))
        await asyncio.sleep(0.002)
    assert isinstance(states[0], StorageFull)
    await spool.release("reader", spool.log.end)
    await eventually(lambda: len(states) == 2)
    assert spool.writable
    await spool.close()
    assert spool.lost == 0


async def test_without_an_exporter_the_oldest_make_room(tmp_path: Path) -> None:
    states: list[KeyleaseError | None] = []
    spool = call_spool(
        tmp_path / "calls", states, maximum_bytes=64 * 1024, when_full=WhenFull.DROP_OLDEST
    )
    for _ in range(60):
        spool.append(encode(b"x" * 4000))
        await asyncio.sleep(0.001)
    await spool.close()
    assert states == []
    assert spool.lost == 0


async def test_what_fits_nowhere_is_counted(tmp_path: Path) -> None:
    disk = Disk()
    disk.full = False
    spool = call_spool(tmp_path / "calls", [], files=disk)
    disk.full = True
    for _ in range(40):
        spool.append(encode(secrets.token_bytes(1024 * 1024)))
    await spool.close()
    assert spool.lost == 40


async def test_audit_numbers_have_no_gap_over_restarts_and_failures(tmp_path: Path) -> None:
    clock = ManualClock()
    for life in range(3):
        spool = AuditSpool(tmp_path / "audit", clock=clock, organization_id=ORGANIZATION)
        assert spool.notices == []
        await asyncio.gather(
            *(
                spool.write(AuditAction.LEASE_ISSUED, principal="user:ada", subject=f"{life}-{n}")
                for n in range(20)
            )
        )
        await spool.close()
    again = AuditSpool(tmp_path / "audit", clock=clock, organization_id=ORGANIZATION)
    assert [entry.sequence for entry in again.entries()] == list(range(1, 61))
    assert {entry.organization_id for entry in again.entries()} == {ORGANIZATION}
    await again.close()


async def test_an_audit_entry_that_cannot_be_written_raises_and_uses_no_number(
    tmp_path: Path,
) -> None:
    spool = AuditSpool(
        tmp_path / "audit", clock=ManualClock(), organization_id=ORGANIZATION, maximum_bytes=40_000
    )
    results: list[BaseException | None] = []
    for _ in range(60):
        writing = spool.write(AuditAction.LEASE_ISSUED, details={"note": "x" * 900})
        results += await asyncio.gather(writing, return_exceptions=True)
    written = results.count(None)
    assert all(result is None or isinstance(result, StorageFull) for result in results)
    assert 10 < written < 60
    assert spool.next_sequence == written + 1
    assert [entry.sequence for entry in spool.entries()] == list(range(1, written + 1))
    await spool.close()


async def test_a_key_in_the_wrong_field_is_masked_before_it_is_stored(tmp_path: Path) -> None:
    key = "sk-proj-" + secrets.token_hex(20)
    audit = AuditSpool(tmp_path, clock=ManualClock(), organization_id=ORGANIZATION)
    await audit.write(
        AuditAction.LEASE_REFUSED,
        principal=f"user:{key}",
        subject=key,
        details={"environment": key, "message": f"The environment '{key}' is not allowed."},
    )
    await audit.close()
    [stored] = SegmentLog(tmp_path, maximum_bytes=1024 * 1024).records()
    assert key.encode() not in stored
    assert stored.count(b"[secret:openai]") == 4


async def test_audit_numbering_survives_damage(tmp_path: Path) -> None:
    clock = ManualClock()
    spool = AuditSpool(tmp_path / "audit", clock=clock, organization_id=ORGANIZATION)
    for _ in range(5):
        await spool.write(AuditAction.LEASE_ISSUED)
    await spool.close()
    (segment,) = (tmp_path / "audit").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    again = AuditSpool(tmp_path / "audit", clock=clock, organization_id=ORGANIZATION)
    assert again.notices
    with pytest.raises(StorageCorrupt):
        list(again.entries())
    await again.close()


async def test_objects_keep_their_first_owner(tmp_path: Path) -> None:
    clock = ManualClock()
    registry = ObjectRegistry(tmp_path / "objects", clock=clock)

    def owned(object_id: str, principal: str) -> OwnedObject:
        return OwnedObject(
            object_id=object_id,
            principal=principal,
            credential_id="c",
            purpose="eval",
            environment="dev",
        )

    await registry.remember(owned("file-1", "user:ada"))
    await registry.remember(owned("file-1", "user:eve"))
    await registry.remember(owned("resp_1", "user:ada"))
    await registry.close()
    clock.advance(61 * 86_400)
    again = ObjectRegistry(tmp_path / "objects", clock=clock)
    assert await again.find("file-1") == owned("file-1", "user:ada")
    assert await again.find("resp_1") is None
    assert await again.find("file-2") is None
    await again.close()


async def test_a_batch_file_keeps_its_models_its_bound_and_its_owner(tmp_path: Path) -> None:
    def owned(object_id: str, principal: str, *models: str) -> OwnedObject:
        return OwnedObject(
            object_id=object_id,
            principal=principal,
            credential_id="c",
            purpose="eval",
            environment="dev",
            batch_models=models,
            batch_bound=BatchBound(
                input_tokens=len(models), output_tokens=10**13, open_answers=200_000
            )
            if models
            else None,
        )

    registry = ObjectRegistry(tmp_path / "objects", clock=ManualClock())
    mine = owned("file-1", "user:ada", "gpt-4o", "gpt-image-1")
    await registry.remember(mine)
    await registry.remember(owned("file-1", "user:eve", "o1"))
    await registry.remember(owned("file-2", "user:ada"))
    await registry.remember(owned("file-2", "user:eve", "o1"))
    await registry.close()
    again = ObjectRegistry(tmp_path / "objects", clock=ManualClock())
    assert await again.find("file-1") == mine
    assert await again.find("file-2") == owned("file-2", "user:ada")
    await again.close()


async def test_a_registry_from_before_batch_files_were_checked_is_read(tmp_path: Path) -> None:
    directory = tmp_path / "objects"
    registry = ObjectRegistry(directory, clock=ManualClock())
    before = OwnedObject(
        object_id="file-1", principal="p", credential_id="c", purpose="eval", environment="dev"
    )
    await registry.remember(before)
    await registry.close()
    with contextlib.closing(sqlite3.connect(directory / "objects.sqlite")) as connection:
        connection.execute("DROP TABLE batch_files")
        connection.execute("DROP TABLE batch_bounds")
        connection.commit()
    again = ObjectRegistry(directory, clock=ManualClock())
    assert await again.find("file-1") == before
    await again.close()


async def test_a_damaged_registry_is_said(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "objects.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageCorrupt, match="is damaged"):
        ObjectRegistry(tmp_path / "objects", clock=ManualClock())


async def test_a_failed_write_ends_only_its_own_waiters() -> None:
    seen: list[list[int]] = []

    def write(batch: list[int]) -> None:
        seen.append(batch)
        if 13 in batch:
            raise StorageFull("no room")
        if 99 in batch:
            raise ZeroDivisionError

    queue: CommitQueue[int] = CommitQueue(write, name="test")
    await queue.put(1)
    with pytest.raises(StorageFull):
        await queue.put(13)
    with pytest.raises(StorageError, match="defect"):
        await queue.put(99)
    results = await asyncio.gather(*(queue.put(n) for n in range(10)))
    assert len(results) == 10
    await queue.close()
    assert [n for batch in seen for n in batch][-10:] == list(range(10))


async def test_a_queue_is_bounded() -> None:
    queue: CommitQueue[int] = CommitQueue(lambda _: None, name="test", maximum_waiting=2)
    results = await asyncio.gather(*(queue.put(n) for n in range(10)), return_exceptions=True)
    assert any(isinstance(result, StorageError) for result in results)
    await queue.close()
