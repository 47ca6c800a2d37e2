"""A real gateway and a platform that keeps the protocol: enrolment, policy, records, restarts."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.support.fake_platform import FakePlatform, fake_platform
from tests.support.hostile_upstream import HostileUpstream, hostile_upstream
from tests.support.linked_gateway import LinkedPlace, call, wait_for

from keylease.contracts.audit import AuditAction
from keylease.primitives.clock import MICROSECONDS


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with hostile_upstream() as server:
        yield server


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with fake_platform() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, platform: FakePlatform, upstream: HostileUpstream) -> LinkedPlace:
    return LinkedPlace(tmp_path, platform.url, upstream.url)


def test_from_the_code_to_the_first_call(platform: FakePlatform, place: LinkedPlace) -> None:
    with place.running() as gateway:
        # 1. Not enrolled: it runs, and serves nothing.
        ready = httpx.get(f"{gateway.url}/readyz", trust_env=False)
        assert (ready.status_code, ready.json()["status"]) == (503, "no policy in force")
        assert gateway.control("status")["platform"]["enrolled"] is False
        # 2. Enrolled while it runs.
        done = place.enroll(platform.code())
        assert done.returncode == 0, done.stderr
        assert platform.enrolments[0].group == "local"
        key = place.data / "strongroom" / "platform" / "key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        # 3. A policy, and a call by it.
        platform.publish(platform.bundle(**place.policy()))
        wait_for(lambda: platform.in_force(1))
        lease = gateway.lease()
        assert call(gateway, lease) == (200, "")
        assert httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == 200
        status = gateway.control("policy.status")
        assert (status["source"], status["version"]) == ("platform", 1)
        # 4. Its record and its audit entries reach the platform, with the organization's name.
        wait_for(lambda: platform.call_records)
        wait_for(lambda: AuditAction.LEASE_ISSUED in [e.action for e in platform.audit_entries])
        [record] = platform.call_records
        assert (record.organization_id, record.policy_version) == (platform.organization_id, 1)
        entries = platform.audit_entries
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert platform.faults == []
    assert place.key.decode() not in repr(vars(platform))


def test_a_code_is_good_once_and_for_its_platform(
    platform: FakePlatform, place: LinkedPlace
) -> None:
    code = platform.code()
    broken = place.enroll(code[:-1] + ("A" if code[-1] != "A" else "B"))
    assert broken.returncode == 64
    assert "checksum" in broken.stderr
    assert place.enroll(code).returncode == 0
    again = place.enroll(code)
    assert again.returncode != 0
    assert "enrolment_refused" in again.stderr
    with fake_platform() as other:
        other._codes.add(stolen := platform.code())
        platform._codes.discard(stolen)
        text = place.text.replace(platform.url, other.url)
        (place.config / "gateway.toml").write_text(text)
        refused = place.enroll(stolen)
        assert refused.returncode != 0
        assert "another policy key" in refused.stderr
    for said in (broken, again, refused):
        assert code not in said.stderr + said.stdout


def test_with_the_platform_away_the_last_bundle_serves_until_its_expiry(
    platform: FakePlatform, place: LinkedPlace
) -> None:
    assert place.enroll(platform.code()).returncode == 0
    platform.publish(platform.bundle(**place.policy()))
    with place.running() as gateway:
        wait_for(lambda: platform.in_force(1))
    platform.stop()
    # A restart with no platform in reach: the last good bundle is on the disk.
    with place.running() as gateway:
        lease = gateway.lease()
        assert call(gateway, lease) == (200, "")
        assert gateway.control("status")["platform"]["connected"] is False
        waiting = gateway.control("status")["spool"]["bytes"]
        assert waiting > 0
        # It comes back with a bundle that ends soon, and goes again.
        platform.start()
        now = platform.clock.now()
        platform.publish(
            platform.bundle(**place.policy(), version=2, expires_at=now + 4 * MICROSECONDS)
        )
        wait_for(lambda: platform.in_force(2))
        wait_for(lambda: platform.call_records)
        platform.stop()
        wait_for(lambda: call(gateway, lease)[0] == 503)
        assert call(gateway, lease) == (503, "calls_not_accepted")
        assert gateway.control("policy.status")["error"].startswith("bundle_expired")
        ready = httpx.get(f"{gateway.url}/readyz", trust_env=False)
        assert ready.status_code == 503
    with place.running() as gateway:
        assert call(gateway, lease) == (503, "calls_not_accepted")
        # 5. With the platform back, everything is as before, and nothing was lost.
        platform.start()
        platform.publish(platform.bundle(**place.policy(), version=3))
        wait_for(lambda: platform.in_force(3))
        assert call(gateway, gateway.lease()) == (200, "")
        wait_for(lambda: len(platform.call_records) >= 2)
        wait_for(lambda: AuditAction.POLICY_EXPIRED in [e.action for e in platform.audit_entries])
    sequences = [entry.sequence for entry in platform.audit_entries]
    assert sorted(set(sequences)) == list(range(1, max(sequences) + 1))
    assert platform.faults == []


def test_a_revoked_gateway_serves_nothing_also_after_a_restart(
    platform: FakePlatform, place: LinkedPlace
) -> None:
    assert place.enroll(platform.code()).returncode == 0
    bundle = platform.bundle(**place.policy())
    platform.publish(bundle)
    with place.running() as gateway:
        wait_for(lambda: platform.in_force(1))
        lease = gateway.lease()
        platform.revoked = set(platform.gateways)
        platform.publish(msgspec.structs.replace(bundle, version=2))
        wait_for(lambda: call(gateway, lease)[0] == 503)
    platform.stop()
    with place.running() as gateway:
        assert call(gateway, lease) == (503, "calls_not_accepted")
