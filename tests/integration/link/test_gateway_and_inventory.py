"""A gateway uses a key, a scan finds a copy: the inventory says which it is and who uses it."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.link.test_gateway_and_platform import code, in_force, put_policy
from tests.support.hostile_upstream import HostileUpstream, hostile_upstream
from tests.support.linked_gateway import LinkedPlace, call, wait_for
from tests.support.serving_platform import ServingPlatform, serving_platform

from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.inventory.records import Sighting
from keylease.platform.inventory.repository import Wanted

ALPHABET = string.ascii_letters + string.digits


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with hostile_upstream() as server:
        yield server


def keylease(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "keylease", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def api_key(platform: ServingPlatform, home: Path, *permissions: str) -> Path:
    wanted = NewApiKey(name="-".join(permissions).replace(":", "-"), permissions=permissions)
    shown = platform.do(lambda: platform.services.identity.api_keys.create(platform.owner, wanted))
    file = home / wanted.name
    file.write_text(shown.text)
    file.chmod(0o600)
    return file


def inventory(platform: ServingPlatform) -> tuple[Sighting, ...]:
    return platform.do(lambda: platform.services.inventory.all(platform.owner, Wanted()))


def test_a_copy_of_a_key_in_use_is_named_with_its_consumers(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shared = home / "fingerprint.key"
    keylease(home, "fingerprint-key", "create", str(shared), "--id", "acme")
    with serving_platform(tmp_path / "platform") as platform:
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        place.text = place.text.replace("[platform]", f'[platform]\nfingerprint_key = "{shared}"')
        chance = random.SystemRandom()
        place.key = ("gsk_" + "".join(chance.choices(ALPHABET, k=52))).encode()
        (place.keys / "good").write_bytes(place.key)
        assert place.enroll(code(platform)).returncode == 0
        checkout = tmp_path / "checkout"
        checkout.mkdir()
        (checkout / "old.env").write_text(f"GROQ_API_KEY={place.key.decode()}\n")
        pusher = api_key(platform, home, "inventory:write")
        reader = api_key(platform, home, "inventory:read")
        with place.running() as gateway:
            put_policy(platform, place)
            wait_for(lambda: in_force(platform) > 0)
            # 1. The key is used, and its fingerprint is at the platform.
            assert call(gateway, gateway.lease(principal="user:nightly")) == (200, "")
            wait_for(lambda: gateway.control("status")["platform"]["fingerprints"]["told"] == 1)
            assert gateway.control("status")["platform"]["fingerprints"]["key"] == "acme.1"
            # 2. A scan finds a copy.
            keylease(
                home, "scan", "--push", "--fingerprint-key", str(shared),
                "--server", platform.url, "--api-key-file", str(pusher), str(checkout),
            )  # fmt: skip
            wait_for(lambda: inventory(platform) and inventory(platform)[0].consumers)
        (found,) = inventory(platform)
        assert found.credential is not None
        assert found.credential.name == "upstream"
        assert [use.principal for use in found.consumers] == ["user:nightly"]
        assert found.reported[0].gateway_id
        # 3. The blast radius names who breaks.
        asked = ("--server", platform.url, "--api-key-file", str(reader))
        for subject in (
            ("--credential", "upstream"),
            ("--location", found.places[0].id),
            ("--principal", "user:nightly"),
        ):
            told = keylease(home, "incident", "preview", *subject, "--format", "json", *asked)
            (affected,) = json.loads(told)["affected"]
            assert affected["consumers"][0]["principal"] == "user:nightly"
        shown = keylease(home, "incident", "preview", "--credential", "upstream", *asked)
        assert "user:nightly" in shown
        assert "upstream" in keylease(home, "inventory", "show", found.id, *asked)
    # 4. Neither the key nor the fingerprint key is anywhere at the platform.
    secret = json.loads(shared.read_bytes())["keys"][0]["key"].encode()
    for file in (tmp_path / "platform").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert place.key not in content
            assert secret not in content


def test_a_gateway_without_its_fingerprint_key_does_not_start(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    place = LinkedPlace(tmp_path / "place", "http://127.0.0.1:9", upstream.url)
    place.text = place.text.replace("[platform]", '[platform]\nfingerprint_key = "nowhere.key"')
    with pytest.raises(AssertionError, match="no fingerprint key at"), place.running():
        pass
