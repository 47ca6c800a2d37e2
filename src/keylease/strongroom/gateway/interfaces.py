"""How a worker and its coordinator meet.

A worker serves connections and decides by what it holds in memory. Whatever must be one thing for
all workers - policy, signing keys, the ledger of limits, the replay cache, the spools, the secret
stores, the ownership of provider-side objects - lives in the coordinator. A worker asks for it
through ``CoordinatorLink``: first with a ``try_`` method, which answers at once from what the
worker already holds or gives ``None``; then by awaiting. The model call's fast path never awaits.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec

from keylease.contracts.call_records import CallRecord
from keylease.contracts.policy import Credential
from keylease.primitives.model_prices import PriceQuote as PriceQuote  # noqa: PLC0414 - part of this interface
from keylease.primitives.model_prices import PriceTier as PriceTier  # noqa: PLC0414 - as above
from keylease.strongroom.stores.interfaces import FetchedSecret

_MICRO_PER_USD: Final = 1_000_000


def in_usd(micro_usd: int) -> str:
    """As messages have an amount of money: ``$0.0125``."""
    dollars, micro = divmod(micro_usd, _MICRO_PER_USD)
    return f"${dollars:,}.{f'{micro:06}'.rstrip('0'):0<2}"


class LimitKind(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    MICRO_USD = "micro_usd"


class LimitWindow(StrEnum):
    """When a limit's count starts again. Minutes slide; days and months are UTC calendar ones."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class LimitKey(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """One counter in the ledger, shared by all workers."""

    owner: str
    """A grant id or a binding id."""
    kind: LimitKind
    window: LimitWindow


class Demand(msgspec.Struct, frozen=True):
    """An upper bound of what one call will use of one limit."""

    key: LimitKey
    capacity: int
    """The limit itself, in the units of its kind."""
    amount: int


class Hold(Protocol):
    """What was set aside for one call. Settle it exactly once."""

    @property
    def demands(self) -> tuple[Demand, ...]:
        """What it was set aside for."""
        ...


class BatchBound(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a batch may use whose requests are the lines of a file."""

    input_tokens: int
    output_tokens: int
    """Of the lines that say how much they want."""
    open_answers: int
    """Answers that nothing but the model bounds."""
    requests: int = 0
    """How many there are; 0 where they were counted before their number was."""
    largest_input: int = 0
    """The most input tokens of one of them, which decides on the tier of its price; 0: unknown."""


class BatchCharge(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch drew from budgets when it was started: the most that it may cost.

    A response in the background is one, too. Stored: append-only.
    """

    batch_id: str
    provider: str
    model: str
    """As the provider names it."""
    micro_usd: int
    limits: tuple[LimitKey, ...]
    """Each of them was charged that much."""
    charged_at: int
    """Microseconds UTC."""
    requests: int = 0
    largest_input: int = 0
    """As ``BatchBound`` has them."""


class OwnedObject(msgspec.Struct, frozen=True, kw_only=True):
    """Who created a provider-side object (a file, a batch, a stored response), and with what."""

    object_id: str
    principal: str
    credential_id: str
    purpose: str
    environment: str
    batch_models: tuple[str, ...] = ()
    """A batch's input file whose lines were all checked: the model they name, then those of their
    tools. Empty where nothing was checked."""
    batch_bound: BatchBound | None = None
    """Of such a file, what a batch of it may use; ``None`` where nothing was counted."""
    batch_charge: BatchCharge | None = None
    """Of a batch, and of the file with its results, what it was charged, as long as nobody has
    read what it really used."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """A small, whole answer that the coordinator made for a worker to send."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ClosedCall(Protocol):
    """A call that is settled."""

    def record(self) -> CallRecord:
        """What is kept of it; holds nothing secret and no body while it waits to be asked."""
        ...


class CoordinatorLink(Protocol):
    """A worker's side of the channel to the coordinator."""

    def try_credential(self, credential: Credential) -> FetchedSecret | None:
        """The secret, if the worker holds one for exactly this credential that is young enough."""
        ...

    async def credential(self, credential: Credential, *, fetched_after: int = 0) -> FetchedSecret:
        """The secret, fetched if need be; with ``fetched_after`` (microseconds) never an older one.

        Raises the store's ``StoreError``, and ``SecretNotFound`` when the policy in force has
        another credential by this id: where that one's secret may go was not decided here.
        """
        ...

    def try_reserve(self, demands: tuple[Demand, ...]) -> Hold | None:
        """Set amounts aside from the slices this worker holds; all or nothing."""
        ...

    async def reserve(self, demands: tuple[Demand, ...]) -> Hold:
        """Set amounts aside, with a larger slice from the ledger if need be.

        Raises ``LimitReached``, or ``StorageError`` when the ledger cannot be written.
        """
        ...

    def settle(self, hold: Hold, used: tuple[int, ...]) -> None:
        """Charge what was really used, in the order of ``hold.demands``; the rest goes back."""
        ...

    def record(self, call: ClosedCall) -> None:
        """Hand a call's record to the spool: fsynced within 50 ms."""
        ...

    def accepts_calls(self) -> bool:
        """False while the spool is full and policy says to refuse then."""
        ...

    def try_price(self, provider: str, model: str) -> PriceQuote | None:
        """The price of a model if this worker knows it already; asks for it otherwise.

        A model without a known price stays ``None``: its cost is unknown, not zero.
        """
        ...

    async def price(self, provider: str, model: str) -> PriceQuote | None:
        """The price of a model, or ``None`` when the price table does not have it."""
        ...

    async def remember_object(self, owned: OwnedObject) -> None:
        """Store who created an object, durably. Raises ``StorageError``."""
        ...

    async def find_object(self, object_id: str) -> OwnedObject | None:
        """Who created an object, or ``None`` when it was not created through this gateway."""
        ...

    async def settle_batch(self, batch_id: str, micro_usd: int) -> None:
        """Give back, once, what a batch that has ended was charged over its real cost.

        A second time does nothing. Raises ``StorageError``; what was begun is then completed when
        the gateway starts the next time.
        """
        ...

    async def exchange_token(
        self, *, form: bytes, content_type: str, dpop: str, peer: str, certificate: str
    ) -> HttpAnswer:
        """Serve ``POST /oauth/token``. ``certificate`` as ``Responder`` has it."""
        ...

    async def exchange_key(self, key: bytes, *, peer: str) -> bytes:
        """The lease for an API key that was sent in the place of one.

        Raises ``LeaseRefused``, ``AccessDenied``, ``LimitReached`` or ``StorageError``.
        """
        ...

    def jwks(self) -> bytes:
        """The public lease keys as a JWK set, for ``/.well-known/jwks.json``."""
        ...

    def credential_echoed(self, credential_id: str, request_id: str) -> None:
        """Report that an answer contained the credential; becomes an audit entry."""
        ...
