"""``keylease demo`` as a person runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keylease.cli import demo, main
from keylease.cli.demo_search import Searched

COMMAND = [sys.executable, "-I", "-m", "keylease.cli.main", "demo"]


def leftovers() -> set[str]:
    return {path.name for path in Path("/tmp").glob("keylease-demo-*")}  # noqa: S108 - where the demo works


def processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_every_claim_holds_and_nothing_is_left(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    before = leftovers()
    begun = time.monotonic()
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, timeout=60, check=False, env=home
    )
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT SO" not in done.stdout
    assert done.stdout.count("ok: ") == 8
    assert "both say 2 calls" in done.stdout
    assert "401 lease_revoked" in done.stdout
    assert "401 lease_expired" in done.stdout
    assert "no key" in done.stdout
    assert "Everything held" in done.stdout
    assert "sk-demo-" not in done.stdout + done.stderr
    assert leftovers() <= before
    assert list(tmp_path.iterdir()) == []
    assert took < 40  # a hang, not a benchmark


def test_the_directory_is_kept_when_it_was_named(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, f"--dir={place}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "data" / "strongroom").is_dir()
    assert (place / "config" / "gateway.toml").is_file()
    assert processes_naming(str(place)) == []
    again = subprocess.run(
        [*COMMAND, f"--dir={place}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 64
    assert "cannot be made" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_and_no_directory(number: signal.Signals) -> None:
    before = leftovers()
    process = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("3."):
            break
    place = (leftovers() - before).pop()
    os.kill(process.pid, number)
    _, talk = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in talk
    assert place not in leftovers()
    assert processes_naming(place) == []


def test_a_claim_that_does_not_hold_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def leaky(_places: list[Path], _key: bytes) -> Searched:
        return Searched(files=1, size=1, hits=[("some/file", "hex")])

    monkeypatch.setattr(demo, "search", leaky)
    assert main.main(["demo"]) == 1
    told = capfd.readouterr().out
    assert "NOT SO" in told
    assert "found in some/file (hex)" in told
    assert "did not hold" in told
    assert "Everything held" not in told
