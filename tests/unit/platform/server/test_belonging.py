"""A directory whose keys are not those of the database stops the start, in one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.audit_kit import ADA, ORG, OTHER_ORG, Rig, record
from tests.support.manual_clock import ManualClock
from tests.support.sign_in_kit import house_of

from keylease.errors import DataDirectoryForeign
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.identity.sealing import KEY_BYTES, KEY_FILE
from keylease.platform.server.belonging import check_belonging, sealed_otherwise


@pytest.fixture
async def rig(database: Database, tmp_path: Path, clock: ManualClock) -> Rig:
    made = Rig(database, tmp_path / "ours" / "audit", clock)
    await record(database, "first")
    await made.sequencer.drain()
    return made


async def test_the_directory_that_was_used_belongs(rig: Rig, tmp_path: Path) -> None:
    await check_belonging(rig.database, tmp_path / "ours")
    await rig.sequencer.rotate_key(Caller(principal=ADA, organization_id=ORG))
    await check_belonging(rig.database, tmp_path / "ours")
    await record(rig.database, "second")
    await rig.sequencer.drain()
    await check_belonging(rig.database, tmp_path / "ours")


async def test_a_new_database_takes_any_directory(database: Database, tmp_path: Path) -> None:
    await check_belonging(database, tmp_path / "none")


async def test_an_empty_directory_and_a_foreign_one_are_refused(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryForeign) as refused:
        await check_belonging(rig.database, tmp_path / "empty")
    assert f"keys/{ORG}.key" in refused.value.message
    assert "postgresql.md" in refused.value.advice
    assert not (tmp_path / "empty").exists()
    # Another installation's, with a log and a key of the same name.
    foreign = tmp_path / "foreign" / "audit"
    shutil.copytree(rig.directory, foreign)
    key = foreign / "keys" / f"{ORG}.key"
    key.unlink()
    Rig(rig.database, foreign, rig.clock).files._keys.make(ORG, origin="another")
    with pytest.raises(DataDirectoryForeign):
        await check_belonging(rig.database, tmp_path / "foreign")


async def test_every_organization_is_looked_at(rig: Rig, tmp_path: Path) -> None:
    await record(rig.database, "theirs", organization_id=OTHER_ORG)
    await rig.sequencer.drain()
    (rig.directory / "keys" / f"{OTHER_ORG}.key").unlink()
    with pytest.raises(DataDirectoryForeign) as refused:
        await check_belonging(rig.database, tmp_path / "ours")
    assert ORG not in refused.value.message
    assert OTHER_ORG in refused.value.message


async def test_a_sign_in_key_that_is_another_one_is_said(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house_of(database, clock, tmp_path, monkeypatch) as house:
        await house.with_codes(await house.owner())
    assert await sealed_otherwise(database, tmp_path) == 0
    key = tmp_path / KEY_FILE
    for content in (None, b"x" * KEY_BYTES, b"short"):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        assert await sealed_otherwise(database, tmp_path) == 1
        await check_belonging(database, tmp_path)  # and it starts all the same


async def test_a_damaged_log_with_the_right_key_is_left_to_its_own_checks(
    rig: Rig, tmp_path: Path
) -> None:
    shutil.rmtree(rig.directory / "logs" / ORG)
    await check_belonging(rig.database, tmp_path / "ours")
