"""Where the lease signing keys come from, and where rotated ones go.

The keys lie behind an ordinary reference (``signing_key`` in gateway.toml), so the gateways of a
group share them by sharing the reference. Only a ``sealed://`` reference can be written by us;
behind any other one the owner puts what ``key_commands`` writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from keylease.contracts.references import Reference
from keylease.errors import SecretNotFound, StoreUnsupported
from keylease.primitives.clock import Clock
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret

PROVIDER: Final = "keylease"
"""What a sealed entry of signing keys is recorded with: no binding names this provider, so the
entry can never be used as a credential."""
_COMMAND: Final = "python -I -m keylease.strongroom signing-key"
_WRITABLE_SCHEME: Final = "sealed"

Fetch = Callable[[Reference], Awaitable[FetchedSecret]]


class Sealer(Protocol):
    """The part of ``stores.sealed.SealedStore`` that writes. Blocks; durable on return."""

    def put(
        self,
        name: str,
        secret: Secret,
        *,
        provider: str,
        hosts: tuple[str, ...],
        replace: bool = False,
    ) -> object:
        """Seal a secret; raises ``StoreError`` or ``StorageError``."""
        ...


class SigningKeySource:
    """Reads the signing keys, makes them on first use, and stores rotated ones."""

    def __init__(self, reference: str, *, fetch: Fetch, sealer: Sealer, clock: Clock) -> None:
        """Raises ``ReferenceInvalid``. ``fetch`` goes to the stores, past any cache."""
        self._reference = Reference.parse(reference)
        self._fetch = fetch
        self._sealer = sealer
        self._clock = clock

    async def open(self) -> SigningKeys:
        """The keys behind the reference; made now when it is a sealed one without an entry.

        Raises ``StoreError``; ``SecretInvalid`` when there is something that is no key set.
        """
        try:
            fetched = await self._fetch(self._reference)
        except SecretNotFound as error:
            if self._reference.scheme != _WRITABLE_SCHEME:
                raise SecretNotFound(
                    f"There are no lease signing keys at {self._reference}.",
                    advice=f"Make them with `{_COMMAND}`, put the output there unchanged, and"
                    " give only the gateways of this group access to it. Or use a sealed://"
                    " reference as signing_key: the gateway then makes them itself.",
                ) from error
            keys = SigningKeys.generate(self._clock.now())
            await self._seal(keys, replace=False)
            return keys
        return SigningKeys.from_secret(fetched.secret).without_expired(self._clock.now())

    async def rotate(self) -> SigningKeys:
        """Read the keys, rotate them, store them; they are durable when this returns."""
        keys = (await self.open()).rotate(self._clock.now())
        await self._seal(keys, replace=True)
        return keys

    async def _seal(self, keys: SigningKeys, *, replace: bool) -> None:
        if self._reference.scheme != _WRITABLE_SCHEME:
            raise StoreUnsupported(
                f"Lease signing keys at {self._reference} cannot be written by the gateway.",
                advice=f"Rotate them where they live: pipe them through `{_COMMAND} --rotate`;"
                " the gateways of the group read them again within minutes.",
            )
        await asyncio.to_thread(
            self._sealer.put,
            self._reference.path,
            keys.to_secret(),
            provider=PROVIDER,
            hosts=(),
            replace=replace,
        )
