"""API keys in the place of leases, for clients that can only send a static key.

Off unless gateway.toml has ``[static_keys]``. The coordinator exchanges the key for a lease by the
same rules and with the same audit entry as the token endpoint; this worker holds the lease and
decides every call by it, so that budgets, models and revocations count as for any other lease.

Protects: the key goes no further than to the coordinator; it is held as its hash. The lease is
    asked for again whenever the policy changes, so a key that was taken out opens nothing more.
Does not protect: a static key can be used by whoever has seen it, until it is removed.
Limits: ``_HELD`` keys; the body of a request that waits for its lease stays at the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from keylease.contracts.api_keys import PREFIXES, ApiKeyKind
from keylease.contracts.leases import LEASE_PREFIX, LeaseClaims
from keylease.errors import KeyleaseError
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.http1.interfaces import RequestHandler, Responder
from keylease.strongroom.gateway.call.admission import LeaseChecks
from keylease.strongroom.gateway.interfaces import CoordinatorLink
from keylease.strongroom.leases.verify import PresentedToken

_HELD: Final = 1024
_EARLY_SECONDS: Final = 5.0
"""So long before its end a lease is not used for a new call any more.
"""
_PREFIX: Final = PREFIXES[ApiKeyKind.API].encode()
_LEASE: Final = LEASE_PREFIX.encode()


def is_api_key(token: bytes) -> bool:
    """Whether a caller sent an API key where a lease belongs."""
    return token.startswith(_PREFIX) and not token.startswith(_LEASE)


class StaticKeys:
    """The leases that this worker holds for API keys."""

    def __init__(self, link: CoordinatorLink, leases: LeaseChecks, clock: Clock) -> None:
        self._link = link
        self._leases = leases
        self._clock = clock
        self._held: dict[bytes, tuple[PresentedToken, float]] = {}
        self._asking: dict[bytes, asyncio.Lock] = {}
        self._generation = 0

    def known(self, key: PresentedToken) -> PresentedToken | None:
        """The lease that is held for a key; ``None`` asks for ``exchange``."""
        held = self._held.get(key.digest)
        if held is None or held[1] <= self._clock.monotonic():
            return None
        return held[0]

    async def exchange(self, key: PresentedToken, *, peer: str) -> PresentedToken:
        """The lease, asked for once however many wait. Raises ``LeaseRefused`` and the like."""
        digest = key.digest
        lock = self._asking.setdefault(digest, asyncio.Lock())
        try:
            async with lock:
                lease = self.known(key)
                if lease is not None:
                    return lease
                generation = self._generation
                lease = PresentedToken(await self._link.exchange_key(key.secret_bytes, peer=peer))
                claims: LeaseClaims = self._leases.verify_presented(lease)
                left = claims.exp - self._clock.now() / MICROSECONDS - _EARLY_SECONDS
                if generation == self._generation:
                    if len(self._held) >= _HELD:
                        self._held.clear()
                    self._held[digest] = (lease, self._clock.monotonic() + left)
                return lease
        finally:
            if not lock.locked():
                self._asking.pop(digest, None)

    def forget(self) -> None:
        """The policy is another one: ask again for every key."""
        self._generation += 1
        self._held.clear()


class WaitingCall(RequestHandler):
    """A request whose API key is being exchanged. Then it is the call that it asks for."""

    def __init__(
        self, responder: Responder, begin: Callable[[PresentedToken], RequestHandler]
    ) -> None:
        """``begin`` makes the handler, given the lease."""
        self._responder = responder
        self._begin = begin
        self._handler: RequestHandler | None = None
        self._pieces: list[bytes] = []
        self._complete = False
        self._gone = False
        responder.pause_reading()

    async def run(
        self,
        keys: StaticKeys,
        key: PresentedToken,
        refuse: Callable[[KeyleaseError], None],
    ) -> None:
        """Exchange the key and go on, or refuse."""
        try:
            lease = await keys.exchange(key, peer=self._responder.peer)
        except KeyleaseError as error:
            if not self._gone:
                refuse(error)
            return
        if self._gone:
            return
        handler = self._handler = self._begin(lease)
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            handler.body_received(piece)
        if self._complete:
            handler.request_complete()
        self._responder.resume_reading()

    # --- the server calls ------------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """A piece of the body; before the lease only what was under way already."""
        if self._handler is not None:
            self._handler.body_received(data)
        else:
            self._pieces.append(data)

    def request_complete(self) -> None:
        """The request is whole."""
        if self._handler is not None:
            self._handler.request_complete()
        else:
            self._complete = True

    def client_gone(self) -> None:
        """Nobody waits any more."""
        self._gone = True
        if self._handler is not None:
            self._handler.client_gone()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """The client caught up."""
        if self._handler is not None:
            self._handler.resume_writing()
