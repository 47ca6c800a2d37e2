"""Seals the few secrets of sign-in that have to be read again: TOTP and OIDC client secrets.

    1 byte format (1), 8 bytes key id, 12 bytes nonce, AES-256-GCM ciphertext with its tag

Protects: the database and its back-ups alone do not give these secrets away; the key lies in a
    file of the platform's own directory, mode 0600. A sealed secret belongs to its place (kind,
    organization, owner) and does not open in another one.
Does not protect: against somebody who reads both the database and that file, or the process.
Limits: no provider key is ever sealed here; the platform has none. When the key file is lost,
    people set up their one-time codes again, and client secrets are entered again; nothing else is
    lost.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keylease.errors import ConfigurationError, StorageCorrupt
from keylease.platform.identity.key_files import read_or_make

KEY_FILE: Final = "sign-in.key"
_FORMAT: Final = b"\x01"
KEY_BYTES: Final = 32
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_HEAD: Final = len(_FORMAT) + _ID_BYTES


class Sealer:
    """Seals and opens with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._id = hashlib.sha256(b"keylease/sign-in-key\n" + key).digest()[:_ID_BYTES]

    def seal(self, secret: bytes, *, place: str) -> bytes:
        """Seal a secret for its place."""
        nonce = os.urandom(_NONCE_BYTES)
        head = _FORMAT + self._id
        return head + nonce + self._cipher.encrypt(nonce, secret, head + place.encode())

    def has_sealed(self, sealed: bytes) -> bool:
        """Whether it was this key by which a secret was sealed; what it was is not looked at."""
        return sealed.startswith(_FORMAT + self._id)

    def open(self, sealed: bytes, *, place: str) -> bytes:
        """The secret; raises ``StorageCorrupt`` when it was sealed otherwise, or changed."""
        head, nonce = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE_BYTES]
        if head == _FORMAT + self._id:
            try:
                return self._cipher.decrypt(
                    nonce, sealed[_HEAD + _NONCE_BYTES :], head + place.encode()
                )
            except (InvalidTag, ValueError):
                pass  # said below, with the other case
        raise StorageCorrupt(
            "A secret of sign-in cannot be opened with the key there is.",
            advice=f"Restore {KEY_FILE} of the platform's directory, or set the secret up again.",
        )

    def __repr__(self) -> str:
        return "Sealer(********)"


def sealer_of(directory: Path) -> Sealer:
    """The installation's sealer; makes its key at the first start.

    Raises ``ConfigurationError``.
    """
    path = directory / KEY_FILE
    key = read_or_make(path, make=lambda: os.urandom(KEY_BYTES))
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} does not hold a key of {KEY_BYTES} bytes.",
            advice="Restore it; without it, one-time codes are set up again.",
        )
    return Sealer(key)
