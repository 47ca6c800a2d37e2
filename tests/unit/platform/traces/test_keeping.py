"""What takes long leaves room for the rest."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from keylease.errors import TraceStoreUnavailable
from keylease.platform.traces import keeping
from keylease.platform.traces.keeping import Keeping


async def test_long_reads_never_take_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    with ThreadPoolExecutor(4) as readers:
        kept = Keeping(
            store=cast("Any", None), intake=cast("Any", None), directory=Path(), readers=readers
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
