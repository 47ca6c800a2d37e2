"""Back-ups by the server: one at a time, with what was acknowledged; a failure leaves nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.manual_clock import ManualClock

from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import (
    KeyleaseError,
    ResourceConflict,
    ResourceNotFound,
    StorageFull,
    TraceStoreUnavailable,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.traces.backing_up import BACKUPS, BackUps, TraceBackup
from keylease.platform.traces.store import backup
from keylease.platform.traces.store.backup_files import Manifest, finished, partial_of

OWNER = Caller(
    principal=Principal(PrincipalKind.USER, "01900000-0000-7000-8000-000000000002"),
    organization_id="01900000-0000-7000-8000-000000000001",
)


class Pretended:
    """A store that is copied in steps that the test decides on."""

    def __init__(self) -> None:
        self.applied, self.last_logged = 5, 5
        self.trouble: KeyleaseError | None = None
        self.error: Exception | None = None
        self.waited_for = asyncio.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.intake = self.log = self.store = self

    async def settled(self, xact_id: int, *, seconds: float) -> None:
        del xact_id, seconds
        self.waited_for.set()
        await asyncio.sleep(0.001)
        raise TraceStoreUnavailable("Not yet.")

    def back_up(
        self,
        store: object,
        directory: Path,
        target: Path,
        *,
        clock: ManualClock,
        progress: Callable[[int, int], None],
        reserve: int,
    ) -> Manifest:
        assert (store, directory.name) == (self, "store")
        assert reserve > 0
        progress(1, 2)
        while not self.may_go_on.wait(0.01):
            progress(1, 2)
        if self.error is not None:
            raise self.error
        partial = partial_of(target)
        partial.mkdir()
        manifest = Manifest(
            format=1, store_id="s", schema=1, taken_at=clock.now(), applied=7, size=2, files=[]
        )
        finished(partial, target, manifest)
        return manifest


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    store = Pretended()
    monkeypatch.setattr(backup, "back_up", store.back_up)
    return store


@pytest.fixture
async def backups(
    database: Database, clock: ManualClock, tmp_path: Path, pretended: Pretended
) -> AsyncIterator[BackUps]:
    made = opened(database, clock, tmp_path, pretended)
    yield made
    pretended.may_go_on.set()
    await made.close()


def opened(
    database: Database,
    clock: ManualClock,
    directory: Path,
    store: Pretended,
    *,
    is_embedded: bool = True,
) -> BackUps:
    async def needed() -> Any:  # noqa: ANN401 - a stand-in
        return SimpleNamespace(intake=store, store=store, trouble=store.trouble)

    return BackUps(
        database,
        cast("Any", needed),
        clock=clock,
        directory=directory,
        is_embedded=is_embedded,
    )


async def ended(backups: BackUps, backup_id: str) -> str:
    await shows(backups, backup_id, lambda one: one.state not in {"waiting", "copying"})
    return (await backups.read(backup_id)).state


async def shows(backups: BackUps, backup_id: str, wanted: Callable[[TraceBackup], bool]) -> None:
    async with asyncio.timeout(30):
        while not wanted(await backups.read(backup_id)):  # noqa: ASYNC110 - a thread works on it
            await asyncio.sleep(0.005)


async def test_one_is_made_at_a_time_and_listed_until_it_is_removed(
    backups: BackUps, pretended: Pretended, clock: ManualClock, tmp_path: Path
) -> None:
    pretended.may_go_on.clear()
    begun = await backups.start(OWNER)
    assert begun.state in {"waiting", "copying"}
    with pytest.raises(ResourceConflict, match="is being made"):
        await backups.start(OWNER)
    with pytest.raises(ResourceConflict, match="is being made"):
        await backups.remove(OWNER, begun.id)
    await shows(backups, begun.id, lambda one: one.total_bytes == 2)
    (shown,) = await backups.listed()
    assert (shown.state, shown.done_bytes) == ("copying", 1)
    pretended.may_go_on.set()
    assert await ended(backups, begun.id) == "done"
    taken_at = clock.now()
    clock.advance(1)
    second = await backups.start(OWNER)
    assert await ended(backups, second.id) == "done"
    (tmp_path / BACKUPS / "0").mkdir()  # somebody's, without a manifest
    listed = await backups.listed()
    assert [one.id for one in listed] == [second.id, begun.id, "0"]
    assert [one.state for one in listed] == ["done", "done", "damaged"]
    assert (listed[1].applied, listed[1].taken_at, listed[1].done_bytes) == ("7", taken_at, 2)
    await backups.remove(OWNER, begun.id)
    assert sorted(path.name for path in (tmp_path / BACKUPS).iterdir()) == ["0", second.id]
    with pytest.raises(ResourceNotFound):
        await backups.remove(OWNER, begun.id)


async def test_one_that_is_finished_while_the_list_is_made_is_in_it(
    backups: BackUps, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended.may_go_on.clear()
    begun = await backups.start(OWNER)
    await shows(backups, begun.id, lambda one: one.state == "copying")

    def before_it_has_its_name() -> Iterator[Path]:
        pretended.may_go_on.set()
        deadline = time.monotonic() + 30
        while backups._attempt is not None and backups._attempt.is_under_way:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return iter(())

    monkeypatch.setattr(backups, "_found", before_it_has_its_name)
    assert [one.id for one in await backups.listed()] == [begun.id]
    # And one that is taken away while the list is made is not called damaged.
    monkeypatch.setattr(backups, "_found", lambda: [Path("/nowhere")])
    assert await backups.listed() == []


async def test_what_is_acknowledged_is_waited_for(backups: BackUps, pretended: Pretended) -> None:
    pretended.last_logged = 9
    begun = await backups.start(OWNER)
    await pretended.waited_for.wait()
    assert (await backups.read(begun.id)).state == "waiting"
    pretended.last_logged = 20  # what comes later is not
    pretended.applied = 9
    assert await ended(backups, begun.id) == "done"


@pytest.mark.parametrize("late", [False, True])
async def test_what_cannot_be_copied_is_said_and_may_be_tried_again(
    backups: BackUps, pretended: Pretended, clock: ManualClock, *, late: bool
) -> None:
    if late:
        pretended.last_logged = 9
        begun = await backups.start(OWNER)
        await pretended.waited_for.wait()
        clock.advance(3600)
    else:
        pretended.error = StorageFull("There is no room.")
        begun = await backups.start(OWNER)
    assert await ended(backups, begun.id) == "failed"
    failed = await backups.read(begun.id)
    said = (
        ("trace_store_unavailable", "Not yet.") if late else ("storage_full", "There is no room.")
    )
    assert (failed.code, failed.message) == said
    pretended.last_logged, pretended.error = 5, None
    again = await backups.start(OWNER)
    assert await ended(backups, again.id) == "done"
    assert [one.id for one in await backups.listed()] == [again.id]


async def test_a_store_in_trouble_is_not_waited_for(
    database: Database, clock: ManualClock, tmp_path: Path, pretended: Pretended
) -> None:
    pretended.last_logged, pretended.trouble = 9, StorageFull("There is no room.")
    backups = opened(database, clock, tmp_path, pretended)
    begun = await backups.start(OWNER)
    assert await ended(backups, begun.id) == "failed"
    assert (await backups.read(begun.id)).code == "storage_full"
    await backups.remove(OWNER, begun.id)
    assert await backups.listed() == []
    await backups.close()


async def test_a_server_that_stops_ends_it(backups: BackUps, pretended: Pretended) -> None:
    pretended.may_go_on.clear()
    begun = await backups.start(OWNER)
    await shows(backups, begun.id, lambda one: one.total_bytes == 2)
    async with asyncio.timeout(30):
        await backups.close()
    assert (await backups.read(begun.id)).state == "failed"


async def test_a_clickhouse_server_makes_its_own(
    database: Database, clock: ManualClock, tmp_path: Path, pretended: Pretended
) -> None:
    elsewhere = opened(database, clock, tmp_path, pretended, is_embedded=False)
    with pytest.raises(ResourceConflict, match="makes its own back-ups"):
        await elsewhere.start(OWNER)
    assert await elsewhere.listed() == []


async def test_what_an_interrupted_one_left_is_removed_at_the_start(
    database: Database, clock: ManualClock, tmp_path: Path, pretended: Pretended
) -> None:
    left = partial_of(tmp_path / BACKUPS / "1")
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"x")
    (tmp_path / BACKUPS / "2").mkdir()
    backups = opened(database, clock, tmp_path, pretended)
    assert [one.id for one in await backups.listed()] == ["2"]
    backups.clean()
    assert [path.name for path in (tmp_path / BACKUPS).iterdir()] == ["2"]
