from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.platform_doors import Doors
from tests.support.platform_process import RunningPlatform, running_platform

from keylease.platform.__main__ import main
from keylease.platform.server.configuration import PLATFORM_UID


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """One for the tests that only look at it."""
    home = tmp_path_factory.mktemp("process")
    promise = {"result": "kept", "passed": 3, "failed": 0, "skipped": 0}
    results = {"format": 1, "commit": "abc", "at": "then", "promises": {"P4": promise}}
    (home / "promises.json").write_text(json.dumps(results))
    with running_platform(home / "platform", promises_file=str(home / "promises.json")) as running:
        yield running


def start(document: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keylease.platform", document],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_answers_says_its_posture_and_ends_well(tmp_path: Path) -> None:
    with running_platform(tmp_path / "platform") as platform:
        assert httpx.get(f"{platform.url}/readyz").json() == {"status": "ok"}
        assert platform.ready.posture.startswith("platform posture: ")
        assert platform.stop() == 0
    # A clean end leaves one file: what was in the write-ahead log is in the database.
    assert not (tmp_path / "platform" / "platform.sqlite-wal").exists()


def test_what_it_writes_is_for_its_user_alone(platform: RunningPlatform) -> None:
    for path in [platform.data, *platform.data.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_keeps_its_own_user_or_directory(platform: RunningPlatform) -> None:
    status = Path(f"/proc/{platform.process.pid}/status").read_text()
    posture = platform.ready.posture
    uid = status.partition("Uid:")[2].split()[0]
    assert (uid == str(PLATFORM_UID)) == ("own user off" not in posture)


def test_a_confined_server_shows_the_last_results_of_the_promises(
    platform: RunningPlatform,
) -> None:
    owner = Doors(platform.url)
    with owner.api:
        owner.set_up(platform.ready.sign_in_link)
        shown = {one["id"]: one for one in owner.ask("GET", "/v1/trust")["promises"]}
    assert (shown["P4"]["result"], shown["P4"]["commit"], shown["P4"]["at"]) == (
        "kept", "abc", "then",
    )  # fmt: skip
    assert shown["P1"]["result"] == "not verified"


def test_a_second_server_on_the_same_directory_is_refused(platform: RunningPlatform) -> None:
    done = start(f'{{"data_directory": "{platform.data}", "port": 0}}')
    assert done.returncode != 0
    assert "Another server works in" in done.stderr
    assert httpx.get(f"{platform.url}/readyz").json() == {"status": "ok"}


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(f'{{"data_directory": "{tmp_path / "platform"}", "port": {port}}}')
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr


def test_a_wrong_configuration_is_said() -> None:
    done = start('{"port": "x"}')
    assert done.returncode == 64
    assert "keylease server" in done.stderr


@pytest.mark.parametrize("arguments", [[""], ["{"], ["[]"], [], ["{}", "{}"]])
def test_what_is_no_configuration_is_said(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    umask = os.umask(0o077)
    try:
        assert main(arguments) == 64
    finally:
        os.umask(umask)
    assert "keylease server" in capsys.readouterr().err
