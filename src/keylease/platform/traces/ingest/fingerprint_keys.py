"""The keys under which the platform makes fingerprints of what it masks: one per organization.

Protects: fingerprints of two organizations never meet. A key that an organization shares with its
    scanners and gateways is handed in and stays in memory; one of the platform's own is made when
    it is first needed, readable by its owner only, and nobody else has it.
Does not protect: who holds such a key and a trace can test a guess, and no more: it opens nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from keylease.contracts.findings import Fingerprint
from keylease.primitives.fingerprints import FingerprintKeys, local_keys, read_keys


class FingerprintKeyring:
    """Keys by organization; may be used by several threads."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is for keys of the platform's own."""
        self._directory = directory
        self._shared: dict[str, FingerprintKeys] = {}
        self._keys: dict[str, tuple[FingerprintKeys, ...]] = {}
        self._lock = threading.Lock()

    def share(self, organization_id: str, keys: FingerprintKeys) -> None:
        """Use the organization's own key from now on: the one that its scanners and gateways have.

        Where the platform has masked with a key of its own before, secrets get that fingerprint,
        too, after the shared one: so the inventory makes one of what it has seen under both.
        """
        with self._lock:
            self._shared[organization_id] = keys
            self._keys.pop(organization_id, None)

    def shared_with(self, organization_id: str) -> str:
        """Identifier and version of the key that was handed in; empty when none was."""
        with self._lock:
            keys = self._shared.get(organization_id)
        return "" if keys is None else str(keys.current)

    def of(self, organization_id: str) -> Callable[[bytes], tuple[Fingerprint, ...]]:
        """Makes fingerprints for one organization; the key is read when it is first used."""

        def fingerprints(secret: bytes) -> tuple[Fingerprint, ...]:
            with self._lock:
                keys = self._keys.get(organization_id)
                if keys is None:
                    keys = self._read(organization_id)
                    self._keys[organization_id] = keys
            return tuple(one for each in keys for one in each.of(secret))

        return fingerprints

    def _read(self, organization_id: str) -> tuple[FingerprintKeys, ...]:
        own = self._directory / f"{organization_id}.key"
        shared = self._shared.get(organization_id)
        if shared is None:
            return (local_keys(own),)
        try:
            before = read_keys(own)
        except FileNotFoundError:
            return (shared,)
        return (shared,) if before.shares_a_key_with(shared) else (shared, before)
