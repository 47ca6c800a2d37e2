"""`keylease up` with its server: killed under traffic, and started again where it was."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.support.platform_doors import Doors
from tests.support.ports import free_port
from tests.support.simulated_provider import RunningSimulator, simulator
from tests.support.supervised import READY_SECONDS, STOP_SECONDS, Home, wait_until

from keylease.errors import GatewayNotRunning
from keylease.strongroom.config_files.default_files import gateway_text

__all__ = ["simulator"]
MODEL = "gpt-4o-mini"
CALLS = 10
PAUSE_SECONDS = 0.12
"""Between two calls: the first policy allows 600 a minute, however long the server takes."""


class Installation:
    """One home on ports that stay the same, with the provider simulated."""

    def __init__(self, directory: Path, provider: RunningSimulator) -> None:
        self.home = Home(directory)
        self.port, self.server_port = free_port(), free_port()
        self.server = f"http://localhost:{self.server_port}"
        self.key = f"sk-test-{secrets.token_hex(16)}"
        provider.accept_key(self.key.encode())
        origin = provider.openai_url.removesuffix("/v1")
        self.upstream = f"{origin}/v1"
        line = 'provider = "openai"\n'
        text = gateway_text(platform_url=self.server)
        text = text.replace(line, f'{line}hosts = ["{origin}"]\n')
        (self.home.config / "gateway.toml").write_text(text)

    @contextlib.contextmanager
    def up(self, name: str) -> Iterator[int]:
        """Run it until the block ends; gives the supervisor's pid. It ends well."""
        ports = ("--port", str(self.port), "--server-port", str(self.server_port))
        process = self.home.start(name, "up", *ports, OPENAI_API_KEY=self.key)
        try:
            wait_until(
                lambda: "Ctrl-C stops it." in self.home.said(name) or process.poll() is not None,
                seconds=READY_SECONDS,
            )
            assert process.poll() is None, self.home.said(name)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=STOP_SECONDS) == 0, self.home.said(name)
            assert process.stdin is not None
            process.stdin.close()

    def lead_to_the_simulator(self, owner: Doors) -> None:
        """Change the upstream in the first policy, and publish that."""
        (credential,) = owner.ask("GET", "/v1/credentials?name=openai")["items"]
        path = f"/v1/credentials/{credential['id']}"
        members = ("name", "provider", "reference", "purposes", "environment", "owner")
        content = {member: credential[member] for member in members}
        content["upstream"] = self.upstream
        etag = owner.api.get(path).headers["etag"]
        owner.ask("PUT", path, content, **{"if-match": etag})
        draft = owner.api.get("/v1/policy").headers["etag"]
        owner.ask("POST", "/v1/policy/publish", {}, **{"if-match": draft})

    def call(self, lease: str) -> int:
        return httpx.post(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            headers={"authorization": f"Bearer {lease}"},
            json={"model": MODEL, "messages": [{"role": "user", "content": "hello"}]},
            timeout=60,
        ).status_code

    def lease(self) -> str:
        with contextlib.suppress(GatewayNotRunning):
            return self.home.lease()
        return ""

    def serves(self) -> bool:
        lease = self.lease()
        return bool(lease) and self.call(lease) == httpx.codes.OK

    def server_answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.server}/status").is_success
        return False


def server_of(supervisor: int) -> int:
    """The pid of the server that a supervisor has started; 0 while there is none."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for pid in map(int, children):
        with contextlib.suppress(FileNotFoundError):
            if b"keylease.platform" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


@contextlib.contextmanager
def traffic(installation: Installation) -> Iterator[list[int]]:
    """Calls one after the other, as long as the block lasts; gives the status of each."""
    lease, seen, over = installation.lease(), list[int](), threading.Event()

    def calls() -> None:
        while not over.wait(PAUSE_SECONDS):
            seen.append(installation.call(lease))

    thread = threading.Thread(target=calls)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_server_that_is_killed_and_a_second_start(
    tmp_path: Path, simulator: RunningSimulator
) -> None:
    place = Installation(tmp_path, simulator)
    owner = Doors(place.server)
    with owner.api:
        with place.up("first") as supervisor:
            found = re.search(r"http://\S+/sign-in/link#\S+", place.home.said("first"))
            assert found, place.home.said("first")
            owner.set_up(found[0])
            place.lead_to_the_simulator(owner)
            owner.ask("POST", "/v1/projects", {"name": "kept"})
            wait_until(place.serves)
            # 1. The server is killed under traffic: no call fails, and it comes back.
            with traffic(place) as seen:
                wait_until(lambda: len(seen) > CALLS)
                killed = server_of(supervisor)
                os.kill(killed, signal.SIGKILL)
                before = len(seen)
                wait_until(lambda: server_of(supervisor) not in {0, killed}, seconds=60)
                wait_until(place.server_answers, seconds=60)
                assert len(seen) > before
                wait_until(lambda: len(seen) > before + CALLS)
            assert set(seen) == {httpx.codes.OK}
            assert "kept" in names(owner)
        # 2. A second start on the same directories is the same installation.
        with place.up("second"):
            assert "/sign-in/link#" not in place.home.said("second"), "the owner has set up already"
            wait_until(place.serves)
            assert "kept" in names(owner)
            # What was called before the end has arrived, too.
            wait_until(lambda: owner.ask("GET", "/v1/calls")["items"])


def names(owner: Doors) -> set[str]:
    return {project["name"] for project in owner.ask("GET", "/v1/projects")["items"]}
