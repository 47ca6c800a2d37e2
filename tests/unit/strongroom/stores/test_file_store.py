from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, opened, reference, versions

from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnavailable,
)
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.stores.file import FileStore
from keylease.strongroom.stores.posture import Posture


class Mounted:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.posture = Posture()
        self.store = self.opening(str(directory))

    def opening(self, *directories: str) -> FileStore:
        return FileStore(
            StoreSettings(file_directories=directories, attempts=3, timeout_seconds=5),
            clock=ManualClock(),
            versions=versions(),
            posture=self.posture,
        )

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    async def read(self, name: str) -> str:
        return opened(await self.store.fetch(reference(f"file://{self.directory}/{name}")))


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    directory = tmp_path / "secrets"
    directory.mkdir()
    return Mounted(directory)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_one_newline_at_the_end_is_cut(mounted: Mounted, ending: str) -> None:
    value = fake_key()
    mounted.write("openai", value + ending)
    assert await mounted.read("openai") == value
    mounted.write("openai", value + "\n\n")
    assert await mounted.read("openai") == value + "\n"


async def test_read_again_each_time_with_a_version_of_its_own(mounted: Mounted) -> None:
    wanted = reference(f"file://{mounted.directory}/openai")
    mounted.write("openai", "one")
    first = await mounted.store.fetch(wanted)
    mark = mounted.store.signature(wanted)
    assert (await mounted.store.fetch(wanted)).version == first.version
    mounted.write("openai", "second")
    assert (await mounted.store.fetch(wanted)).version != first.version
    assert mounted.store.signature(wanted) != mark


async def test_a_kubernetes_mount_and_its_swap(mounted: Mounted) -> None:
    for number in (1, 2):
        (mounted.directory / f"..2026_{number}").mkdir()
        mounted.write(f"..2026_{number}/openai", f"value-{number}")
    (mounted.directory / "..data").symlink_to("..2026_1")
    (mounted.directory / "openai").symlink_to("..data/openai")
    wanted = reference(f"file://{mounted.directory}/openai")
    assert await mounted.read("openai") == "value-1"
    mark = mounted.store.signature(wanted)
    (mounted.directory / "..data_tmp").symlink_to("..2026_2")
    (mounted.directory / "..data_tmp").rename(mounted.directory / "..data")
    shutil.rmtree(mounted.directory / "..2026_1")
    assert await mounted.read("openai") == "value-2"
    assert mounted.store.signature(wanted) != mark


async def test_swaps_under_load_never_fail_or_mix(mounted: Mounted) -> None:
    (mounted.directory / "..v0").mkdir()
    mounted.write("..v0/openai", "value-0")
    (mounted.directory / "..data").symlink_to("..v0")
    (mounted.directory / "openai").symlink_to("..data/openai")
    done = threading.Event()

    def swap() -> None:
        number = 0
        while not done.wait(0.01):
            number += 1
            (mounted.directory / f"..v{number}").mkdir()
            mounted.write(f"..v{number}/openai", f"value-{number}")
            (mounted.directory / "..data_tmp").symlink_to(f"..v{number}")
            (mounted.directory / "..data_tmp").rename(mounted.directory / "..data")
            shutil.rmtree(mounted.directory / f"..v{number - 1}")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen = {await mounted.read("openai") for _ in range(300)}
    finally:
        done.set()
        swapper.join()
    assert all(value.startswith("value-") for value in seen)
    assert len(seen) > 3


