from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, opened, reference

from keylease.contracts.references import SCHEMES, Reference
from keylease.errors import BindingMissing, SecretInvalid, StorageCorrupt, StoreUnsupported
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.registry import (
    StoreRegistry,
    build_stores,
    default_key_file,
    environment_names,
)
from keylease.strongroom.stores.versions import FILE_NAME, VersionNames


def build(
    directory: Path, settings: StoreSettings | None = None, **environment: str
) -> StoreRegistry:
    return build_stores(
        settings or StoreSettings(),
        data_directory=directory / "data",
        environment={name: Secret(value) for name, value in environment.items()},
        clock=ManualClock(),
        config_directory=directory / "config",
    )


async def test_every_scheme_has_a_store(tmp_path: Path) -> None:
    registry = build(tmp_path)
    assert set(registry._stores) == set(SCHEMES)
    with pytest.raises(StoreUnsupported):
        await registry.fetch(Reference(scheme="gopher", path="x"))
    await registry.close()


async def test_each_reference_goes_to_its_store(tmp_path: Path) -> None:
    value, mounted = fake_key(), tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "key").write_text(value)
    settings = StoreSettings(file_directories=(str(mounted),))
    registry = build(tmp_path, settings, OPENAI=value)
    registry.sealed.put("openai", Secret(value), provider="", hosts=())
    for text in ("env://OPENAI", f"file://{mounted}/key", "sealed://openai"):
        assert opened(await registry.fetch(reference(text))) == value
    assert await registry.signature(reference("env://OPENAI")) is None
    assert await registry.signature(reference("sealed://openai")) is not None
    assert await registry.signature(reference(f"file://{mounted}/key")) is not None
    assert (tmp_path / "config" / "sealing.key").exists()
    assert len(registry.posture()) == 1
    await registry.close()


async def test_vault_without_an_address_says_what_to_set(tmp_path: Path) -> None:
    registry = build(tmp_path)
    with pytest.raises(StoreUnsupported, match="address"):
        await registry.fetch(reference("vault://secret/x#key"))
    await registry.close()


async def test_a_secret_over_the_bound_is_refused(tmp_path: Path) -> None:
    registry = build(tmp_path, BIG="x" * (64 * 1024 + 1))
    with pytest.raises(SecretInvalid, match="65536"):
        await registry.fetch(reference("env://BIG"))
    await registry.close()


def test_version_names_survive_a_restart_and_confirm_no_guess(tmp_path: Path) -> None:
    secret, wanted = Secret(fake_key()), reference("env://A")
    one = VersionNames.load(tmp_path, random_bytes=b"a" * 32)
    two = VersionNames.load(tmp_path, random_bytes=b"b" * 32)
    assert one.name(wanted, secret) == two.name(wanted, secret)
    other = VersionNames.load(tmp_path / "other", random_bytes=b"b" * 32)
    assert other.name(wanted, secret) != one.name(wanted, secret)
    assert one.name(reference("env://B"), secret) != one.name(wanted, secret)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_damaged_version_key_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"short")
    with pytest.raises(StorageCorrupt, match="damaged"):
        VersionNames.load(tmp_path, random_bytes=b"a" * 32)


def test_names_that_the_launcher_hands_over() -> None:
    assert "VAULT_TOKEN" not in environment_names(StoreSettings())
    vault = StoreSettings(vault_address="https://v")
    assert "VAULT_TOKEN" in environment_names(vault)
    assert "AWS_SECRET_ACCESS_KEY" in environment_names(vault)
    with_file = StoreSettings(vault_address="https://v", vault_token_file="/t")
    assert "VAULT_TOKEN" not in environment_names(with_file)


def test_the_default_key_file_is_outside_the_data_directory() -> None:
    assert default_key_file(None) == Path("~/.config/keylease/sealing.key").expanduser()
    assert default_key_file(Path("/c")) == Path("/c/sealing.key")


async def test_building_imports_no_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boto3", "keyring"):
        monkeypatch.setitem(sys.modules, name, None)
    registry = build(tmp_path)
    for text, extra in (("aws-sm://eu-central-1/x", "aws"), ("keyring://s/n", "keyring")):
        with pytest.raises(StoreUnsupported, match=rf"keylease\[{extra}\]"):
            await registry.fetch(reference(text))
    await registry.close()


async def test_a_sealed_secret_goes_only_where_it_was_sealed_for(tmp_path: Path) -> None:
    registry = build(tmp_path, OPENAI="x")
    put = registry.sealed.put
    put("openai", Secret("x"), provider="openai", hosts=("api.openai.com",))
    put("free", Secret("x"), provider="", hosts=())
    put("keylease-lease-signing-key", Secret("x"), provider="keylease", hosts=())
    require = registry.require_recorded_binding
    await require(reference("sealed://openai"), provider="openai", host="api.openai.com")
    for text in ("sealed://free", "env://OPENAI", "vault://secret/x#key"):
        await require(reference(text), provider="openai", host="elsewhere.example")
    for name, provider, host in (
        ("openai", "openai", "elsewhere.example"),
        ("openai", "anthropic", "api.openai.com"),
        ("keylease-lease-signing-key", "openai", "api.openai.com"),
        ("keylease-lease-signing-key", "keylease", "api.openai.com"),
    ):
        with pytest.raises(BindingMissing, match="was sealed for"):
            await require(reference(f"sealed://{name}"), provider=provider, host=host)
    await registry.close()
