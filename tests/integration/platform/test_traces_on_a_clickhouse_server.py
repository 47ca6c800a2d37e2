"""`keylease server` with its spans on a ClickHouse server, which goes away and comes back."""

from __future__ import annotations

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
from tests.support.clickhouse_server import PASSWORD, running_clickhouse
from tests.support.platform_doors import Doors
from tests.support.platform_process import running_platform
from tests.support.ports import free_port, terminated
from tests.support.supervised import wait_until
from tests.support.trace_kit import export

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
        self.flags = (
            "--trace-store-url", f"clickhouse://writer@127.0.0.1:{self.store_port}/spans_of_acme",
            "--trace-store-password-file", str(self.password),
        )  # fmt: skip
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS)
        self.ingest = self.read = self.project = ""

    def set_up(self) -> None:
        """An owner, two keys and a project, with a server that needs no store for them."""
        with running_platform(self.data / "platform", port=self.port) as platform:
            owner = Doors(platform.url)
            with owner.api:
                owner.set_up(platform.ready.sign_in_link)
                self.ingest = made(owner, "ingest", "trace:ingest", kind="ingest")
                self.read = made(owner, "reader", "trace:read", "trace:manage", "trust:read")
                self.project = owner.ask("GET", "/v1/projects")["items"][0]["id"]

    @contextlib.contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        """`keylease server`, as a service manager runs it."""
        line = [sys.executable, "-m", "keylease", "server", "--data-dir", str(self.data)]
        line += ["--config-dir", str(self.directory), "--port", str(self.port), *self.flags]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
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

    def names(self) -> set[str]:
        answer = self.ask(f"/v1/projects/{self.project}/spans")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return set()
        assert answer.is_success, answer.text
        return {item["name"] for item in answer.json()["items"]}

    def refused(self) -> str:
        answer = self.ask(f"/v1/projects/{self.project}/spans")
        return str(answer.json()["code"]) if answer.status_code == 503 else ""

    def store(self) -> dict[str, Any]:
        return dict(self.ask("/v1/trace-store").json())


def made(owner: Doors, name: str, *permissions: str, kind: str = "api") -> str:
    wish = {"name": name, "kind": kind, "permissions": list(permissions)}
    answer = owner.ask("POST", "/v1/api-keys", wish)
    return next(str(value) for value in answer.values() if str(value).startswith("kl_"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    place.set_up()
    with place.api:
        yield place


def test_spans_outlive_a_store_that_is_away(place: Place, tmp_path: Path) -> None:
    clickhouse = tmp_path / "clickhouse"
    # 1. A server that was never asked cannot be waited for: nothing is acknowledged.
    with place.server():
        assert place.send("refused") == httpx.codes.SERVICE_UNAVAILABLE
        assert place.store()["trouble"] == "trace_store_unavailable"
        assert f"127.0.0.1:{place.store_port}" in place.store()["message"]
    with running_clickhouse(clickhouse, port=place.store_port), place.server() as server:
        wait_until(lambda: place.send("first") == httpx.codes.OK, seconds=SECONDS)
        wait_until(lambda: "first" in place.names(), seconds=SECONDS)
        state = place.store()
        assert state["state"] == "open"
        assert "ClickHouse server clickhouse://writer@127.0.0.1" in state["place"]
        assert not (place.data / "platform" / "traces" / "store").exists()
        # The password is in no list of processes, and in no file of the platform.
        assert PASSWORD.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        first = server.pid
    # 2. It goes away, while the server is started anew: taken, durable, and not to be read.
    with place.server() as server:
        assert server.pid != first
        wait_until(lambda: place.send("second") == httpx.codes.OK, seconds=SECONDS)
        assert place.refused() == "trace_store_unavailable"
        assert place.store()["state"] == "unavailable"
        # 3. It comes back: everything is there, once.
        with running_clickhouse(clickhouse, port=place.store_port):
            wait_until(lambda: place.names() == {"first", "second"}, seconds=SECONDS)
            wait_until(lambda: place.store()["state"] == "open", seconds=SECONDS)
        # 4. It goes away under a server that has it open.
        wait_until(lambda: place.refused() == "trace_store_unavailable", seconds=SECONDS)
        assert place.send("third") == httpx.codes.OK
        with running_clickhouse(clickhouse, port=place.store_port):
            wait_until(lambda: place.names() == {"first", "second", "third"}, seconds=SECONDS)
    for file in (place.data / "platform").rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes()
    assert PASSWORD not in place.said
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
