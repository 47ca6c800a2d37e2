"""`keylease audit` against a server that answers over a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import uvicorn
from tests.support.audit_kit import ORG, Door, Rig, record
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port

from keylease.cli.main import main
from keylease.platform.audit.interfaces import make_audit
from keylease.platform.db.database import Database
from keylease.platform.server.app import create_server
from keylease.platform.server.services import Services


@pytest.fixture
def rig(database: Database, clock: ManualClock, tmp_path: Path) -> Rig:
    return Rig(database, tmp_path / "audit", clock)


@pytest.fixture
async def url(rig: Rig) -> AsyncIterator[str]:
    audit = make_audit(rig.database, directory=rig.directory, clock=rig.clock)
    door = Door(ORG)
    services = SimpleNamespace(  # the other domains' services are no part of this
        clock=rig.clock,
        database=rig.database,
        authenticator=door,
        access=door,
        audit=audit,
        secure=False,
    )
    app = create_server(cast("Services", services), hosts=["localhost"])
    port = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    for number in range(300):
        await record(rig.database, f"object-{number}")
    async with audit.sequencer.running(), asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        await eventually(lambda: server.started and rig.size() == 300, seconds=60)
        yield f"http://localhost:{port}"
        server.should_exit = True


async def test_the_command_line_reads_verifies_and_exports(
    url: str, rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def keylease(*arguments: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, ["audit", *arguments])
        return status, capsys.readouterr().out

    status, out = await keylease("keys", "--server", url)
    assert status == 0
    key = out.strip()
    status, out = await keylease("list", "--server", url, "--limit", "3", "--json")
    assert [json.loads(line)["index"] for line in out.splitlines()] == [299, 298, 297]
    status, out = await keylease("list", "--server", url, "--object", "object-17")
    assert "object-17" in out
    status, out = await keylease("show", "17", "--server", url, "--key", key)
    assert status == 0
    assert json.loads(out)["entry"]["object"] == "object-17"
    assert (await keylease("verify", url, "--key", key))[0] == 3
    kept = tmp_path / "kept"
    kept.write_bytes(rig.files.reader(ORG).read("checkpoint") or b"")
    assert (await keylease("verify", url, "--key", key, "--checkpoint", str(kept)))[0] == 0
    file = tmp_path / "audit.ndjson"
    await keylease("export", str(file), "--server", url, "--checkpoint", str(kept))
    assert (await keylease("verify", str(file), "--key", key, "--checkpoint", str(kept)))[0] == 0
    part = str(tmp_path / "part.ndjson")
    named = ("--object", "object-17", "--checkpoint", str(kept))
    await keylease("export", part, "--server", url, *named)
    status, out = await keylease("verify", part, "--key", key, "--checkpoint", str(kept))
    assert status == 0
    assert "a part of the log: 1 entries" in out
    bundle = rig.files.reader(ORG).path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"object-17", b"object-71"))
    assert (await keylease("verify", url, "--key", key))[0] == 1
    assert (await keylease("show", "17", "--server", url, "--key", key))[0] == 1


async def test_a_server_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    server = f"http://localhost:{free_port()}"
    assert await asyncio.to_thread(main, ["audit", "list", "--server", server]) == 69
    assert "cannot be reached" in capsys.readouterr().err
