"""The supervisor's bounds: when it tries again, when it gives up, what it says."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from keylease.cli import keeper
from keylease.cli.announcement import announcement
from keylease.cli.charges import Plan, copy_memory_file
from keylease.cli.supervisor import Supervisor
from keylease.errors import ProcessFailed
from keylease.primitives.clock import SystemClock
from keylease.strongroom.options import ReadyMessage

READY = ReadyMessage(
    urls=("http://127.0.0.1:1",),
    control_socket="control.sock",
    posture="posture: fine",
)


def plan(tmp_path: Path, script: str) -> Plan:
    """A plan whose Python runs ``script`` instead of a gateway. ``ready`` is its descriptor."""
    program = tmp_path / "python"
    prelude = (
        f"#!{sys.executable}\nimport os, sys, time\n"
        "ready = int(sys.argv[sys.argv.index('--ready-fd') + 1])\n"
    )
    program.write_text(prelude + textwrap.dedent(script))
    program.chmod(0o700)
    return Plan(
        python=str(program),
        gateway_file="/c/gateway.toml",
        policy_file="/c/keylease.toml",
        data_directory=str(tmp_path / "data"),
    )


SAYS_READY = """
    os.write(ready, b'{"urls":["http://127.0.0.1:1"],"control_socket":"x","posture":"p"}\\n')
    os.close(ready)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.02)


async def test_it_gives_up_after_so_many_failures_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Supervisor(plan(tmp_path, f"{SAYS_READY}\n    sys.exit(9)"), clock=SystemClock())
    with pytest.raises(ProcessFailed, match="7 times within 120 seconds, last with exit status 9"):
        await running.run()
    said = capsys.readouterr().err
    assert said.count("The gateway ended (exit status 9); starting it again") == 6


async def test_a_first_start_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    assert await Supervisor(plan(tmp_path, "sys.exit(3)"), clock=SystemClock()).run() == 3


@pytest.mark.parametrize("status", sorted(keeper.PERMANENT))
async def test_what_cannot_be_mended_by_trying_is_not_tried_again(
    tmp_path: Path, status: int
) -> None:
    script = f"""
    marker = os.path.dirname(sys.argv[0]) + "/again"
    if os.path.exists(marker): sys.exit({status})
    open(marker, "w").close()
    {SAYS_READY.strip()}
    sys.exit(1)
    """
    assert await Supervisor(plan(tmp_path, script), clock=SystemClock()).run() == status


async def test_one_that_never_gets_ready_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeper, "READY_SECONDS", 0.3)
    monkeypatch.setattr(keeper, "_ENDING_SECONDS", 0.1)
    status = await Supervisor(plan(tmp_path, "time.sleep(60)"), clock=SystemClock()).run()
    assert status == 128 + 9
    assert "was not ready after 0.3 s" in capsys.readouterr().err


async def test_one_that_does_not_drain_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.3)
    script = f"""
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    {SAYS_READY.strip()}
    time.sleep(60)
    """
    running = Supervisor(plan(tmp_path, script), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        ending = group.create_task(running.run())
        while "Keylease is running." not in (said := capsys.readouterr().out):
            assert not ending.done(), said
            await asyncio.sleep(0.05)
        running.stop()
    assert ending.result() == 0
    assert "did not end in 0.3 s and was killed" in capsys.readouterr().err


async def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    absent = Plan(
        python=str(tmp_path / "absent"), gateway_file="g", policy_file="p", data_directory="d"
    )
    with pytest.raises(ProcessFailed, match="cannot be started"):
        await Supervisor(absent, clock=SystemClock()).run()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")
def test_a_memory_file_is_copied_whole_and_the_master_stays() -> None:
    master = os.memfd_create("test")
    content = os.urandom(3_000_000)
    with os.fdopen(os.dup(master), "wb") as file:
        file.write(content)
    for _ in range(2):
        copy = copy_memory_file(master)
        assert stat.S_ISREG(os.fstat(copy).st_mode)
        assert not os.get_inheritable(copy)
        with os.fdopen(copy, "rb") as file:
            assert file.read() == content
    os.close(master)


def test_what_is_said_depends_on_what_can_be_used(tmp_path: Path) -> None:
    some = plan(tmp_path, "")
    none_usable = "\n".join(announcement(some, READY, usable=()))
    assert "keylease demo" in none_usable
    assert "keylease run" not in none_usable
    usable = "\n".join(announcement(some, READY, usable=("openai",)))
    assert "can be used now: openai." in usable
    assert "export OPENAI_BASE_URL=http://127.0.0.1:1/v1" in usable
    unknown = "\n".join(announcement(some, READY, usable=None))
    assert "keylease demo" not in unknown
    assert "keylease run" in unknown
