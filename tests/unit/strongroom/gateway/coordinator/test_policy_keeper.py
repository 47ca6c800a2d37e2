from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.lease_kit import ORGANIZATION
from tests.support.manual_clock import ManualClock

from keylease.errors import PolicyFileInvalid, StorageCorrupt
from keylease.strongroom.config_files.default_files import policy_text
from keylease.strongroom.gateway.coordinator.policy_keeper import PolicyKeeper


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keylease.toml"
    file.write_text(policy_text())
    return file


def keeper(file: Path) -> PolicyKeeper:
    return PolicyKeeper(
        file, directory=file.parent, organization_id=ORGANIZATION, clock=ManualClock()
    )


def test_the_version_counts_changes_of_content(file: Path) -> None:
    first = keeper(file)
    assert first.load()
    assert first.bundle.version == 1
    assert not first.load()
    file.write_text("# a remark\n" + policy_text())
    assert first.file_changed()
    assert not first.load()
    assert not first.file_changed()
    file.write_text(policy_text().replace("= 600", "= 601"))
    assert first.load()
    assert first.bundle.version == 2
    file.write_text(policy_text())
    assert first.load()
    assert first.bundle.version == 3


def test_the_version_survives_a_restart(file: Path) -> None:
    keeper(file).load()
    again = keeper(file)
    again.load()
    assert again.bundle.version == 1
    file.write_text(policy_text().replace("= 600", "= 601"))
    third = keeper(file)
    third.load()
    assert third.bundle.version == 2


def test_a_broken_file_changes_nothing_but_the_status(file: Path) -> None:
    policy = keeper(file)
    policy.load()
    before = policy.bundle
    file.write_text("version = 1\n[[credentail]]\n")
    with pytest.raises(PolicyFileInvalid):
        policy.load()
    assert policy.bundle is before
    assert "credentail" in policy.status.error
    assert policy.status.error_at
    assert not policy.file_changed()


def test_a_damaged_mark_stops_the_start(file: Path) -> None:
    keeper(file).load()
    (file.parent / "policy-high-water").write_text("{")
    with pytest.raises(StorageCorrupt):
        keeper(file)


def test_without_a_policy_nothing_is_decided(file: Path) -> None:
    with pytest.raises(PolicyFileInvalid):
        keeper(file).bundle  # noqa: B018 - reading it raises
