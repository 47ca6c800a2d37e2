"""keyring:// against GNOME's keyring on a session bus of its own, where these are installed."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from keyring.backends.SecretService import Keyring
from tests.support import secret_service
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock
from tests.support.running_gateway import running_gateway
from tests.support.store_tools import fake_key, opened, reference, versions

from keylease.errors import SecretNotFound, StoreAccessDenied, StoreUnavailable, StoreUnsupported
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.stores.keyring import KeyringStore, encrypting_backend

secretstorage = pytest.importorskip("secretstorage", reason="made for Linux desktops")
pytestmark = pytest.mark.skipif(
    bool(secret_service.missing()), reason=f"not installed: {secret_service.missing()}"
)
WANTED = reference("keyring://keylease/openai")


@pytest.fixture
async def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    directory = tmp_path / "session"
    directory.mkdir()
    with secret_service.secret_service(directory) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        await eventually(_unlocked, seconds=20)
        yield environment


def _session_keyring() -> Any:  # noqa: ANN401 - the library has no types
    return Keyring()  # type: ignore[no-untyped-call]  # as above


def _unlocked() -> bool:
    try:
        connection = secretstorage.dbus_init()
    except secretstorage.SecretServiceNotAvailableException:
        return False
    try:
        return secretstorage.check_service_availability(connection) and not (
            secretstorage.get_default_collection(connection).is_locked()
        )
    except secretstorage.SecretStorageException:
        return False
    finally:
        connection.close()


def _lock() -> None:
    connection = secretstorage.dbus_init()
    secretstorage.get_default_collection(connection).lock()
    connection.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("session")
async def test_a_secret_of_the_session_is_read_and_a_new_one_has_another_version() -> None:
    store = KeyringStore(
        StoreSettings(attempts=1, timeout_seconds=20), clock=ManualClock(), versions=versions()
    )
    assert type(encrypting_backend()) is Keyring
    with pytest.raises(SecretNotFound):
        await store.fetch(WANTED)
    found = []
    for key in (fake_key(), fake_key()):
        _session_keyring().set_password("keylease", "openai", key)
        fetched = await store.fetch(WANTED)
        assert opened(fetched) == key
        found.append(fetched.version)
    assert found[0] != found[1]
    _lock()
    # There is no screen to ask on, so the keyring says no at once.
    await _is_locked(store)
    gc.collect()  # the keyring library leaves a connection open when it fails


async def _is_locked(store: KeyringStore) -> None:
    with pytest.raises(StoreAccessDenied, match="locked"):
        await store.fetch(WANTED)


async def test_without_a_session_there_is_no_keyring(
    session: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del session
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    store = KeyringStore(
        StoreSettings(attempts=1, timeout_seconds=20), clock=ManualClock(), versions=versions()
    )
    with pytest.raises((StoreUnsupported, StoreUnavailable)):
        await store.fetch(WANTED)


async def test_a_gateway_reads_it_under_its_hardening(
    session: dict[str, str], tmp_path: Path
) -> None:
    _session_keyring().set_password("keylease", "openai", fake_key())
    gateway_toml = """
[[binding]]
reference = "keyring://keylease/*"
provider = "openai"
purposes = ["development"]
"""
    policy_toml = """version = 1
[[credential]]
name = "openai"
provider = "openai"
reference = "keyring://keylease/openai"
purposes = ["development"]
environment = "local"
"""
    with running_gateway(
        tmp_path, gateway_toml=gateway_toml, policy_toml=policy_toml, session=session
    ) as gateway:
        checked = gateway.control("credentials.check")
        assert "error" not in str(checked), checked
