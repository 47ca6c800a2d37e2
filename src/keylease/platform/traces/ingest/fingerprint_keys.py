"""The keys under which the platform makes fingerprints of what it masks: one per organization.

Protects: fingerprints of two organizations never meet. Each key is the platform's own, made when it
    is first needed, readable by its owner only; it is no key that scanners or gateways hold, unless
    the operator gives the platform that one.
Does not protect: who holds such a key and a trace can test a guess, and no more: it opens nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from keylease.contracts.findings import Fingerprint
from keylease.primitives.fingerprints import FingerprintKeys, local_keys, read_keys


class FingerprintKeyring:
    """Keys by organization; may be used by several threads."""

    def __init__(self, directory: Path, *, given: Mapping[str, Path] | None = None) -> None:
        """``given`` are files of organizations that share their key with the platform."""
        self._directory = directory
        self._given = dict(given or {})
        self._keys: dict[str, FingerprintKeys] = {}
        self._lock = threading.Lock()

    def of(self, organization_id: str) -> Callable[[bytes], tuple[Fingerprint, ...]]:
        """Makes fingerprints for one organization; the key is read when it is first used."""

        def fingerprints(secret: bytes) -> tuple[Fingerprint, ...]:
            with self._lock:
                keys = self._keys.get(organization_id)
                if keys is None:
                    keys = self._read(organization_id)
                    self._keys[organization_id] = keys
            return keys.of(secret)

        return fingerprints

    def _read(self, organization_id: str) -> FingerprintKeys:
        if organization_id in self._given:
            return read_keys(self._given[organization_id])
        return local_keys(self._directory / f"{organization_id}.key")
