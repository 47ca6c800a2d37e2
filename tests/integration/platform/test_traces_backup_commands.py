"""`keylease traces backup` and `restore`, in processes of their own as people run them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.furnished import bearer, client, first_tenant, tenant
from tests.support.ports import free_port
from tests.support.serving_platform import ServingPlatform, serving_platform
from tests.support.trace_kit import put

from keylease.cli.main import main
from keylease.primitives.tasks import TaskOwner

FILLED = """
import sys
from pathlib import Path
from keylease.platform.traces.store.columns import spans_table
from keylease.platform.traces.store.store import open_embedded
from tests.support.trace_kit import NOW, plainly, raw_span

store = open_embedded(Path(sys.argv[1]))
row = plainly(
    raw_span(),
    organization_id="o",
    project_id="p",
    source="otlp",
    xact_id=NOW * 1000,
    received_at=NOW,
).span
store.engine.insert(store.layout.table("spans"), spans_table([row]))
store.close()
"""


def keylease(*arguments: str, data: Path) -> tuple[int, str]:
    line = [sys.executable, "-m", "keylease", "traces", *arguments, "--data-dir", str(data)]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ran.stdout == ""
    return ran.returncode, ran.stderr


def test_a_store_is_copied_and_made_again(tmp_path: Path) -> None:
    data, copy, other = tmp_path / "data", tmp_path / "copy", tmp_path / "other"
    place = data / "platform" / "traces" / "store"
    status, said = keylease("backup", str(copy), data=data)
    assert (status, "There is no trace store" in said) == (64, True), said
    place.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", FILLED, str(place)], check=True)

    with (place / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        nobody = f"http://127.0.0.1:{free_port()}"
        status, said = keylease("backup", str(copy), "--server", nobody, data=data)
        assert (status, "The store is in use, and no server answers" in said) == (1, True), said
        assert not copy.exists()

    status, said = keylease("backup", str(copy), data=data)
    assert (status, "are copied" in said) == (0, True), said
    status, said = keylease("restore", str(copy), data=other)
    assert (status, "The store is restored" in said) == (0, True), said
    rows = other / "platform" / "traces" / "store" / "engine"
    assert any(path.name == "count.txt" for path in rows.rglob("*"))
    status, said = keylease("restore", str(copy), data=other)
    assert (status, "is not empty" in said) == (1, True), said


ROWS = """
import sys
from pathlib import Path
from keylease.platform.traces.store.store import open_embedded

store = open_embedded(Path(sys.argv[1]))
for (name,) in store.select("SELECT name FROM spans FINAL").rows:
    print(name)
store.close()
"""


class Ingest:
    """Takes spans into a project all the time, and knows which were acknowledged."""

    def __init__(self, platform: ServingPlatform) -> None:
        self.platform = platform
        self.acknowledged: list[str] = []
        self._tasks = TaskOwner(self._failed)
        self.error: BaseException | None = None

    async def start(self) -> None:
        self._tasks.start(self._take(), name="ingest")

    async def _take(self) -> None:
        services, organization_id = self.platform.services, self.platform.owner.organization_id
        (project_id, *_) = await services.traces.projects.all_of(organization_id)
        intake = (await services.traces.keeping()).intake
        number = 0
        while True:
            number += 1
            name = f"span {number}"
            await intake.take(organization_id, project_id, [put(number, name=name)])
            self.acknowledged.append(name)
            await asyncio.sleep(0.001)

    def _failed(self, error: BaseException) -> None:
        self.error = error

    async def stop(self) -> None:
        await self._tasks.close()


def test_a_running_server_copies_what_it_has_acknowledged_while_more_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy, key = tmp_path / "data", tmp_path / "copies" / "first", tmp_path / "key"
    data.mkdir()
    with serving_platform(data / "platform") as platform:
        services = platform.services
        owner = platform.do(lambda: first_tenant(services))
        own = platform.do(lambda: bearer(services, owner))
        key.write_text(own.removeprefix("Bearer "))

        def ran(*words: str, status: int = 0) -> str:
            line = ["traces", *words, "--server", platform.url, "--api-key-file", str(key)]
            got = main(line)
            said = capsys.readouterr()
            assert got == status, said.err
            return said.out + said.err

        here = ("--data-dir", str(data))
        assert "There is no trace store" in ran("backup", str(copy), *here, status=64)
        ingest = Ingest(platform)
        platform.do(ingest.start)
        while len(ingest.acknowledged) < 100:
            assert ingest.error is None
        before = list(ingest.acknowledged)
        assert "are copied" in ran("backup", str(copy), *here)
        assert len(ingest.acknowledged) > len(before)
        platform.do(ingest.stop)
        assert ingest.error is None
        # It was moved to where it was wanted. Without a directory it stays where it was made.
        assert ran("backups", "--json").strip() == "[]"
        assert "exists already" in ran("backup", str(copy), *here, status=1)
        (said,) = [line for line in ran("backup").splitlines() if line.startswith("/")]
        place = Path(said)
        assert place.parent == data / "platform" / "traces" / "backups"
        elsewhere = ("--data-dir", str(tmp_path / "other"))
        assert "There is no trace store" in ran("backup", str(copy), *elsewhere, status=64)
        (listed,) = json.loads(ran("backups", "--json"))
        assert (listed["id"], listed["state"]) == (place.name, "done")
        assert listed["done_bytes"] == listed["total_bytes"] > 0
        assert place.name in ran("backups")
        assert "is removed" in ran("backups", "--remove", place.name)
        assert not place.exists()
        assert ran("backups") == "There is none.\n"
        platform.do(lambda: _others_are_refused(platform, own))
    with pytest.raises(AssertionError):
        ran("backup")
    status, said = keylease("restore", str(copy), data=tmp_path / "again")
    assert status == 0, said
    restored = tmp_path / "again" / "platform" / "traces" / "store"
    line = [sys.executable, "-c", ROWS, str(restored)]
    names = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(names) == len(set(names))
    assert set(before) <= set(names) <= set(ingest.acknowledged)


async def _others_are_refused(platform: ServingPlatform, own: str) -> None:
    services = platform.services
    zebra = await tenant(services, "Zebra")
    async with client(services, await bearer(services, zebra)) as stranger:
        answer = await stranger.post("/v1/trace-store/backups")
        assert answer.status_code == httpx.codes.FORBIDDEN, answer.text
        assert answer.json()["code"] == "permission_denied"
    wanted = ["trace_store.backup_removed", "trace_store.backed_up", "trace_store.backed_up"]
    actions: list[str] = []
    async with asyncio.timeout(30), client(services, own) as api:
        while actions != wanted:  # entries are sequenced after their change
            found = await api.get("/v1/audit/entries")
            actions = [item["entry"]["action"] for item in found.json()["items"]]
            actions = [action for action in actions if action.startswith("trace_store.")]
