"""Which keys a simulated provider accepts. Only their hashes are kept."""

from __future__ import annotations

import hashlib

import msgspec

from keylease.simulator.exchange import ProviderName


class AcceptedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the provider's own list of keys would show it."""

    id: str
    sha256: str
    """Hex digest of the key."""
    provider: ProviderName | None
    """The only provider that accepts it; ``None`` means every one."""
    created_at: int
    """Seconds since 1970."""
    revoked: bool = False


def digest_of(secret: bytes) -> str:
    """The hash under which a key is kept."""
    return hashlib.sha256(secret).hexdigest()


class KeyRing:
    """The accepted keys."""

    def __init__(self, *, accept_any: bool = False) -> None:
        """With ``accept_any`` every key opens, each under an identifier of its own."""
        self._accept_any = accept_any
        self._by_digest: dict[str, AcceptedKey] = {}

    def add(self, digest: str, *, provider: ProviderName | None, second: int) -> AcceptedKey:
        """Accept the key with this hash from now on, also when it had been revoked."""
        key = AcceptedKey(
            id="key_" + hashlib.sha256(f"key id of {digest}".encode()).hexdigest()[:16],
            sha256=digest,
            provider=provider,
            created_at=second,
        )
        self._by_digest[digest] = key
        return key

    def revoke(self, key_id: str) -> bool:
        """Refuse the key from now on; false when there is none of this identifier."""
        for digest, key in self._by_digest.items():
            if key.id == key_id:
                self._by_digest[digest] = msgspec.structs.replace(key, revoked=True)
                return True
        return False

    def list(self) -> tuple[AcceptedKey, ...]:
        """Every key ever accepted."""
        return tuple(self._by_digest.values())

    def identify(self, secret: bytes, provider: ProviderName, *, second: int) -> str | None:
        """The identifier of a key that may be used now, or ``None``."""
        digest = digest_of(secret)
        key = self._by_digest.get(digest)
        if key is None and self._accept_any and secret:
            key = self.add(digest, provider=None, second=second)
        if key is None or key.revoked or key.provider not in (None, provider):
            return None
        return key.id
