"""What root gives to the gateway's user, and what it must not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from keylease.primitives.confinement import users

UID = 61141


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_links_lead_to_is_not_given_away(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("root's")
    data = tmp_path / "data"
    (data / "strongroom" / "calls").mkdir(parents=True)
    (data / "strongroom" / "sealed.json").touch()
    (data / "strongroom" / "folder").symlink_to(outside)
    (data / "strongroom" / "file").symlink_to(outside / "file")
    users._give(data, UID)
    for path in (data, data / "strongroom", data / "strongroom" / "calls"):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (UID, 0o700)
    assert (data / "strongroom" / "sealed.json").stat().st_uid == UID
    assert (outside.stat().st_uid, (outside / "file").stat().st_uid) == (0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_that_takes_a_folders_place_meanwhile_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    data = tmp_path / "data"
    (data / "folder" / "below").mkdir(parents=True)
    real = os.fchown

    def swap(descriptor: int, uid: int, gid: int) -> None:
        real(descriptor, uid, gid)
        if (data / "folder").is_dir() and not (data / "folder").is_symlink():
            (data / "folder").rename(data / "gone")
            (data / "folder").symlink_to(outside)

    monkeypatch.setattr(os, "fchown", swap)
    users._give(data, UID)
    assert outside.stat().st_uid == 0
    assert (outside / "below").stat().st_uid == 0
