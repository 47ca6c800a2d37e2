"""Fingerprints go to the platform: once, again after a restart of the talk, and never the key."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.eventually import eventually

from keylease.contracts import platform_link as wire
from keylease.errors import FingerprintKeyInvalid, PlatformRefused, PlatformUnreachable
from keylease.primitives import files
from keylease.primitives.fingerprints import FingerprintKeys, key_file, new_keys
from keylease.strongroom.gateway.coordinator.log import make_log
from keylease.strongroom.link import fingerprint_reports
from keylease.strongroom.link.fingerprint_reports import FingerprintReports
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret


class Platform:
    def __init__(self) -> None:
        self.pushes: list[wire.FingerprintPush] = []
        self.failing: Exception | None = None
        self.set_aside = 0

    async def push_fingerprints(self, push: wire.FingerprintPush) -> wire.PushAnswer:
        if self.failing is not None:
            raise self.failing
        self.pushes.append(push)
        return wire.PushAnswer(taken=len(push.secrets), set_aside=self.set_aside)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(one.credential_id, one.version) for push in self.pushes for one in push.secrets]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROWING_SECONDS", "_FIRST_PAUSE", "_LONGEST_PAUSE", "_REFUSED_PAUSE"):
        monkeypatch.setattr(fingerprint_reports, name, 0.001)


@pytest.fixture
def keys(tmp_path: Path) -> FingerprintKeys:
    made = new_keys("acme")
    files.create(tmp_path / "fingerprint.key", key_file(made))
    return made


def reports_at(tmp_path: Path) -> FingerprintReports:
    return FingerprintReports(tmp_path / "fingerprint.key", log=make_log(level="error"))


def fetched(secret: bytes, version: str = "v1") -> FetchedSecret:
    return FetchedSecret(secret=Secret(secret), version=version, fetched_at=1)


@contextlib.asynccontextmanager
async def talking(reports: FingerprintReports, platform: Platform) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reports.run(platform))
        yield
        task.cancel()


async def test_a_fetched_secret_is_told_once(tmp_path: Path, keys: FingerprintKeys) -> None:
    secret, reports, platform = os.urandom(24).hex().encode(), reports_at(tmp_path), Platform()
    async with talking(reports, platform):
        for _ in range(3):
            reports.note(("one", "two"), fetched(secret))
        await eventually(lambda: len(platform.told) == 2)
        reports.note(("one", "two"), fetched(secret))
        reports.note(("one",), fetched(secret, "v2"))
        await eventually(lambda: len(platform.told) == 3)
    assert platform.told == [("one", "v1"), ("two", "v1"), ("one", "v2")]
    assert platform.pushes[0].secrets[0].fingerprints == keys.of(secret)
    assert reports.state.told == 2
    written = msgspec.json.encode(platform.pushes)
    assert secret not in written
    assert keys.current.danger_bytes().hex().encode() not in written
    # Another talk may be with another platform: it hears everything.
    other = Platform()
    async with talking(reports, other):
        await eventually(lambda: len(other.told) == 2)


async def test_what_the_platform_does_not_know_yet_is_told_after_the_next_fetch(
    tmp_path: Path, keys: FingerprintKeys
) -> None:
    assert keys.previous is None
    secret, reports, platform = os.urandom(24).hex().encode(), reports_at(tmp_path), Platform()
    platform.set_aside = 1
    async with talking(reports, platform):
        reports.note(("one",), fetched(secret))
        await eventually(lambda: len(platform.told) == 1)
        await eventually(lambda: not reports._waiting)
        assert reports.state.told == 0
        platform.set_aside = 0
        reports.note(("one",), fetched(secret))
        await eventually(lambda: reports.state.told == 1)
    assert platform.told == [("one", "v1")] * 2


async def test_a_secret_that_could_be_guessed_has_no_fingerprint(
    tmp_path: Path, keys: FingerprintKeys
) -> None:
    assert keys.current.id == "acme"
    reports, platform = reports_at(tmp_path), Platform()
    async with talking(reports, platform):
        reports.note(("weak",), fetched(b"correct horse"))
        reports.note(("strong",), fetched(os.urandom(24).hex().encode()))
        await eventually(lambda: bool(platform.told))
    assert platform.told == [("strong", "v1")]


@pytest.mark.parametrize(
    "error",
    [
        PlatformRefused("The platform refuses: not_found.", reason="not_found"),
        PlatformUnreachable("The platform does not answer."),
    ],
)
async def test_an_older_or_absent_platform_hears_it_later(
    tmp_path: Path, keys: FingerprintKeys, error: Exception
) -> None:
    assert keys.previous is None
    reports, platform = reports_at(tmp_path), Platform()
    platform.failing = error
    async with talking(reports, platform):
        reports.note(("one",), fetched(os.urandom(24).hex().encode()))
        await eventually(lambda: bool(reports.state.error))
        reports.note(("one",), fetched(os.urandom(24).hex().encode(), "v2"))
        platform.failing = None
        await eventually(lambda: bool(platform.told))
    assert platform.told == [("one", "v2")]
    assert reports.state.error == ""


async def test_a_rotated_key_is_used_from_the_next_fetch_on(
    tmp_path: Path, keys: FingerprintKeys
) -> None:
    secret, reports, platform = os.urandom(24).hex().encode(), reports_at(tmp_path), Platform()
    assert reports.state.key == "acme.1"
    rotated = keys.rotated()
    async with talking(reports, platform):
        reports.note(("one",), fetched(secret))
        await eventually(lambda: len(platform.told) == 1)
        files.replace(tmp_path / "fingerprint.key", key_file(rotated))
        reports.note(("one",), fetched(secret))
        await eventually(lambda: len(platform.told) == 2)
    assert platform.pushes[1].secrets[0].fingerprints == rotated.of(secret)
    assert reports.state.key == "acme.2"


async def test_a_key_that_cannot_be_used_stops_the_start_and_no_fetch(
    tmp_path: Path, keys: FingerprintKeys
) -> None:
    assert keys.previous is None
    file = tmp_path / "fingerprint.key"
    reports = reports_at(tmp_path)
    file.chmod(0o644)
    reports.note(("one",), fetched(os.urandom(24).hex().encode()))
    assert "can be read by others" in reports.state.error
    with pytest.raises(FingerprintKeyInvalid):
        reports_at(tmp_path)
    file.unlink()
    with pytest.raises(FingerprintKeyInvalid, match="no fingerprint key"):
        reports_at(tmp_path)
