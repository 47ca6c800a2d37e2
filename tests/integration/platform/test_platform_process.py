from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.platform_process import running_platform

from keylease.platform.server.configuration import PLATFORM_UID


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


def test_what_it_writes_is_for_its_user_alone(tmp_path: Path) -> None:
    with running_platform(tmp_path / "platform"):
        for path in [tmp_path / "platform", *(tmp_path / "platform").rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path


def test_it_keeps_its_own_user_or_directory(tmp_path: Path) -> None:
    with running_platform(tmp_path / "platform") as platform:
        status = Path(f"/proc/{platform.process.pid}/status").read_text()
        posture = platform.ready.posture
        uid = status.partition("Uid:")[2].split()[0]
        assert (uid == str(PLATFORM_UID)) == ("own user off" not in posture)


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with running_platform(tmp_path / "platform"):
        done = start(f'{{"data_directory": "{tmp_path / "platform"}", "port": 0}}')
    assert done.returncode != 0
    assert "Another server works in" in done.stderr


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(f'{{"data_directory": "{tmp_path / "platform"}", "port": {port}}}')
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("document", ["", "{", "[]", '{"port": "x"}'])
def test_a_wrong_configuration_is_said(document: str) -> None:
    done = start(document)
    assert done.returncode == 64
    assert "keylease server" in done.stderr
