"""What tests of secret stores share."""

from __future__ import annotations

import secrets
from pathlib import Path

from keylease.contracts.references import Reference
from keylease.primitives.clock import Clock
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.sealed import FILE_NAME, SealedStore
from keylease.strongroom.stores.sealing_key import KeyFile
from keylease.strongroom.stores.versions import VersionNames


def fake_key() -> str:
    """Looks like a provider key, and is none."""
    return "sk-test-" + secrets.token_hex(20)


def opened(fetched: FetchedSecret) -> str:
    return fetched.secret.reveal(why="a test compares it").decode()


def reference(text: str) -> Reference:
    return Reference.parse(text)


def versions() -> VersionNames:
    return VersionNames(Secret(secrets.token_bytes(32)))


def key_file(directory: Path, name: str = "sealing.key") -> KeyFile:
    return KeyFile(directory / "config" / name, data_directory=directory / "data")


def sealed_store(directory: Path, clock: Clock) -> SealedStore:
    path = directory / "data" / "strongroom" / FILE_NAME
    return SealedStore(path, key_source=key_file(directory), clock=clock)
