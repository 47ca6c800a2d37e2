"""P1: the scanner finds keys and leaves none behind. No key that it met is in its output in any
format, in its state, caches, keys, baselines and temporary files, in what it says on the way, or on
the command lines and in the environments of its processes.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest
from tests.support.canaries import Family, plant, search_bytes, search_files, search_process
from tests.support.kubernetes_api import kubernetes_api
from tests.support.planting import Repo, characters
from tests.support.planting import plant as write

FORMATS = ("table", "json", "sarif", "csv")


class Scanned:
    """A tree full of canaries, and a home in which everything that a scan writes ends up."""

    def __init__(self, folder: Path) -> None:
        self.family = Family()
        self.home = folder / "home"
        self.temporary = folder / "tmp"
        self.written = folder / "written"
        self.repo = Repo(folder / "tree")
        for path in (self.home, self.temporary, self.written):
            path.mkdir()
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
        }
        self.talk: list[bytes] = []

    def openai(self) -> str:
        body = self.family.core.decode() + characters(50) + "T3Blbk" + "FJ" + characters(74)
        return "sk-" + "proj-" + body

    def anthropic(self) -> str:
        return "sk-" + "ant-" + "api03-" + self.family.core.decode() + characters(69) + "AA"

    def fill(self) -> None:
        key = self.openai()
        notebook = {"cells": [{"cell_type": "code", "outputs": [{"text": [f"k={self.openai()}"]}]}]}
        secret = base64.b64encode(self.anthropic().encode()).decode()
        self.repo.commit({"gone.py": f'K = "{self.openai()}"'}, f"used {self.anthropic()}")
        self.repo.commit({"gone.py": None})
        self.repo.git(
            "-c", f"user.name={self.openai()}", "commit", "-q", "--allow-empty", "-m", "x"
        )
        self.repo.git("remote", "add", "origin", f"https://me:{self.openai()}@git.example.org/a/b")
        write(
            self.repo.folder,
            {
                ".env": f"OPENAI_API_KEY={key}\nPASSWORD_{self.openai()[8:40]}=\n",
                "CODEOWNERS": f"* {self.openai()}\n",
                f"in-name-{self.openai()}.txt": f'{{"{self.anthropic()}": "{self.openai()}"}}',
                f"folder-{self.openai()}/broken.zip": b"PK\x03\x04",
                "n.ipynb": json.dumps(notebook)[:-1],
                "s.yaml": f"apiVersion: v1\nkind: Secret\ndata:\n  KEY: {secret}\n",
                "log.gz": gzip.compress(f"token {self.openai()}".encode()),
                "cut.gz": gzip.compress(f"token {self.openai()}".encode() * 9)[:60],
                "url.txt": f"https://x/?key={urllib.parse.quote(self.openai(), safe='')}%20",
                "w.ps1": f'$k = "{self.openai()}"'.encode("utf-16"),
                ".github/workflows/a.yml": f"jobs:\n  {self.openai()}:\n    env:\n"
                "      K: ${{ secrets.OPENAI_API_KEY }}\n",
                "large.txt": b"x = 1\n" * 400_000 + self.openai().encode() + b"\n" * 2_000_000,
            },
        )
        write(self.home, {".bash_history": f"export OPENAI_API_KEY={self.openai()}\n"})

    def run(self, *arguments: str) -> bytes:
        result = subprocess.run(
            [sys.executable, "-m", "keylease", "--debug", "scan", *arguments],
            env=self.environment,
            cwd=self.written,
            capture_output=True,
            check=False,
            timeout=90,
        )
        assert result.returncode in {0, 3, 4}, result.stderr.decode()
        self.talk += [result.stdout, result.stderr]
        return result.stdout

    def leaks(self) -> list[object]:
        secrets = [self.family.core]
        # The history file in the home is the user's own and holds its key before and after.
        own = self.home / ".bash_history"
        found: list[object] = [
            *search_files(self.written, self.temporary, secrets=secrets),
            *search_files(self.home, secrets=secrets, leave_out=[own]),
        ]
        for number, text in enumerate(self.talk):
            found += search_bytes(f"output {number}", text, secrets)
        return found


@pytest.fixture
def scanned(tmp_path: Path) -> Scanned:
    made = Scanned(tmp_path)
    made.fill()
    return made


def test_p1_a_scan_leaves_no_key_behind(scanned: Scanned) -> None:
    tree = str(scanned.repo.folder)
    for form in FORMATS:
        scanned.run(tree, "--history", "--machine", "--format", form, "--include-examples")
        scanned.run(tree, "--history", "--format", form, "-o", f"report.{form}")
    scanned.run(tree, "--history", "--write-baseline", "known.json", "--processes", "3")
    scanned.run(tree, "--baseline", "known.json", "--fail-on", "any", "--history", "--full")
    scanned.repo.git("add", "-A", "-f")
    scanned.run(tree, "--staged")
    report = json.loads((scanned.written / "report.json").read_text())
    # It did find what it is not to repeat: otherwise this would show nothing.
    assert sum(len(finding["locations"]) for finding in report["findings"]) >= 14
    assert scanned.leaks() == []
    assert list((scanned.home / ".keylease").rglob("*.json")), "a state was written, and searched"


def test_p1_the_search_is_not_blind(scanned: Scanned) -> None:
    planted = plant(scanned.written, scanned.family.core)
    places = {Path(str(getattr(found, "place", "")).split(" (")[0]) for found in scanned.leaks()}
    assert set(planted) <= places


def test_p1_an_interrupted_scan_leaves_no_key_behind(scanned: Scanned) -> None:
    write(
        scanned.repo.folder, {f"more/{n}.txt": f"K={scanned.openai()}\n" * 20 for n in range(600)}
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "keylease", "scan", str(scanned.repo.folder), "--processes", "2"],
        env=scanned.environment,
        cwd=scanned.written,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while process.poll() is None and len(pids := children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for pid in [str(process.pid), *pids]:
        if Path(f"/proc/{pid}").exists():
            assert search_process(int(pid), [scanned.family.core], memory=False) == []
    os.killpg(process.pid, signal.SIGINT)
    scanned.talk += process.communicate(timeout=60)
    assert scanned.leaks() == []


def test_p1_a_killed_scan_leaves_no_key_behind(scanned: Scanned) -> None:
    write(
        scanned.repo.folder, {f"more/{n}.txt": f"K={scanned.openai()}\n" * 20 for n in range(300)}
    )
    with subprocess.Popen(
        [sys.executable, "-m", "keylease", "scan", str(scanned.repo.folder), "--history"],
        env=scanned.environment,
        cwd=scanned.written,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 60
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and not children.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        scanned.talk += process.communicate(timeout=60)
    assert scanned.leaks() == []


def test_p1_a_cluster_is_read_in_memory(scanned: Scanned) -> None:
    with kubernetes_api() as api:
        data = {"OPENAI_API_KEY": base64.b64encode(scanned.openai().encode()).decode()}
        api.objects["/api/v1/secrets"] = [
            {"metadata": {"name": scanned.openai(), "namespace": "n"}, "data": data}
        ]
        kubeconfig = api.kubeconfig(scanned.repo.folder / "kubeconfig")
        output = scanned.run(
            "--cluster", "current", "--kubeconfig", str(kubeconfig), "--format", "json"
        )
    report = json.loads(output)
    assert [finding["provider"] for finding in report["findings"]] == ["openai"]
    assert scanned.leaks() == []
