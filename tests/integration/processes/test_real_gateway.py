"""A real gateway as it is started: hardened, confined, refused twice, stopped cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.running_gateway import GatewayDidNotStart, running_gateway
from tests.support.users import NOBODY, open_directory, run_as

from keylease.errors import DataDirectoryLocked
from keylease.primitives.confinement.landlock import landlock_abi
from keylease.strongroom.options import STRONGROOM_UID

GATEWAY = """
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
policy = "keylease.toml"
"""


def test_it_becomes_ready_and_stops_cleanly(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        assert gateway.stop(signal.SIGTERM) == 0
        assert "gateway_ready" in gateway.stderr()


def test_every_process_is_hardened(tmp_path: Path) -> None:
    with running_gateway(tmp_path, workers=2) as gateway:
        pids = [gateway.pid, *gateway.workers]
        assert len(pids) == 3
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(r"^NoNewPrivs:\s+1$", status, flags=re.MULTILINE)
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0\s", limits)
            assert Path(f"/proc/{pid}/mem").stat().st_uid == 0


def test_a_second_start_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        with pytest.raises(GatewayDidNotStart) as refused, running_gateway(tmp_path):
            pass
        assert refused.value.status == DataDirectoryLocked.exit_status
        assert f"in use by process {gateway.pid}" in refused.value.stderr
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_a_broken_gateway_file_stops_the_start_with_64(tmp_path: Path) -> None:
    with (
        pytest.raises(GatewayDidNotStart) as refused,
        running_gateway(tmp_path, gateway_toml='version = 1\n[gateway]\nlisten = "nonsense"\n'),
    ):
        pass
    assert refused.value.status == 64
    assert "gateway.toml" in refused.value.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a process a user of its own")
def test_started_as_root_it_runs_as_a_user_of_its_own(shared_python: str) -> None:
    with open_directory() as directory:
        config = directory / "config"
        config.mkdir(mode=0o755)
        for name, text in (("gateway.toml", GATEWAY), ("keylease.toml", "version = 1\n")):
            (config / name).write_text(text)
            (config / name).chmod(0o644)
        for _ in range(2):  # a restart finds everything readable for that user
            with running_gateway(directory, python=shared_python) as gateway:
                assert "zones isolated: own user" in gateway.posture
                for pid in (gateway.pid, *gateway.workers):
                    status = Path(f"/proc/{pid}/status").read_text()
                    assert re.search(rf"^Uid:(\s+{STRONGROOM_UID}){{4}}$", status, re.MULTILINE)
                    assert re.search(rf"^Gid:(\s+{STRONGROOM_UID}){{4}}$", status, re.MULTILINE)
                    assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
                    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
                    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0  # not dumpable
                home = gateway.data_dir / "strongroom"
                assert home.stat().st_uid == STRONGROOM_UID
                assert home.stat().st_mode & 0o777 == 0o700
                assert httpx.get(f"{gateway.url}/healthz").status_code == 200
                # What root adds by a command, the gateway can read.
                put = subprocess.run(
                    [shared_python, "-I", "-m", "keylease.strongroom", "secret-put",
                     "--gateway-file", gateway.gateway_file, "--data-dir", gateway.data_dir,
                     "--replace", "added"],
                    input="sk-test-by-root",
                    capture_output=True,
                    text=True,
                    check=False,
                )  # fmt: skip
                assert put.returncode == 0, put.stderr
                assert (home / "sealed.json").stat().st_uid == STRONGROOM_UID
        look = f"import os; os.listdir({str(home)!r})"
        assert "PermissionError" in run_as([shared_python, "-I", "-c", look], user=NOBODY).stderr


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel offers no Landlock")
def test_a_user_without_rights_gets_a_confined_gateway(shared_python: str) -> None:
    with open_directory() as directory:
        for name in ("config", "data"):
            (directory / name).mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(directory / "config", NOBODY, NOBODY)
            os.chown(directory / "data", NOBODY, NOBODY)
        code = (
            "import sys, pathlib\n"
            f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
            "from tests.support.running_gateway import running_gateway\n"
            f"with running_gateway(pathlib.Path({str(directory)!r})) as gateway:\n"
            "    print(gateway.posture)\n"
            "    print(gateway.control('status')['urls'])\n"
        )
        result = run_as([shared_python, "-c", code], environment={"HOME": str(directory)})
    assert result.returncode == 0, result.stderr
    assert "zones isolated: confined by Landlock" in result.stdout
    assert "own user off: not started as root" in result.stdout


def test_the_modules_of_the_command_line_are_not_in_it() -> None:
    code = (
        "import sys, keylease.strongroom.startup;"
        "print([m for m in ('typer', 'rich', 'keylease.cli', 'keylease.settings')"
        " if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
