"""`keylease server` with its spans on a ClickHouse server, which goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.certificates import certificate
from tests.support.clickhouse_server import PASSWORD, running_clickhouse
from tests.support.furnished import first_tenant, founded
from tests.support.home_databases import database_of, told_of
from tests.support.ports import free_port, terminated
from tests.support.supervised import wait_until
from tests.support.trace_kit import export

from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.primitives.clock import SystemClock

SECONDS = 60


class Place:
    """One data directory, and the ClickHouse server that its settings name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(mode=0o700)
        self.password = directory / "password"
        self.password.write_text(f"{PASSWORD}\n")
        self.password.chmod(0o600)
        self.store_port, self.port = free_port(), free_port()
        self.tls = certificate(directory, "127.0.0.1")
        address = f"https://writer@127.0.0.1:{self.store_port}/spans_of_acme"
        self.flags = (
            "--trace-store-url", f"{address}?ca_cert={self.tls[0]}",
            "--trace-store-password-file", str(self.password),
        )  # fmt: skip
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS)
        self.ingest = self.read = self.project = ""

    async def set_up(self) -> None:
        """Two keys and a project, as an owner would make them."""
        clock, platform = SystemClock(), self.data / "platform"
        platform.mkdir(mode=0o700)
        database = Database(database_of(platform), clock=clock)
        async with founded(database, clock, platform) as services:
            owner = await first_tenant(services)
            keys = services.identity.api_keys
            wish = NewApiKey(name="in", permissions=("trace:ingest",), kind=ApiKeyKind.INGEST)
            self.ingest = (await keys.create(owner.owner, wish)).text
            wish = NewApiKey(name="out", permissions=("trace:read", "trace:manage", "trust:read"))
            self.read = (await keys.create(owner.owner, wish)).text
            self.project = (await services.traces.projects.all_of(owner.organization_id))[0]
        await database.close()

    @contextlib.contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        """`keylease server`, as a service manager runs it."""
        line = [sys.executable, "-m", "keylease", "server", "--data-dir", str(self.data)]
        line += ["--config-dir", str(self.directory), "--port", str(self.port), *self.flags]
        told = told_of(self.data / "platform")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        environment |= {f"KEYLEASE_{name.upper()}": value for name, value in told.items()}
        with (self.directory / "server.log").open("ab") as log:
            process = subprocess.Popen(line, env=environment, stdout=log, stderr=log)
        with terminated(process):
            wait_until(lambda: process.poll() is not None or self.answers(), seconds=SECONDS)
            assert process.poll() is None, self.said
            yield process

    def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.api.get("/healthz").is_success
        return False

    @property
    def said(self) -> str:
        return (self.directory / "server.log").read_text()

    def send(self, name: str) -> int:
        request = export(name)
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.trace_id, span.span_id = secrets.token_bytes(16), secrets.token_bytes(8)
        headers = {"authorization": f"Bearer {self.ingest}"}
        headers["content-type"] = "application/x-protobuf"
        body = request.SerializeToString()
        return self.api.post("/v1/traces", content=body, headers=headers).status_code

    def ask(self, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.read}"}
        return self.api.get(path, headers=headers)

    def back_up(self) -> str:
        headers = {"authorization": f"Bearer {self.read}"}
        return str(self.api.post("/v1/trace-store/backups", headers=headers).json()["code"])

    def names(self) -> set[str]:
        answer = self.ask(f"/v1/projects/{self.project}/spans")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return set()
        assert answer.is_success, answer.text
        names = [item["name"] for item in answer.json()["items"]]
        assert len(names) == len(set(names))
        return set(names)

    def refused(self) -> str:
        answer = self.ask(f"/v1/projects/{self.project}/spans")
        return str(answer.json()["code"]) if answer.status_code == 503 else ""

    def store(self) -> dict[str, Any]:
        return dict(self.ask("/v1/trace-store").json())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    asyncio.run(place.set_up())
    with place.api:
        yield place


def test_spans_outlive_a_store_that_is_away(place: Place, tmp_path: Path) -> None:
    clickhouse = tmp_path / "clickhouse"
    # 1. What is sent is there, and the server says where.
    with contextlib.ExitStack() as servers:
        with running_clickhouse(clickhouse, port=place.store_port, tls=place.tls):
            server = servers.enter_context(place.server())
            assert place.send("first") == httpx.codes.OK
            wait_until(lambda: "first" in place.names(), seconds=SECONDS)
            state = place.store()
            assert state["state"] == "open"
            assert "ClickHouse server clickhouse://writer@127.0.0.1" in state["place"]
            assert state["place"].endswith("(TLS)")
            assert place.back_up() == "conflict"
            assert not (place.data / "platform" / "traces" / "store").exists()
            # The password is in no list of processes.
            assert PASSWORD.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        # 2. It goes away under a server that has it open: taken, durable, and not to be read.
        wait_until(lambda: place.refused() == "trace_store_unavailable", seconds=SECONDS)
        assert place.send("second") == httpx.codes.OK
    # 3. The same from the start on, because the log knows how far the store was.
    with place.server():
        wait_until(lambda: place.send("third") == httpx.codes.OK, seconds=SECONDS)
        assert place.refused() == "trace_store_unavailable"
        assert place.store()["state"] == "unavailable"
        # 4. It comes back: everything is there, once.
        with running_clickhouse(clickhouse, port=place.store_port, tls=place.tls) as store:
            wait_until(lambda: place.names() == {"first", "second", "third"}, seconds=SECONDS)
            wait_until(lambda: place.store()["state"] == "open", seconds=SECONDS)
            # 5. Its user gets another password, and the file has it: nobody is refused.
            changed = secrets.token_hex(8)
            place.password.write_text(changed)
            store.change_password(changed)
            assert place.send("fourth") == httpx.codes.OK
            wait_until(lambda: "fourth" in place.names(), seconds=SECONDS)
        assert place.said.count("trace_store_password_read_again") == 1
    for file in (place.data / "platform").rglob("*"):
        for password in (PASSWORD, changed):
            assert not file.is_file() or password.encode() not in file.read_bytes()
    assert PASSWORD not in place.said
    assert changed not in place.said
    assert "Http Driver" not in place.said  # our own words, and not the library's
    assert "Traceback" not in place.said


def test_a_password_in_the_address_stops_the_start(tmp_path: Path) -> None:
    secret = secrets.token_hex(8)
    line = [sys.executable, "-m", "keylease", "server", "--data-dir", str(tmp_path / "data")]
    line += ["--config-dir", str(tmp_path)]
    line += ["--trace-store-url", f"clickhouse://ada:{secret}@db.example"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 64
    assert re.search(r"contains a password.*\n.*trace_store_password_file", ran.stderr)
    assert secret not in ran.stdout + ran.stderr
    assert not (tmp_path / "data" / "platform").exists()
