"""P2, from inside: code that runs as the platform does reaches nothing of the strongroom.

The attack runs with what the platform's process has given up (``give_up`` itself is called), beside
a gateway on the same machine. The same program is also run without that, so that a blind attack is
seen.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.users import open_directory, run_as, shared_python

from keylease.platform.server.configuration import PLATFORM_UID

__all__ = ["shared_python"]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only"),
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes the platform's user, so root"),
]
CONFIGURATION = """
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
"""
ATTACK = textwrap.dedent(
    """
    import ctypes, json, os, signal, socket, sys
    data, home, control, pid, confined, files = json.loads(sys.argv[1])
    if confined:
        from keylease.platform.server.configuration import ServerConfiguration
        from keylease.platform.server.confinement import give_up
        give_up(ServerConfiguration(data_directory=data, port=0))
    said = {}
    def attempt(name, action):
        try:
            action()
            said[name] = "OPEN"
        except OSError as error:
            said[name] = type(error).__name__
    for file in files:
        attempt(file, lambda: open(file, "rb").read(1))
    attempt("list", lambda: os.listdir(home))
    attempt("write", lambda: open(home + "/planted", "w").close())
    attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect(control))
    for name in ("mem", "environ", "maps"):
        attempt(name, lambda: open(f"/proc/{pid}/{name}", "rb").close())
    attempt("fd", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt("signal", lambda: os.kill(pid, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, pid, None, None) == -1:
        said["ptrace"] = "PermissionError"
    else:
        said["ptrace"] = "OPEN"
        libc.ptrace(17, pid, None, None)
    print(json.dumps({"uid": os.geteuid(), "said": said}))
    """
)


class Started(NamedTuple):
    gateway: RunningGateway
    directory: Path
    python: str


@pytest.fixture(scope="module")
def started(shared_python: str) -> Iterator[Started]:
    with (
        open_directory() as directory,
        running_gateway(
            directory, python=shared_python, gateway_toml=CONFIGURATION, policy_toml="version = 1\n"
        ) as gateway,
    ):
        (gateway.data_dir / "platform").mkdir()
        yield Started(gateway, directory, shared_python)


def attacked(started: Started, *, confined: bool) -> tuple[int, dict[str, str]]:
    gateway = started.gateway
    home = gateway.data_dir / "strongroom"
    files = [str(path) for path in home.rglob("*") if path.is_file()]
    files.append(str(gateway.config_dir / "sealing.key"))
    assert len(files) > 2
    told = json.dumps(
        [
            str(gateway.data_dir / "platform"),
            str(home),
            str(gateway.control_socket),
            gateway.pid,
            confined,
            files,
        ]
    )
    result = run_as([started.python, "-I", "-c", ATTACK, told], user=None)
    answer = json.loads(result.stdout)
    return answer["uid"], answer["said"]


def test_code_inside_the_platform_reaches_nothing_of_the_strongroom(started: Started) -> None:
    uid, said = attacked(started, confined=True)
    assert uid == PLATFORM_UID
    assert set(said.values()) <= {"PermissionError", "ProcessLookupError"}, said


def test_the_same_program_reaches_all_of_it_when_it_has_given_up_nothing(started: Started) -> None:
    uid, said = attacked(started, confined=False)
    (started.gateway.data_dir / "strongroom" / "planted").unlink()
    assert uid == 0
    assert set(said.values()) == {"OPEN"}, said
