"""The Vault store on a real OpenBao: what its tests share. Import the fixtures you use."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.openbao import Bao
from tests.support.store_tools import reference, versions

from keylease.primitives.clock import SystemClock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.vault import VaultStore

__all__ = [
    "Opened",
    "fetch",
    "put_token",
    "readers",
    "secret_path",
    "settings",
    "stores",
    "token_file",
]

READ = {"secret/data/team/*": ["read"], "old/team/*": ["read"], "team/kv/data/*": ["read"]}


class Opened:
    """Stores that a test opened, with what they say about themselves."""

    def __init__(self) -> None:
        self.posture = Posture()
        self._stores: list[VaultStore] = []

    def store(self, settings: StoreSettings, **environment: str) -> VaultStore:
        store = VaultStore(
            settings,
            clock=SystemClock(),
            versions=versions(),
            posture=self.posture,
            environment={name: Secret(value) for name, value in environment.items()},
        )
        self._stores.append(store)
        return store

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest.fixture
async def stores() -> AsyncIterator[Opened]:
    opened_stores = Opened()
    yield opened_stores
    await opened_stores.close()


@pytest.fixture
def readers(bao: Bao) -> str:
    """A policy that reads what the tests store."""
    bao.policy("readers", READ)
    return "readers"


@pytest.fixture
def token_file(bao: Bao, readers: str, tmp_path: Path) -> Path:
    path = tmp_path / "vault-token"
    path.write_text(bao.token(readers) + "\n")
    return path


@pytest.fixture
def settings(bao: Bao, token_file: Path) -> StoreSettings:
    return StoreSettings(
        vault_address=bao.address,
        vault_token_file=str(token_file),
        timeout_seconds=3.0,
        attempts=2,
    )


def put_token(settings: StoreSettings, token: str) -> None:
    Path(settings.vault_token_file).write_text(f"{token}\n")


def secret_path() -> str:
    return f"team/{uuid.uuid4().hex}"


async def fetch(store: VaultStore, text: str) -> FetchedSecret:
    return await store.fetch(reference(text))
