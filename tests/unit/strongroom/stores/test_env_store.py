from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import msgspec
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, opened, reference, versions

from keylease.errors import ProcessFailed, SecretNotFound
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import env
from keylease.strongroom.stores.env import EnvironmentStore


async def test_serves_what_was_handed_over_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = fake_key()
    monkeypatch.setitem(os.environ, "NOT_HANDED_OVER", "x")
    store = EnvironmentStore(
        {"OPENAI_API_KEY": Secret(value), "EMPTY": Secret("")},
        clock=ManualClock(),
        versions=versions(),
    )
    fetched = await store.fetch(reference("env://OPENAI_API_KEY"))
    assert opened(fetched) == value
    assert fetched.version.startswith("digest-")
    for name in ("NOT_HANDED_OVER", "EMPTY"):
        with pytest.raises(SecretNotFound, match=name):
            await store.fetch(reference(f"env://{name}"))


async def test_a_wiped_copy_leaves_the_store_whole() -> None:
    store = EnvironmentStore({"A": Secret("x")}, clock=ManualClock(), versions=versions())
    (await store.fetch(reference("env://A"))).secret.wipe()
    assert opened(await store.fetch(reference("env://A"))) == "x"
    await store.close()
    with pytest.raises(SecretNotFound):
        await store.fetch(reference("env://A"))


@pytest.fixture(params=["memory file", "pipe"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pipe":
        monkeypatch.delattr(os, "memfd_create")


@pytest.mark.usefixtures("_way")
def test_handover_and_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    big = "x" * 200_000
    for name, value in (("KL_A", "one"), ("KL_B", "zwei ä"), ("KL_BIG", big), ("KL_C", "no")):
        monkeypatch.setitem(os.environ, name, value)
    descriptor = env.handover(["KL_A", "KL_B", "KL_BIG", "KL_ABSENT", "KL_A"])
    assert not os.get_inheritable(descriptor)
    received = env.receive(descriptor)
    values = {name: secret.reveal(why="test").decode() for name, secret in received.items()}
    assert values == {"KL_A": "one", "KL_B": "zwei ä", "KL_BIG": big}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_receive_destroys_what_it_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KL_A", "one")
    descriptor = env.handover(["KL_A"])
    kept = os.dup(descriptor)
    env.receive(descriptor)
    assert os.pread(kept, 100, 0) == b""
    os.close(kept)


@pytest.mark.parametrize("content", [b"", b"\xff", msgspec.msgpack.encode([1])])
def test_something_else_in_the_descriptor_is_refused(content: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    with pytest.raises(ProcessFailed):
        env.receive(reader)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "MAXIMUM_BYTES", 10)
    monkeypatch.setitem(os.environ, "KL_A", "x" * 20)
    with pytest.raises(ProcessFailed, match="over 10 bytes"):
        env.handover(["KL_A"])


def test_a_child_gets_the_value_and_its_environment_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = fake_key()
    monkeypatch.setitem(os.environ, "KL_SECRET", value)
    program = """
        import sys
        from pathlib import Path
        from keylease.strongroom.stores import env
        received = env.receive(int(sys.argv[1]))
        print(len(received["KL_SECRET"]))
        print(Path("/proc/self/environ").read_bytes().count(b"sk" + b"-test"))
        print(Path("/proc/self/cmdline").read_bytes().count(b"sk" + b"-test"))
    """
    descriptor = env.handover(["KL_SECRET"])
    result = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(program), str(descriptor)],
        pass_fds=[descriptor],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(descriptor)
    assert result.stdout.split() == [str(len(value)), "0", "0"]
