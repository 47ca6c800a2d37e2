from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.openbao import Bao, running_bao
from tests.support.stalling_proxy import stalling_proxy
from tests.support.store_tools import fake_key, opened, reference
from tests.support.vault_kit import (
    Opened,
    fetch,
    put_token,
    readers,
    secret_path,
    settings,
    stores,
    token_file,
)

from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.primitives.clock import SystemClock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.stores.cache import CredentialCache
from keylease.strongroom.stores.registry import build_stores

__all__ = ["readers", "settings", "stores", "token_file"]


async def test_version_2_with_its_version(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    path, first, second = secret_path(), fake_key(), fake_key()
    store = stores.store(settings)
    bao.put_v2(path, key=first, other="x")
    before = time.time_ns() // 1000
    fetched = await fetch(store, f"vault://secret/{path}#key")
    assert (opened(fetched), fetched.version) == (first, "1")
    assert before <= fetched.fetched_at <= time.time_ns() // 1000
    bao.put_v2(path, key=second)
    fetched = await fetch(store, f"vault://secret/{path}#key")
    assert (opened(fetched), fetched.version) == (second, "2")


async def test_version_1_with_a_digest(bao: Bao, stores: Opened, settings: StoreSettings) -> None:
    path, value = secret_path(), fake_key()
    store = stores.store(settings)
    bao.write(f"old/{path}", key=value)
    fetched = await fetch(store, f"vault://old/{path}#key")
    assert opened(fetched) == value
    assert fetched.version.startswith("digest-")
    bao.write(f"old/{path}", key=fake_key())
    assert (await fetch(store, f"vault://old/{path}#key")).version != fetched.version


async def test_a_mount_with_two_parts_and_odd_names(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    value = fake_key()
    bao.write("team/kv/data/a%20b/c%23d", data={"the key": value})
    fetched = await fetch(stores.store(settings), "vault://team/kv/a b/c%23d#the key")
    assert opened(fetched) == value


async def test_a_mount_made_anew_with_another_version(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    name = f"kv-{uuid.uuid4().hex[:8]}"
    bao.policy("anew", {f"{name}/*": ["read"]})
    put_token(settings, bao.token("anew"))
    store = stores.store(settings)
    for version, path in (("1", f"{name}/x"), ("2", f"{name}/data/x")):
        value = fake_key()
        bao.write(f"sys/mounts/{name}", type="kv", options={"version": version})
        deadline = time.monotonic() + 10
        while True:
            try:
                bao.write(path, **({"key": value} if version == "1" else {"data": {"key": value}}))
                break
            except httpx.HTTPStatusError:  # version 2 is still setting itself up
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        if version == "2":
            with pytest.raises((SecretNotFound, SecretInvalid, StoreAccessDenied)):
                await fetch(store, f"vault://{name}/x#key")
        assert opened(await fetch(store, f"vault://{name}/x#key")) == value
        bao.call("DELETE", f"sys/mounts/{name}")


async def test_missing_things_are_told_apart(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    path = secret_path()
    value = fake_key()
    bao.put_v2(path, key=value, number=42, nothing=None, nested={"a": value})
    store = stores.store(settings)
    with pytest.raises(SecretNotFound, match="no secret at"):
        await fetch(store, "vault://secret/team/absent#key")
    with pytest.raises(SecretNotFound, match="no field wrong"):
        await fetch(store, f"vault://secret/{path}#wrong")
    for field in ("number", "nothing", "nested"):
        with pytest.raises(SecretInvalid, match="not text") as caught:
            await fetch(store, f"vault://secret/{path}#{field}")
        assert value not in str(caught.value)
    bao.call("DELETE", f"secret/data/{path}")
    with pytest.raises(SecretNotFound, match="deleted"):
        await fetch(store, f"vault://secret/{path}#key")


async def test_permission_denied_says_what_to_check(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    bao.put_v2("private/x", key=fake_key())
    store = stores.store(settings)
    for text in ("vault://secret/private/x#key", "vault://nowhere/x#key"):
        with pytest.raises(StoreAccessDenied, match="/data/"):
            await fetch(store, text)


async def test_other_engines_and_missing_mounts(
    bao: Bao, stores: Opened, settings: StoreSettings
) -> None:
    put_token(settings, bao.root)
    store = stores.store(settings)
    with pytest.raises(StoreUnsupported, match="no KV engine"):
        await fetch(store, "vault://transit/keys/x#key")
    with pytest.raises(StoreAccessDenied, match="mount exists"):
        await fetch(store, "vault://nowhere/x#key")
    with pytest.raises(SecretNotFound, match="names a mount"):
        await fetch(store, "vault://team/kv#key")


async def test_a_wrong_token_is_denied_and_a_new_one_in_the_file_is_taken(
    bao: Bao, stores: Opened, settings: StoreSettings, readers: str
) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    good = bao.token(readers)
    put_token(settings, "hvs.wrong")
    store = stores.store(settings)
    with pytest.raises(StoreAccessDenied):
        await fetch(store, f"vault://secret/{path}#key")
    put_token(settings, good)
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
    bao.write("auth/token/revoke", token=good)
    with pytest.raises(StoreAccessDenied):
        await fetch(store, f"vault://secret/{path}#key")
    put_token(settings, bao.token(readers))
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value


async def test_the_token_may_come_from_the_handover(
    bao: Bao, stores: Opened, settings: StoreSettings, readers: str
) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    plain = StoreSettings(vault_address=settings.vault_address)
    store = stores.store(plain, VAULT_TOKEN=bao.token(readers))
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
    with pytest.raises(StoreAccessDenied, match="no Vault token"):
        await fetch(stores.store(plain), f"vault://secret/{path}#key")


# --- trouble -------------------------------------------------------------------------------


async def test_down_slow_and_back_again(bao: Bao, stores: Opened, settings: StoreSettings) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    port = urlsplit(bao.address).port
    assert port is not None
    async with stalling_proxy(port) as proxy:
        store = stores.store(
            StoreSettings(
                vault_address=f"http://127.0.0.1:{proxy.port}",
                vault_token_file=settings.vault_token_file,
                timeout_seconds=0.3,
                attempts=2,
            )
        )
        assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
        proxy.stalled = True
        began = time.monotonic()
        with pytest.raises(StoreTimedOut, match=r"0\.3 seconds"):
            await fetch(store, f"vault://secret/{path}#key")
        assert time.monotonic() - began < 3
        proxy.stalled, proxy.refusing = False, True
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await fetch(store, f"vault://secret/{path}#key")
        assert not isinstance(caught.value, StoreTimedOut)
        proxy.refusing = False
        assert opened(await fetch(store, f"vault://secret/{path}#key")) == value


async def test_nobody_listens(stores: Opened, token_file: Path) -> None:
    settings = StoreSettings(
        vault_address="http://127.0.0.1:9", vault_token_file=str(token_file), attempts=2
    )
    with pytest.raises(StoreUnavailable, match="ConnectError"):
        await fetch(stores.store(settings), "vault://secret/x#key")


async def test_a_rotated_value_is_seen_after_its_age_or_when_forced(
    bao: Bao, settings: StoreSettings, tmp_path: Path
) -> None:
    path, first, second, third = secret_path(), fake_key(), fake_key(), fake_key()
    bao.put_v2(path, key=first)
    short = StoreSettings(
        vault_address=settings.vault_address,
        vault_token_file=settings.vault_token_file,
        maximum_age_seconds=0.5,
    )
    registry = build_stores(
        short, data_directory=tmp_path / "data", environment={}, clock=SystemClock()
    )
    cache = CredentialCache(registry, clock=SystemClock(), settings=short)
    wanted = reference(f"vault://secret/{path}#key")
    held = await cache.get(wanted)
    bao.put_v2(path, key=second)
    assert opened(await cache.get(wanted)) == first, "young enough"
    held = await cache.get(wanted, fetched_after=held.fetched_at)
    assert (opened(held), held.version) == (second, "2")
    bao.put_v2(path, key=third)

    async def is_seen() -> bool:
        return opened(await cache.get(wanted)) == third

    deadline = time.monotonic() + 5
    while not await is_seen():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await cache.close()
    await registry.close()


async def test_rotated_under_load_costs_one_fetch_and_no_failure(
    bao: Bao, settings: StoreSettings, tmp_path: Path
) -> None:
    """A provider that refuses the old key: all who used it share one fresh fetch."""
    path, first, second = secret_path(), fake_key(), fake_key()
    bao.put_v2(path, key=first)
    fetches: list[object] = []
    registry = build_stores(
        settings, data_directory=tmp_path / "data", environment={}, clock=SystemClock()
    )
    cache = CredentialCache(
        registry,
        clock=SystemClock(),
        settings=settings,
        on_fetch=lambda _, outcome: fetches.append(outcome),
    )
    wanted = reference(f"vault://secret/{path}#key")
    accepted = {first}

    async def call() -> bool:
        held = await cache.get(wanted)
        await asyncio.sleep(0.002)
        if opened(held) in accepted:
            return True
        held = await cache.get(wanted, fetched_after=held.fetched_at)
        return opened(held) in accepted

    async def caller() -> list[bool]:
        return [await call() for _ in range(100)]

    async def rotation() -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(bao.put_v2, path, key=second)
        accepted.clear()
        accepted.add(second)

    outcomes, _ = await asyncio.gather(asyncio.gather(*(caller() for _ in range(16))), rotation())
    assert all(all(row) for row in outcomes)
    assert len(fetches) == 2
    await cache.close()
    await registry.close()


async def test_variables_and_proxies_change_nothing(
    bao: Bao, stores: Opened, settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR", "BAO_ADDR"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    assert opened(await fetch(stores.store(settings), f"vault://secret/{path}#key")) == value


async def test_a_sealed_vault_says_so(stores: Opened, tmp_path: Path) -> None:
    with running_bao(tmp_path) as own:
        own.put_v2("x", key=fake_key())
        settings = StoreSettings(vault_address=own.address, attempts=2)
        store = stores.store(settings, VAULT_TOKEN=own.root)
        await fetch(store, "vault://secret/x#key")
        own.call("PUT", "sys/seal")
        with pytest.raises(StoreUnavailable, match="Vault is sealed"):
            await fetch(store, "vault://secret/x#key")


async def test_tls_is_verified_with_the_ca_file(stores: Opened, tmp_path: Path) -> None:
    with running_bao(tmp_path, tls=True) as own:
        value = fake_key()
        own.put_v2("x", key=value)
        trusting = StoreSettings(vault_address=own.address, vault_ca_file=str(own.ca_file))
        store = stores.store(trusting, VAULT_TOKEN=own.root)
        assert opened(await fetch(store, "vault://secret/x#key")) == value
        strict = stores.store(StoreSettings(vault_address=own.address), VAULT_TOKEN=own.root)
        with pytest.raises(StoreUnavailable, match="ConnectError"):
            await fetch(strict, "vault://secret/x#key")
