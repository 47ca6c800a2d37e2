"""The keys that sign identity tokens: a file of the platform's own directory, mode 0600.

    {"format": 1, "keys": [{"private": <base64url of 32 bytes>, "made_at": <microseconds>,
                            "retired_at": <microseconds or 0>}, ...]}

The newest key signs. A retired one is published for ``PUBLISHED_SECONDS`` more, which is longer
than any token lives, and then forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.errors import ConfigurationError, SignatureInvalid
from keylease.platform.identity.key_files import read_or_make
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.signatures import decode_base64url, ed25519_jwk, encode_base64url

KEY_FILE: Final = "identity-signing.json"
PUBLISHED_SECONDS: Final = 3600
_FORMAT: Final = 1


class _StoredKey(msgspec.Struct, frozen=True):
    private: str
    made_at: int
    retired_at: int = 0


class _StoredKeys(msgspec.Struct, frozen=True):
    format: int
    keys: tuple[_StoredKey, ...]


class SigningKeys:
    """Signs, and says with which public keys it is checked."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        """Makes the first key when there is none. Raises ``ConfigurationError``."""
        self._path = directory / KEY_FILE
        self._clock = clock
        made = msgspec.json.encode(_StoredKeys(_FORMAT, (self._new(),)))
        self._stored = self._read(read_or_make(self._path, make=lambda: made))

    @property
    def current(self) -> tuple[Ed25519PrivateKey, str]:
        """The key that signs, and its id."""
        key = _private(self._stored.keys[-1])
        return key, str(ed25519_jwk(key.public_key())["kid"])

    def public(self) -> list[dict[str, object]]:
        """The keys that tokens in use may be signed with, as JWKs."""
        return [ed25519_jwk(_private(key).public_key()) for key in self._published()]

    def rotate(self) -> str:
        """Sign with a new key from now on; gives its id."""
        now = self._clock.now()
        kept = [
            msgspec.structs.replace(key, retired_at=key.retired_at or now)
            for key in self._published()
        ]
        stored = _StoredKeys(_FORMAT, (*kept, self._new()))
        files.replace(self._path, msgspec.json.encode(stored))
        self._stored = stored
        return self.current[1]

    def _published(self) -> list[_StoredKey]:
        oldest = self._clock.now() - PUBLISHED_SECONDS * MICROSECONDS
        return [key for key in self._stored.keys if not 0 < key.retired_at < oldest]

    def _new(self) -> _StoredKey:
        raw = Ed25519PrivateKey.generate().private_bytes_raw()
        return _StoredKey(encode_base64url(raw).decode(), self._clock.now())

    def _read(self, content: bytes) -> _StoredKeys:
        try:
            stored = msgspec.json.decode(content, type=_StoredKeys)
            readable = bool(stored.keys) and stored.format == _FORMAT
            for key in stored.keys:
                _private(key)
        except (msgspec.DecodeError, SignatureInvalid, ValueError):
            readable = False
        if not readable:
            raise ConfigurationError(
                f"{self._path} holds no keys that can be used.",
                advice="Restore it, or remove it: gateways learn the new key by themselves.",
            )
        return stored

    def __repr__(self) -> str:
        return f"SigningKeys({self._path}, {len(self._stored.keys)} keys)"


def _private(key: _StoredKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(decode_base64url(key.private.encode()))
