"""A strongroom process that was taken over: what it can still reach.

The real start is run; in the place of the coordinator or the worker stands the attacker's code.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from tests.support.users import run_as

from keylease.primitives.confinement.landlock import landlock_abi

pytestmark = pytest.mark.skipif(landlock_abi() < 4, reason="needs Landlock ABI 4")

ATTACK = textwrap.dedent(
    """
    import os, socket, subprocess, sys
    from pathlib import Path
    home = Path({home!r})
    def attempt(name, action):
        try:
            action()
            print(name, "done")
        except OSError as error:
            print(name, type(error).__name__)
    def attack(*args, **kwargs):
        attempt("own data", lambda: (home / "data/strongroom/probe").write_text("x"))
        attempt("platform data", lambda: (home / "platform/file").read_text())
        attempt("own rules", lambda: (home / "config/gateway.toml").read_text())
        attempt("own rules changed", lambda: (home / "config/gateway.toml").write_text("x"))
        attempt("policy changed", lambda: (home / "config/keylease.toml").unlink())
        attempt("key changed", lambda: (home / "config/sealing.key").write_bytes(b"x"))
        attempt("other config", lambda: (home / "config/other").read_text())
        attempt("password file", lambda: Path("/etc/passwd").read_text())
        attempt("temporary file", lambda: Path("/tmp/keylease-attack").write_text("x"))
        attempt("shell", lambda: subprocess.run(["/bin/sh", "-c", "true"]))
        attempt("port", lambda: socket.create_server(("127.0.0.1", 45679)))
        attempt("parent's memory", lambda: open(f"/proc/{{os.getppid()}}/mem", "rb"))
        attempt("code", lambda: (Path({sources!r}) / "keylease/injected.py").write_text("x"))
        return 0
    """
)
SOURCES = Path(__file__).parents[3] / "src"


def start(tmp_path: Path, program: str) -> list[str]:
    config = tmp_path / "config"
    config.mkdir(mode=0o700)
    (config / "gateway.toml").write_text(
        'version = 1\n[gateway]\nlisten = "127.0.0.1:0"\nmetrics = "127.0.0.1:0"\n'
        'policy = "keylease.toml"\n'
    )
    (config / "keylease.toml").write_text("version = 1\n")
    (config / "other").write_text("x")
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform" / "file").write_text("x")
    (tmp_path / "data" / "strongroom").mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o700)
    code = ATTACK.format(home=str(tmp_path), sources=str(SOURCES)) + textwrap.dedent(program)
    result = run_as([sys.executable, "-I", "-c", code], user=None)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_the_coordinator_reaches_its_data_and_nothing_else(tmp_path: Path) -> None:
    said = start(
        tmp_path,
        """
        from keylease.strongroom import startup
        from keylease.strongroom.gateway.coordinator import process as coordinator
        from keylease.strongroom.options import GatewayOptions
        coordinator.main = attack
        sys.exit(startup.run_gateway(GatewayOptions(
            gateway_file=str(home / "config/gateway.toml"), data_directory=str(home / "data"))))
        """,
    )
    assert said == [
        "own data done",
        "platform data PermissionError",
        "own rules done",
        "own rules changed PermissionError",
        "policy changed PermissionError",
        "key changed PermissionError",
        # The directory is readable, so that a policy file that was replaced can be read.
        "other config done",
        "password file PermissionError",
        "temporary file PermissionError",
        "shell PermissionError",
        # Port 0 in gateway.toml allows free ports only.
        "port PermissionError",
        "parent's memory PermissionError",
        "code PermissionError",
    ]


def test_a_worker_reaches_less(tmp_path: Path) -> None:
    said = start(
        tmp_path,
        """
        from keylease.strongroom import startup
        from keylease.strongroom.gateway.worker import process as worker
        from keylease.strongroom.options import WorkerOptions
        worker.main = attack
        sys.exit(startup.run_worker(WorkerOptions(channel=0, listeners=(), number=0)))
        """,
    )
    assert len(said) == 13
    assert [line for line in said if not line.endswith("PermissionError")] == []
