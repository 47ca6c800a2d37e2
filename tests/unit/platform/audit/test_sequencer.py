"""The sequencer: what was committed is logged once, in order, whatever happens in between."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from tests.support.audit_kit import ORG, OTHER_ORG, Rig, logged, record
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.errors import AuditLogUnavailable, StorageError, StorageFull
from keylease.platform.audit import log_files, repository, signing_keys
from keylease.platform.audit.log_files import OpenLog
from keylease.platform.audit.tables import AUDIT_INDEX, AUDIT_LOGS
from keylease.platform.db.callers import platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.tables import OUTBOX
from keylease.primitives.transparency import directory
from keylease.primitives.transparency.checkpoints import unverified_head


@pytest.fixture
def rig(database: Database, tmp_path: Path, clock: ManualClock) -> Rig:
    return Rig(database, tmp_path / "audit", clock)


async def waiting(database: Database) -> int:
    async with database.reading() as tx:
        return int((await tx.execute(select(func.count()).select_from(OUTBOX))).scalar_one())


async def test_entries_are_logged_in_order_and_leave_the_outbox(rig: Rig) -> None:
    for number in range(7):
        await record(rig.database, str(number))
    assert await rig.sequencer.drain() == 7
    assert [entry.object for entry in logged(rig)] == [str(number) for number in range(7)]
    assert await waiting(rig.database) == 0
    rig.verify()


async def test_each_organization_has_its_own_log(rig: Rig) -> None:
    await record(rig.database, "a")
    await record(rig.database, "b", organization_id=OTHER_ORG)
    await record(rig.database, "c")
    await rig.sequencer.drain()
    assert [entry.object for entry in logged(rig)] == ["a", "c"]
    assert [entry.object for entry in logged(rig, OTHER_ORG)] == ["b"]
    assert rig.files.keys(ORG)[0] != rig.files.keys(OTHER_ORG)[0]


async def test_it_goes_on_after_a_restart(rig: Rig) -> None:
    for number in range(300):
        await record(rig.database, str(number))
    await rig.sequencer.drain()
    again = rig.restarted()
    await record(again.database, "300")
    await again.sequencer.drain()
    assert [entry.object for entry in logged(again)] == [str(number) for number in range(301)]
    again.verify()


async def test_background_work_logs_what_is_committed(rig: Rig) -> None:
    async with rig.sequencer.running():
        await record(rig.database, "a")
        await eventually(lambda: rig.size() == 1, seconds=30)
        await record(rig.database, "last")
    assert [entry.object for entry in logged(rig)] == ["a", "last"]


async def test_a_second_process_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keylease.platform.audit.sequencer._LOCK_SECONDS", 0.0)
    async with rig.sequencer.running():
        with pytest.raises(AuditLogUnavailable):
            async with rig.restarted().sequencer.running():
                pass


async def test_a_database_that_fails_after_the_log_was_written_repeats_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    await record(rig.database, "b")
    await record(rig.database, "c")

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("keylease.platform.audit.repository.set_head", fail)
        with pytest.raises(ZeroDivisionError):
            await rig.sequencer.round()
    assert rig.size() == 3
    assert await waiting(rig.database) == 2
    await rig.sequencer.drain()
    again = rig.restarted()
    await record(again.database, "d")
    await again.sequencer.drain()
    assert [entry.object for entry in logged(again)] == ["a", "b", "c", "d"]
    assert await waiting(again.database) == 0
    async with again.database.reading() as tx:
        rows = await tx.rows(select(AUDIT_INDEX.c.object).order_by(AUDIT_INDEX.c.position))
    assert [row["object"] for row in rows] == ["a", "b", "c", "d"]


async def test_a_full_disk_stops_changes_until_there_is_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    rig.database.before_recording = rig.sequencer.check
    await record(rig.database, "before")

    def full(*_: object) -> None:
        raise StorageFull("There is no space.", advice="Free some.")

    with monkeypatch.context() as patched:
        patched.setattr(directory, "_write_files", full)
        assert await rig.sequencer.round() == 0
    with pytest.raises(AuditLogUnavailable, match="There is no space") as refused:
        await record(rig.database, "refused")
    assert refused.value.advice == "Nothing was changed. Free some."
    await record(rig.database, "other", organization_id=OTHER_ORG)  # its log can be written
    clock.advance(5)
    await rig.sequencer.drain()
    await record(rig.database, "after")
    await rig.sequencer.drain()
    assert [entry.object for entry in logged(rig)] == ["a", "before", "after"]
    assert [entry.object for entry in logged(rig, OTHER_ORG)] == ["other"]


async def test_a_log_that_cannot_be_written_keeps_its_key(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    before = rig.files.keys(ORG)

    def full(*_: object) -> None:
        raise StorageFull("There is no space.", advice="Free some.")

    with monkeypatch.context() as patched:
        patched.setattr(directory, "_write_files", full)
        with pytest.raises(AuditLogUnavailable, match="keeps its key") as refused:
            await rig.sequencer.rotate_key(platform_itself(ORG))
    assert refused.value.advice == "Rotate the key again when it can. Free some."
    assert rig.files.keys(ORG) == before
    clock.advance(5)
    await rig.sequencer.rotate_key(platform_itself(ORG))
    assert rig.files.keys(ORG) != before
    rig.verify()


async def test_files_that_were_set_back_are_not_written_to(rig: Rig, tmp_path: Path) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    shutil.copytree(rig.directory, tmp_path / "old")
    await record(rig.database, "b")
    await rig.sequencer.drain()
    shutil.rmtree(rig.directory)
    shutil.copytree(tmp_path / "old", rig.directory)
    again = rig.restarted()
    await record(again.database, "c")
    assert await again.sequencer.round() == 0
    with pytest.raises(AuditLogUnavailable, match="set back"):
        again.sequencer.check(ORG)


async def test_a_log_that_the_database_does_not_know_is_not_written_to(rig: Rig) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    async with rig.database.transaction() as tx:
        await tx.execute(update(AUDIT_LOGS).values(root=b"\x01" * 32))
    again = rig.restarted()
    await record(again.database, "c")
    assert await again.sequencer.round() == 0
    with pytest.raises(AuditLogUnavailable, match="not the one that the database knows"):
        again.sequencer.check(ORG)


async def test_a_lost_key_is_not_replaced_in_silence(rig: Rig) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    (rig.directory / "keys" / f"{ORG}.key").unlink()
    again = rig.restarted()
    await record(again.database, "b")
    assert await again.sequencer.round() == 0
    with pytest.raises(AuditLogUnavailable, match="is gone"):
        again.sequencer.check(ORG)


async def test_a_database_that_was_restored_is_caught_up_from_the_log(rig: Rig) -> None:
    for number in range(5):
        await record(rig.database, str(number))
        await rig.sequencer.drain()
    async with rig.database.transaction() as tx:  # as if from a back-up without the log
        await tx.execute(AUDIT_INDEX.delete())
        await tx.execute(AUDIT_LOGS.delete())
    again = rig.restarted()
    await record(again.database, "5")
    await again.sequencer.drain()
    async with again.database.reading() as tx:
        rows = await tx.rows(select(AUDIT_INDEX.c.object).order_by(AUDIT_INDEX.c.position))
    assert [row["object"] for row in rows] == ["0", "1", "2", "3", "4", "5"]


async def test_a_silent_log_says_that_it_is_alive(rig: Rig, clock: ManualClock) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    await rig.sequencer.care()
    assert await rig.sequencer.drain() == 0
    clock.advance(3601)
    await rig.sequencer.care()
    assert await rig.sequencer.drain() == 1
    assert logged(rig)[-1].action == AuditAction.AUDIT_LOG_CONTINUED


async def test_the_key_is_private_and_rotates(rig: Rig) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    key_file = rig.directory / "keys" / f"{ORG}.key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    first = rig.files.keys(ORG)[0]
    await rig.sequencer.rotate_key(platform_itself(ORG))
    second, rotations = rig.files.keys(ORG)
    assert second != first
    assert len(rotations) == 1
    await record(rig.database, "b")
    await rig.sequencer.drain()
    rig.verify(key=first)  # whoever pinned the first key follows
    rig.verify(key=second)
    again = rig.restarted()
    await again.sequencer.rotate_key(platform_itself(ORG))
    again.verify(key=first)
    actions = [entry.action for entry in logged(again)]
    assert actions.count(AuditAction.AUDIT_KEY_ROTATED) == 2


async def test_a_rotation_that_was_interrupted_is_finished_or_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(rig.database, "a")
    await rig.sequencer.drain()
    first = rig.files.keys(ORG)[0]

    rotate = OpenLog.rotate_key
    for module, place in (
        (directory, "LogWriter.store"),
        (signing_keys, "SigningKeys._take_over"),
        (log_files, "sign_head"),
    ):

        def crash(*_: object, **__: object) -> None:
            raise StorageError("The power went.")

        def rotating(log: OpenLog, *, at: str = f"{module.__name__}.{place}") -> object:
            with monkeypatch.context() as patched:
                patched.setattr(at, crash)
                return rotate(log)

        with monkeypatch.context() as patched:
            patched.setattr(OpenLog, "rotate_key", rotating)
            with pytest.raises(StorageError):
                await rig.sequencer.rotate_key(platform_itself(ORG))
        rig = rig.restarted()
        await record(rig.database, place)
        assert await rig.sequencer.drain() == 1
        rig.verify(key=first)


async def test_cancelling_in_the_middle_of_a_write_leaves_one_history(rig: Rig) -> None:
    for number in range(3):
        await record(rig.database, str(number))
    task = asyncio.get_running_loop().create_task(rig.sequencer.round())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rig.sequencer.drain()
    assert [entry.object for entry in logged(rig)] == ["0", "1", "2"]
    head = rig.files.checkpoint(ORG)
    assert head is not None
    assert unverified_head(head[1]).size == 3


async def test_old_checkpoints_are_thinned_out(rig: Rig, clock: ManualClock) -> None:
    async with rig.database.transaction() as tx:
        await repository.store_checkpoint(tx, ORG, 1, b"old")
    for size in range(2, 8):
        async with rig.database.transaction() as tx:
            await repository.store_checkpoint(tx, ORG, size, b"cosigned")
            await repository.set_note(tx, ORG, size, note=b"cosigned", cosignatures=1)
        clock.advance(20 * 60)

    async def kept() -> list[int]:
        async with rig.database.transaction() as tx:
            await repository.prune_checkpoints(tx)
            found = await repository.checkpoints(tx, ORG, limit=50, before=None, cosigned=False)
        return [stored.size for stored in found]

    assert await kept() == [7, 6, 5, 4, 3, 2]  # of the last day all that are cosigned
    clock.advance(25 * 3600)
    left = await kept()
    assert left[0] == 7
    assert 2 <= len(left) <= 3  # one for each hour