async def test_only_below_the_listed_directories(mounted: Mounted, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    (tmp_path / "secrets-too").mkdir()
    (tmp_path / "secrets-too" / "x").write_text("x")
    (mounted.directory / "link").symlink_to(outside)
    (mounted.directory / "directory").symlink_to("/etc")
    for path in (
        "/etc/passwd",
        str(outside),
        f"{tmp_path}/secrets-too/x",
        f"{mounted.directory}/link",
        f"{mounted.directory}/directory/passwd",
        str(mounted.directory),
    ):
        with pytest.raises(StoreAccessDenied, match="below a listed directory"):
            await mounted.store.fetch(reference(f"file://{path}"))


async def test_nothing_is_listed(mounted: Mounted) -> None:
    mounted.write("x", "x")
    with pytest.raises(StoreAccessDenied, match="file_directories"):
        await mounted.opening().fetch(reference(f"file://{mounted.directory}/x"))


async def test_a_listed_directory_may_be_a_link(mounted: Mounted, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(mounted.directory)
    mounted.write("x", "value")
    store = mounted.opening(str(tmp_path / "run"))
    assert opened(await store.fetch(reference(f"file://{tmp_path}/run/x"))) == "value"


async def test_a_link_put_in_between_is_not_followed(
    mounted: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check of the path and its opening, a directory becomes a link to elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("stolen")
    (mounted.directory / "sub").mkdir()
    mounted.write("sub/x", "value")
    real = FileStore._resolved

    def swapped(self: FileStore, path: str) -> tuple[str, tuple[str, ...]]:
        answer = real(self, path)
        if (mounted.directory / "sub").is_symlink():
            return str(mounted.directory), ("sub", "x")
        shutil.rmtree(mounted.directory / "sub")
        (mounted.directory / "sub").symlink_to(tmp_path / "elsewhere")
        return answer

    monkeypatch.setattr(FileStore, "_resolved", swapped)
    with pytest.raises((StoreUnavailable, StoreAccessDenied)):
        await mounted.read("sub/x")


async def test_what_is_no_file_is_refused_without_hanging(mounted: Mounted) -> None:
    os.mkfifo(mounted.directory / "fifo")
    (mounted.directory / "directory").mkdir()
    for name in ("fifo", "directory"):
        with pytest.raises(SecretInvalid, match="not a regular file"):
            await mounted.read(name)
    with pytest.raises(SecretInvalid, match="not a regular file"):
        await mounted.opening("/dev").fetch(reference("file:///dev/zero"))


async def test_sizes(mounted: Mounted) -> None:
    mounted.write("most", "x" * 65536)
    mounted.write("more", "x" * 65537)
    mounted.write("none", "\n")
    assert len(await mounted.read("most")) == 65536
    with pytest.raises(SecretInvalid, match="65536"):
        await mounted.read("more")
    with pytest.raises(SecretInvalid, match="empty"):
        await mounted.read("none")


async def test_missing_and_looping_paths(mounted: Mounted) -> None:
    (mounted.directory / "a").symlink_to("b")
    (mounted.directory / "b").symlink_to("a")
    mounted.write("file", "x")
    for name in ("absent", "file/below"):
        with pytest.raises(SecretNotFound):
            await mounted.read(name)
    with pytest.raises(StoreUnavailable, match="leads to nothing"):
        await mounted.read("a")


async def test_a_file_that_everybody_reads_is_announced_not_refused(mounted: Mounted) -> None:
    value = fake_key()
    mounted.write("openai", value, mode=0o644)
    assert await mounted.read("openai") == value
    (sentence,) = mounted.posture.sentences()
    assert "every local user" in sentence
    assert value not in sentence
    mounted.write("openai", value, mode=0o640)
    await mounted.read("openai")
    assert mounted.posture.sentences() == ()


async def test_a_file_system_that_hangs_times_out(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    store = FileStore(
        StoreSettings(file_directories=(str(mounted.directory),), attempts=2, timeout_seconds=0.05),
        clock=ManualClock(),
        versions=versions(),
        posture=Posture(),
    )
    monkeypatch.setattr(FileStore, "_read", lambda *_: hold.wait(5))
    with pytest.raises(StoreTimedOut):
        await store.fetch(reference("file:///x"))
    hold.set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_file_that_may_not_be_read(mounted: Mounted, tmp_path: Path) -> None:
    """In a process of another user: root may read everything."""
    mounted.write("x", "x")
    for directory in (tmp_path, *tmp_path.parents[:2], mounted.directory):
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreAccessDenied, match="uid 65534"):
            await mounted.read("x")
    finally:
        os.seteuid(0)
