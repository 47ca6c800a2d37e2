"""The keys that sign messages to webhooks: one Ed25519 key for each organization.

Protects: a receiver knows that a message comes from this platform, without a secret that both
    would have to store. The key of one organization signs nothing for another.
Does not protect: a receiver that does not verify, or that takes old messages: it must compare
    ``webhook-timestamp`` with its clock.
Limits: who has the file can sign messages; these are no provider keys and open nothing.

Form: the Standard Webhooks specification 1.0, asymmetric signatures (``v1a``, ``whpk_``).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.errors import StorageCorrupt
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.files import create, explained, make_private_directory, read_bounded

_RAW_BYTES: Final = 32


class WebhookKeys:
    """The key files, in the platform's own directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: dict[str, Ed25519PrivateKey] = {}

    def public_text(self, organization_id: str) -> str:
        """``whpk_`` and the key in base64; the key is made when there is none."""
        raw = self._key(organization_id).public_key().public_bytes_raw()
        return f"whpk_{base64.b64encode(raw).decode()}"

    def signed_headers(
        self, organization_id: str, *, message_id: str, at: int, body: bytes
    ) -> dict[str, str]:
        """The headers that a receiver verifies. ``at`` is in microseconds UTC."""
        timestamp = str(at // MICROSECONDS)
        content = f"{message_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(self._key(organization_id).sign(content)).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1a,{signature}",
        }

    def _key(self, organization_id: str) -> Ed25519PrivateKey:
        if organization_id not in self._loaded:
            self._loaded[organization_id] = self._read(organization_id)
        return self._loaded[organization_id]

    def _read(self, organization_id: str) -> Ed25519PrivateKey:
        path = self._directory / f"{organization_id}.key"
        make_private_directory(self._directory)
        if not path.exists():
            create(path, Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            raw = read_bounded(path, maximum=_RAW_BYTES)
        except OSError as error:
            raise explained(error, path) from error
        if len(raw) != _RAW_BYTES:
            raise StorageCorrupt(
                f"{path} is no key for webhooks.",
                advice="Restore it, or remove it: receivers then need the new public key.",
            )
        return Ed25519PrivateKey.from_private_bytes(raw)
