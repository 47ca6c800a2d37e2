"""What takes long leaves room for the rest; a server that is away stops no span."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.trace_kit import MemoryStore, put

from keylease.errors import TraceStoreTooNew, TraceStoreUnavailable
from keylease.platform.traces import keeping
from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.platform.traces.keeping import Keeping, kept
from keylease.platform.traces.project_settings import InForce
from keylease.platform.traces.store.address import StoreServer, server_address


async def test_long_reads_never_take_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    with ThreadPoolExecutor(4) as readers:
        kept = Keeping(
            reached=cast("Any", None), intake=cast("Any", None), directory=Path(), readers=readers
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(kept.read_long(lambda: may_end.wait(60))) for _ in range(2)]
            abandoned = group.create_task(kept.read_long(lambda: may_end.wait(60)))
            await asyncio.sleep(0)
            assert await kept.read(lambda: "soon") == "soon"
            abandoned.cancel()  # while it waits: nothing is taken, and nothing given back
            monkeypatch.setattr(keeping, "_WAIT_SECONDS", 0.0)
            with pytest.raises(TraceStoreUnavailable):
                await kept.read_long(lambda: "never")
            monkeypatch.undo()
            may_end.set()
            assert [await task for task in tasks] == [True, True]
            assert await kept.read_long(lambda: "later") == "later"


class Away(MemoryStore):
    """A store on a server that can be away."""

    closed = False

    def close(self) -> None:
        self.closed = True


@contextlib.asynccontextmanager
async def kept_on_a_server(directory: Path, clock: ManualClock) -> AsyncIterator[Keeping]:
    server = StoreServer(address=server_address("clickhouse://ada@db.example"))
    async with kept(
        directory,
        server=server,
        clock=clock,
        in_force=InForce(),
        keys=FingerprintKeyring(directory / "keys"),
        on_finding=lambda _: None,
    ) as opened:
        yield opened


async def test_spans_are_taken_while_the_server_is_away_from_the_start(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, away = Away(), [True]

    def make(*_: object) -> Away:
        if away[0]:
            raise TraceStoreUnavailable("The ClickHouse server does not answer.")
        return store

    monkeypatch.setattr(keeping, "_open", make)
    monkeypatch.setattr(keeping, "_AGAIN_SECONDS", 0.01)
    # 1. Before the server was ever asked nothing can be taken.
    with pytest.raises(TraceStoreUnavailable, match="does not answer"):
        async with kept_on_a_server(tmp_path, clock):
            pass
    # 2. Once it was, the log knows how far transactions are.
    away[0] = False
    async with kept_on_a_server(tmp_path, clock) as open_one:
        first = await open_one.intake.take("o", "p", [put(1, name="before")])
        await open_one.intake.settled(first)
        assert open_one.trouble is None
    assert store.closed
    # 3. A start without the server: taken, durable, and not to be read.
    away[0] = True
    async with kept_on_a_server(tmp_path, clock) as closed_one:
        second = await closed_one.intake.take("o", "p", [put(2, name="meanwhile")])
        assert second > first
        with pytest.raises(TraceStoreUnavailable, match="does not answer"):
            _ = closed_one.store
        assert closed_one.trouble is not None
    # 4. A start without it, and it comes back: everything is there.
    async with kept_on_a_server(tmp_path, clock) as late:
        third = await late.intake.take("o", "p", [put(3, name="then")])
        away[0] = False
        await late.intake.settled(third, seconds=60)
        assert cast("object", late.store) is store
        assert late.trouble is None
    assert store.names == ["before", "meanwhile", "then"]


async def test_a_store_that_is_too_new_is_not_waited_for(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: object) -> Away:
        raise TraceStoreTooNew("It has schema 99.")

    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mark").touch()
    monkeypatch.setattr(keeping, "_open", make)
    with pytest.raises(TraceStoreTooNew):
        async with kept_on_a_server(tmp_path, clock):
            pass
