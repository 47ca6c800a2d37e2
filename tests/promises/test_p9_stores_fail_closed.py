"""P9: it fails closed and says so. Here: every secret store, by its own kinds of fault.

Each store first gives its secret, then is broken; at its age the secret may not be used any more,
and nothing else - no default, no plaintext, no older copy - comes in its place.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.plain_answers import answering
from tests.support.store_tools import fake_key, opened, reference

from keylease.errors import SealedKeyMissing, StoreError
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.cache import CredentialCache
from keylease.strongroom.stores.registry import StoreRegistry, build_stores

VALUE = fake_key()


class Machine:
    """A registry with working local stores, and what it takes to break each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.mounted = directory / "mounted"
        self.mounted.mkdir()
        (self.mounted / "key").write_text(VALUE)
        self.settings = StoreSettings(
            file_directories=(str(self.mounted),), attempts=1, timeout_seconds=2
        )
        self.stores = self.build()
        self.stores.sealed.put("key", Secret(VALUE), provider="", hosts=())

    def build(self, settings: StoreSettings | None = None) -> StoreRegistry:
        return build_stores(
            settings or self.settings,
            data_directory=self.directory / "data",
            environment={"KEY": Secret(VALUE)},
            clock=self.clock,
            config_directory=self.directory / "config",
        )

    @property
    def sealed_file(self) -> Path:
        return self.directory / "data" / "strongroom" / "sealed.json"

    @property
    def key_file(self) -> Path:
        return self.directory / "config" / "sealing.key"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    await machine.stores.close()


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _made_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


FAULTS: dict[str, tuple[str, Callable[[Machine], object]]] = {
    "file removed": ("file", lambda m: (m.mounted / "key").unlink()),
    "file emptied": ("file", lambda m: _emptied(m.mounted / "key")),
    "file a link to elsewhere": (
        "file",
        lambda m: _made_a_link(m.mounted / "key"),
    ),
    "sealed store removed": ("sealed", lambda m: m.sealed_file.unlink()),
    "sealed store damaged": (
        "sealed",
        lambda m: m.sealed_file.write_bytes(m.sealed_file.read_bytes()[:-20]),
    ),
    "sealed key gone": ("sealed", lambda m: m.key_file.unlink()),
    "sealed key readable by others": ("sealed", lambda m: m.key_file.chmod(0o644)),
    "sealed key of another store": (
        "sealed",
        lambda m: m.key_file.write_bytes(b"keylease-sealing-key-1:" + b"QUFB" * 10 + b"QUE=\n"),
    ),
}


@pytest.mark.parametrize(("scheme", "fault"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_broken_store_ends_the_use_of_its_secret(
    machine: Machine, scheme: str, fault: Callable[[Machine], object]
) -> None:
    wanted = reference({"file": f"file://{machine.mounted}/key", "sealed": "sealed://key"}[scheme])
    cache = CredentialCache(machine.stores, clock=machine.clock, settings=machine.settings)
    assert opened(await cache.get(wanted)) == VALUE
    fault(machine)
    machine.clock.advance(machine.settings.maximum_age_seconds)
    await machine.stores.sealed.close()  # as after a restart: keys are not held any more
    with pytest.raises(StoreError) as caught:
        await cache.get(wanted)
    assert caught.value.advice or caught.value.message
    assert VALUE not in str(caught.value)
    machine.clock.advance(5)
    with pytest.raises(StoreError):
        await cache.get(wanted)
    await cache.close()


async def test_a_lost_key_is_never_replaced_by_a_new_one(machine: Machine) -> None:
    machine.key_file.unlink()
    await machine.stores.sealed.close()
    with pytest.raises(SealedKeyMissing):
        machine.stores.sealed.put("other", Secret("x"), provider="", hosts=())
    assert not machine.key_file.exists()


async def test_a_store_that_is_not_set_up_is_no_reason_to_look_elsewhere(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "ELSEWHERE", VALUE)
    monkeypatch.setitem(os.environ, "PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for text in (
        "env://ELSEWHERE",
        "vault://secret/key#value",
        "keyring://keylease/key",
        "file:///etc/hostname",
        "sealed://other",
    ):
        with pytest.raises(StoreError):
            await machine.stores.fetch(reference(text))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b"null"),
        (200, b"<html>"),
        (200, b'{"data": {"data": {"value": ""}}}'),
        (204, b""),
        (302, b""),
        (403, b"{}"),
        (404, b"{}"),
        (500, b"{}"),
    ],
    ids=str,
)
async def test_whatever_a_server_answers_it_is_a_secret_or_an_error(
    machine: Machine, status: int, body: bytes
) -> None:
    with answering(status, body) as server:
        settings = StoreSettings(
            vault_address=server.url, aws_endpoint=server.url, attempts=1, timeout_seconds=2
        )
        stores = build_stores(
            settings,
            data_directory=machine.directory / "data",
            environment={
                "VAULT_TOKEN": Secret("hvs.test"),
                "AWS_ACCESS_KEY_ID": Secret("test"),
                "AWS_SECRET_ACCESS_KEY": Secret("test"),
            },
            clock=machine.clock,
            config_directory=machine.directory / "config",
        )
        for text in ("vault://secret/key#value", "aws-sm://eu-central-1/key#value"):
            with pytest.raises(StoreError):
                await stores.fetch(reference(text))
        await stores.close()
