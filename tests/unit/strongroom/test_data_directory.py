"""The data directory: owned once, of one format, whole after a crash."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import (
    DataDirectoryLocked,
    DataFormatTooNew,
    StorageCorrupt,
    StorageError,
)
from keylease.primitives import files
from keylease.strongroom.data_directory import open_data_directory, owner_of


def test_a_new_one_has_everything_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    with open_data_directory(path, clock=ManualClock()) as directory:
        assert UUID(directory.organization_id).version == 7
        assert directory.strongroom == path / "strongroom"
        for folder in (path, directory.strongroom):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (path / "format").read_text() == "1\n"


def test_the_organization_is_made_once(tmp_path: Path) -> None:
    with open_data_directory(tmp_path / "d", clock=ManualClock()) as first:
        made = first.organization_id
    with open_data_directory(tmp_path / "d", clock=ManualClock()) as second:
        assert second.organization_id == made


def test_a_second_owner_is_refused_and_told_who(tmp_path: Path) -> None:
    with open_data_directory(tmp_path / "d", clock=ManualClock()):
        assert owner_of(tmp_path / "d") == os.getpid()
        with pytest.raises(DataDirectoryLocked, match=f"process {os.getpid()}"):
            open_data_directory(tmp_path / "d", clock=ManualClock())
    assert owner_of(tmp_path / "d") is None
    open_data_directory(tmp_path / "d", clock=ManualClock()).close()


def test_the_lock_goes_with_its_process_and_not_to_children(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from pathlib import Path\n"
        "from keylease.primitives.clock import SystemClock\n"
        "from keylease.strongroom.data_directory import open_data_directory\n"
        "directory = open_data_directory(Path(sys.argv[1]), clock=SystemClock())\n"
        "child = subprocess.Popen(['sleep', '5'], close_fds=False, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d")], stdout=subprocess.PIPE, check=False
    )
    try:
        open_data_directory(tmp_path / "d", clock=ManualClock()).close()
    finally:
        os.kill(int(result.stdout), 9)


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_data_directory(tmp_path / "d", clock=ManualClock()).close()
    (tmp_path / "d" / "format").write_text("2\n")
    with pytest.raises(DataFormatTooNew, match="format 2; this version knows 1"):
        open_data_directory(tmp_path / "d", clock=ManualClock())
    assert (tmp_path / "d" / "format").read_text() == "2\n"
    assert owner_of(tmp_path / "d") is None


@pytest.mark.parametrize("content", ["", "one", "-1", "0"])
def test_a_format_that_is_no_number_is_said(tmp_path: Path, content: str) -> None:
    open_data_directory(tmp_path / "d", clock=ManualClock()).close()
    (tmp_path / "d" / "format").write_text(content)
    with pytest.raises(StorageCorrupt, match="format number"):
        open_data_directory(tmp_path / "d", clock=ManualClock())


def test_an_older_format_is_backed_up_and_then_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with open_data_directory(path, clock=ManualClock()) as directory:
        (directory.strongroom / "thing").write_text("old")

    def step(where: Path) -> None:
        (where / "strongroom" / "thing").write_text("new")

    with open_data_directory(path, clock=ManualClock(), current=2, upgrades={1: step}) as directory:
        assert (directory.strongroom / "thing").read_text() == "new"
    assert (path / "format").read_text() == "2\n"
    (backup,) = path.glob("backup-1-*")
    assert (backup / "strongroom" / "thing").read_text() == "old"
    assert (backup / "format").read_text() == "1\n"
    assert not (backup / "lock").exists()


def test_an_upgrade_that_crashed_is_done_again_from_its_backup(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with open_data_directory(path, clock=ManualClock()) as directory:
        (directory.strongroom / "thing").write_text("old")

    def crash(where: Path) -> None:
        (where / "strongroom" / "thing").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_data_directory(path, clock=ManualClock(), current=2, upgrades={1: crash})
    assert (path / "format").read_text() == "1\n"

    def step(where: Path) -> None:
        (where / "strongroom" / "thing").write_text("new")

    open_data_directory(path, clock=ManualClock(), current=2, upgrades={1: step}).close()
    (backup,) = path.glob("backup-1-*")
    assert (backup / "strongroom" / "thing").read_text() == "old"
    assert (path / "strongroom" / "thing").read_text() == "new"


@pytest.mark.parametrize("after", ["mkdir", "organization", "format"])
def test_a_crash_while_it_is_made_leaves_one_that_can_be_opened(
    tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d"
    if after == "mkdir":
        path.mkdir(mode=0o700)
    else:
        real = files.replace

        def stop(where: Path, content: bytes) -> None:
            if where.name == after:
                raise KeyboardInterrupt
            real(where, content)

        monkeypatch.setattr(files, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            open_data_directory(path, clock=ManualClock())
        monkeypatch.undo()
    with open_data_directory(path, clock=ManualClock()) as directory:
        assert UUID(directory.organization_id).version == 7
    assert (path / "format").read_text() == "1\n"


def test_a_damaged_organization_is_not_replaced(tmp_path: Path) -> None:
    open_data_directory(tmp_path / "d", clock=ManualClock()).close()
    (tmp_path / "d" / "organization").write_bytes(b"\xff nonsense")
    with pytest.raises(StorageCorrupt, match="identifier"):
        open_data_directory(tmp_path / "d", clock=ManualClock())


def test_one_that_others_can_write_is_refused(tmp_path: Path) -> None:
    open_data_directory(tmp_path / "d", clock=ManualClock()).close()
    (tmp_path / "d").chmod(0o777)
    with pytest.raises(StorageError, match="can be written by other users"):
        open_data_directory(tmp_path / "d", clock=ManualClock())


def test_a_place_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used") as refused:
        open_data_directory(tmp_path / "file" / "d", clock=ManualClock())
    assert "--data-dir" in refused.value.advice


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Root opens the lock in a directory that belongs to the gateway's user."""
    path = tmp_path / "data"
    open_data_directory(path, clock=ManualClock()).close()
    precious = tmp_path / "precious"
    precious.write_text("do not truncate")
    (path / "lock").unlink()
    (path / "lock").symlink_to(precious)
    with pytest.raises(StorageError):
        open_data_directory(path, clock=ManualClock())
    assert precious.read_text() == "do not truncate"
