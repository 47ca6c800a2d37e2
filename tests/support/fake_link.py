"""A coordinator in memory, for tests of a worker's call path."""

from __future__ import annotations

import asyncio

import msgspec

from keylease.contracts.call_records import CallRecord
from keylease.contracts.policy import Credential
from keylease.errors import KeyleaseError, LeaseRefused, LimitReached, SecretNotFound
from keylease.primitives.clock import Clock
from keylease.strongroom.gateway.interfaces import (
    ClosedCall,
    Demand,
    Hold,
    HttpAnswer,
    LimitKey,
    OwnedObject,
    PriceQuote,
)
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret


class FakeHold:
    """What the link set aside."""

    def __init__(self, demands: tuple[Demand, ...]) -> None:
        self.demands = demands


class FakeLink:
    """Does what ``CoordinatorLink`` says, and writes down what was asked of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stored: dict[str, tuple[bytes, str]] = {}
        """What the stores hold: credential id -> secret and version."""
        self.cached: dict[str, FetchedSecret] = {}
        self.fetches: list[tuple[str, int]] = []
        self.store_error: KeyleaseError | None = None
        self.fetch_gate: asyncio.Event | None = None
        self.used: dict[LimitKey, int] = {}
        self.slices = True
        """Whether ``try_reserve`` answers; without, calls have to wait for ``reserve``."""
        self.live_holds: list[Hold] = []
        self.settled: list[tuple[Hold, tuple[int, ...]]] = []
        self.closed: list[ClosedCall] = []
        """The calls whose records stand in ``records``."""
        self.records: list[CallRecord] = []
        self.accepting = True
        self.prices: dict[tuple[str, str], PriceQuote] = {}
        self.prices_at_hand = True
        self.priced: list[tuple[str, str]] = []
        self.objects: dict[str, OwnedObject] = {}
        self.batches_settled: list[tuple[str, int]] = []
        self.settling_error: KeyleaseError | None = None
        self.object_error: KeyleaseError | None = None
        self.object_gate: asyncio.Event | None = None
        self.exchanges: list[dict[str, str]] = []
        self.exchange_answer = HttpAnswer(200, (("content-type", "application/json"),), b"{}")
        self.keys_exchanged: list[tuple[bytes, str]] = []
        self.key_leases: dict[bytes, bytes | KeyleaseError] = {}
        self.key_gate: asyncio.Event | None = None
        self.echoes: list[tuple[str, str]] = []

    # --- for tests -------------------------------------------------------------------------------

    def store(self, credential_id: str, secret: bytes, *, version: str = "1") -> None:
        """Put a secret where it would be fetched from."""
        self.stored[credential_id] = (secret, version)

    def warm(self) -> None:
        """Fetch everything, as if calls had been made before."""
        for credential_id in self.stored:
            self._fetch(credential_id)

    def _fetch(self, credential_id: str) -> FetchedSecret:
        if self.store_error is not None:
            raise self.store_error
        if credential_id not in self.stored:
            raise SecretNotFound("There is no such secret.")
        secret, version = self.stored[credential_id]
        before = self.cached.get(credential_id)
        moment = self.clock.now()
        if before is not None:
            moment = max(moment, before.fetched_at + 1)
        fetched = FetchedSecret(secret=Secret(secret), version=version, fetched_at=moment)
        self.cached[credential_id] = fetched
        return fetched

    # --- CoordinatorLink -------------------------------------------------------------------------

    def try_credential(self, credential: Credential) -> FetchedSecret | None:
        return self.cached.get(credential.id)

    async def credential(self, credential: Credential, *, fetched_after: int = 0) -> FetchedSecret:
        credential_id = credential.id
        self.fetches.append((credential_id, fetched_after))
        if self.fetch_gate is not None:
            await self.fetch_gate.wait()
        held = self.cached.get(credential_id)
        if held is not None and held.fetched_at >= fetched_after > 0:
            return held
        await asyncio.sleep(0)
        return self._fetch(credential_id)

    def try_reserve(self, demands: tuple[Demand, ...]) -> Hold | None:
        if not self.slices or any(self._over(demand) for demand in demands):
            return None
        return self._take(demands)

    async def reserve(self, demands: tuple[Demand, ...]) -> Hold:
        await asyncio.sleep(0)
        for demand in demands:
            if self._over(demand):
                raise LimitReached(f"The limit {demand.key.kind} is used up.", retry_after=7)
        return self._take(demands)

    def _over(self, demand: Demand) -> bool:
        return self.used.get(demand.key, 0) + demand.amount > demand.capacity

    def _take(self, demands: tuple[Demand, ...]) -> Hold:
        for demand in demands:
            self.used[demand.key] = self.used.get(demand.key, 0) + demand.amount
        hold = FakeHold(demands)
        self.live_holds.append(hold)
        return hold

    def settle(self, hold: Hold, used: tuple[int, ...]) -> None:
        self.live_holds.remove(hold)  # raises when it is settled twice
        for demand, amount in zip(hold.demands, used, strict=True):
            self.used[demand.key] += amount - demand.amount
        self.settled.append((hold, used))

    def record(self, call: ClosedCall) -> None:
        self.closed.append(call)
        self.records.append(call.record())

    def accepts_calls(self) -> bool:
        return self.accepting

    def try_price(self, provider: str, model: str) -> PriceQuote | None:
        return self.prices.get((provider, model)) if self.prices_at_hand else None

    async def price(self, provider: str, model: str) -> PriceQuote | None:
        self.priced.append((provider, model))
        await asyncio.sleep(0)
        return self.prices.get((provider, model))

    async def remember_object(self, owned: OwnedObject) -> None:
        if self.object_gate is not None:
            await self.object_gate.wait()
        await asyncio.sleep(0)
        if self.object_error is not None:
            raise self.object_error
        known = self.objects.get(owned.object_id)
        if known is None or known.batch_charge is None:
            self.objects[owned.object_id] = owned

    async def find_object(self, object_id: str) -> OwnedObject | None:
        await asyncio.sleep(0)
        return self.objects.get(object_id)

    async def settle_batch(self, batch_id: str, micro_usd: int) -> None:
        await asyncio.sleep(0)
        if self.settling_error is not None:
            raise self.settling_error
        self.batches_settled.append((batch_id, micro_usd))
        for object_id, owned in self.objects.items():
            charge = owned.batch_charge
            if charge is not None and charge.batch_id == batch_id:
                self.objects[object_id] = msgspec.structs.replace(owned, batch_charge=None)

    async def exchange_token(
        self, *, form: bytes, content_type: str, dpop: str, peer: str, certificate: str
    ) -> HttpAnswer:
        del certificate
        self.exchanges.append(
            {"form": form.decode(), "content_type": content_type, "dpop": dpop, "peer": peer}
        )
        await asyncio.sleep(0)
        return self.exchange_answer

    async def exchange_key(self, key: bytes, *, peer: str) -> bytes:
        self.keys_exchanged.append((key, peer))
        if self.key_gate is not None:
            await self.key_gate.wait()
        lease = self.key_leases.get(key)
        if isinstance(lease, bytes):
            return lease
        raise lease or LeaseRefused("Unknown.")

    def jwks(self) -> bytes:
        return b'{"keys":[]}'

    def credential_echoed(self, credential_id: str, request_id: str) -> None:
        self.echoes.append((credential_id, request_id))
