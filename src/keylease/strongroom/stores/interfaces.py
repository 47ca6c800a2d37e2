"""What a secret store promises."""

from __future__ import annotations

from typing import ClassVar, Protocol

from keylease.contracts.references import Reference
from keylease.strongroom.secrets import Secret


class FetchedSecret:
    """A secret as one store gave it at one moment."""

    __slots__ = ("fetched_at", "secret", "version")

    def __init__(self, *, secret: Secret, version: str, fetched_at: int) -> None:
        self.secret = secret
        self.version = version
        """The store's own name of the version, or a short keyed digest where it has none."""
        self.fetched_at = fetched_at
        """Microseconds UTC."""

    def __repr__(self) -> str:
        return f"FetchedSecret(version={self.version!r}, fetched_at={self.fetched_at})"


class SecretStore(Protocol):
    """One kind of place where secrets live.

    ``fetch`` raises ``StoreUnavailable``, ``StoreTimedOut``, ``StoreAccessDenied``,
    ``SecretNotFound``, ``SecretInvalid`` or ``StoreUnsupported``, and nothing else. It applies its
    own time-out and bounded retries; it does not cache (``cache.CredentialCache`` does).
    """

    scheme: ClassVar[str]

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Ask the store for the secret's current version."""
        ...

    async def close(self) -> None:
        """Give up connections and wipe what is held."""
        ...
