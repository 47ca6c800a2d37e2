"""P1: asking whether found keys work leaves none behind. A key is in the request to its provider,
and in no argument, file, variable, output or answer beside it; and it goes to no other host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.canaries import Family, plant, search_bytes, search_files, search_process
from tests.support.planting import characters
from tests.support.planting import plant as write
from tests.support.simulated_provider import RunningSimulator, running_simulator

from keylease.simulator.failures import Failure, FailureKind


class Tried:
    """A tree with keys, and a home with a gateway.toml that says where the providers are."""

    def __init__(self, folder: Path, simulator: RunningSimulator) -> None:
        self.family = Family()
        self.simulator = simulator
        self.tree, self.home = folder / "tree", folder / "home"
        self.temporary, self.written = folder / "tmp", folder / "written"
        for path in (self.tree, self.home, self.temporary, self.written):
            path.mkdir()
        write(
            self.home,
            {
                ".keylease/gateway.toml": f"""
version = 1
[[verification]]
provider = "openai"
url = "{simulator.openai_url.removesuffix("/v1")}"
allow_private_address = true
[[verification]]
provider = "anthropic"
url = "{simulator.anthropic_url}"
allow_private_address = true
""",
            },
        )
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "KEYLEASE_CONFIG_DIR": str(self.home / ".keylease"),
            "KEYLEASE_DATA_DIR": str(self.home / ".keylease"),
        }
        self.talk: list[bytes] = []

    def openai(self) -> str:
        body = self.family.core.decode() + characters(50) + "T3Blbk" + "FJ" + characters(74)
        return "sk-" + "proj-" + body

    def anthropic(self) -> str:
        return "sk-" + "ant-" + "api03-" + self.family.core.decode() + characters(69) + "AA"

    def command(self, *arguments: str) -> list[str]:
        tree = str(self.tree)
        return [sys.executable, "-m", "keylease", "--debug", "scan", tree, *arguments]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        result = subprocess.run(
            self.command(*arguments),
            env={**self.environment, **variables},
            cwd=self.written,
            capture_output=True,
            check=False,
            timeout=120,
        )
        self.talk += [result.stdout, result.stderr]
        return result

    def findings(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """By the name of the file they lie in."""
        result = self.run("--verify", "--format", "json", *arguments)
        assert result.returncode == 0, result.stderr.decode()
        return {
            location["path"].rpartition("/")[2]: finding
            for finding in json.loads(result.stdout)["findings"]
            for location in finding["locations"]
        }

    def leaks(self) -> list[object]:
        secrets = [self.family.core]
        found: list[object] = list(
            search_files(self.written, self.temporary, self.home, secrets=secrets)
        )
        for number, text in enumerate(self.talk):
            found += search_bytes(f"output {number}", text, secrets)
        return found


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[Tried]:
    with running_simulator() as simulator:
        yield Tried(tmp_path, simulator)


def test_p1_asking_leaves_no_key_behind(tried: Tried) -> None:
    alive, dead, claude = tried.openai(), tried.openai(), tried.anthropic()
    tried.simulator.accept_key(alive.encode())
    tried.simulator.accept_key(claude.encode())
    write(
        tried.tree,
        {
            "alive.env": f"OPENAI_API_KEY={alive}\n",
            "again.txt": f"the same key: {alive}\n",
            "dead.py": f'key = "{dead}"\n',
            "claude.py": f'key = "{claude}"\n',
            "token.txt": f"vault_token = hvs.{tried.family.core.decode()}{characters(60)}\n",
            **{f"more/{number}.txt": f"nothing {number}" for number in range(150)},
        },
    )
    found = tried.findings("--processes", "2")
    said = {name: found[name].get("liveness") for name in ("alive.env", "dead.py", "claude.py")}
    assert said == {"alive.env": "live", "dead.py": "dead", "claude.py": "live"}
    assert found["alive.env"]["belongs_to"] == {"organization": "org-simulator"}
    assert found["alive.env"]["liveness_at"] > 0
    assert found["token.txt"]["liveness"] == "unknown"
    assert "no harmless question" in found["token.txt"]["liveness_reason"]
    # One request for each of the three keys, however often one was met, and nothing else.
    asked = [(request.method, request.path) for request in tried.simulator.requests]
    assert sorted(asked) == [("GET", "/v1/models")] * 3
    for form in ("table", "sarif"):
        said_so = tried.run("--verify", "--fail-on", "live", "--format", form)
        assert said_so.returncode == 3
        assert b"org-simulator" in said_so.stdout
        assert b"LIVE" in said_so.stdout.upper()
    assert tried.leaks() == []


def test_p1_the_search_is_not_blind(tried: Tried) -> None:
    planted = plant(tried.written, tried.family.core)
    places = {Path(str(getattr(found, "place", "")).split(" (")[0]) for found in tried.leaks()}
    assert set(planted) <= places


def test_p1_a_provider_that_echoes_or_redirects(tried: Tried) -> None:
    echoed, sent = tried.openai(), tried.anthropic()
    write(tried.tree, {"a.py": f'k = "{echoed}"', "b.py": f'k = "{sent}"'})
    for key in (echoed, sent):
        tried.simulator.accept_key(key.encode())
    for kind, reason in (
        (FailureKind.ECHO_KEY, "is accepted"),
        (FailureKind.REDIRECT, "not followed"),
    ):
        tried.simulator.clear_failures()
        tried.simulator.inject(Failure(kind=kind))
        before = len(tried.simulator.requests)
        found = tried.findings()
        for name in ("a.py", "b.py"):
            expected = "live" if kind is FailureKind.ECHO_KEY else "unknown"
            assert found[name]["liveness"] == expected, kind
            assert reason in found[name]["liveness_reason"]
        assert len(tried.simulator.requests) == before + 2
    assert tried.leaks() == []


def test_p1_neither_a_command_line_nor_an_environment_holds_a_key(tried: Tried) -> None:
    tried.simulator.set_pace(latency=3)
    write(tried.tree, {"a.py": f'k = "{tried.openai()}"'})
    with subprocess.Popen(
        tried.command("--verify", "--format", "json"),
        env=tried.environment,
        cwd=tried.written,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        while not tried.simulator.requests:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        pids = [process.pid, *map(int, children.read_text().split())]
        assert len(pids) >= 2, "the process that asks is a child"
        names = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids[1:]]
        assert any(b"keylease.strongroom" in name and b"verify" in name for name in names)
        for pid in pids:
            assert search_process(pid, [tried.family.core], memory=False) == []
        tried.talk += process.communicate(timeout=60)
    assert process.returncode == 0
    assert tried.leaks() == []


def test_p1_nobody_is_asked_unless_told_to(tried: Tried) -> None:
    write(tried.tree, {"a.py": f'k = "{tried.openai()}"'})
    for arguments in (("--fail-on", "high"), ("--fail-on", "live")):
        tried.run(*arguments)
    in_ci = tried.run("--verify", CI="true")
    assert in_ci.returncode == 64
    assert b"--verify-in-ci" in in_ci.stderr
    assert tried.simulator.requests == []
    assert tried.run("--verify", "--verify-in-ci", CI="true").returncode == 0
    assert len(tried.simulator.requests) == 1
    assert tried.leaks() == []


def test_p1_a_scanned_tree_cannot_say_where_its_keys_go(tried: Tried) -> None:
    """A gateway.toml in what is scanned, or where it is scanned, is data like any other."""
    elsewhere = (
        'version = 1\n[[verification]]\nprovider = "openai"\n'
        f'url = "{tried.simulator.anthropic_url}"\nallow_private_address = true\n'
    )
    for folder in (tried.tree, tried.written):
        write(folder, {"gateway.toml": elsewhere, ".keylease/gateway.toml": elsewhere})
    write(tried.tree, {"a.py": f'k = "{tried.openai()}"'})
    assert tried.findings()["a.py"]["liveness"] == "dead"
    assert [request.provider for request in tried.simulator.requests] == ["openai"]
    assert not any(name.startswith("OPENAI") for name in os.environ)
