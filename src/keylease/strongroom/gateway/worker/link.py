"""A worker's side of the channel: answers from memory where it can, asks where it must.

Protects: secrets are held in the ``Secret`` type and dropped when their age is over; a secret is
    used for nothing but the very credential it was fetched for.
Limits: call records leave in blocks, at most ``_BLOCK_SECONDS`` after the call; a worker that is
    killed loses what has not left. A coordinator that does not keep up stops calls
    (``accepts_calls``) before this process grows.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from keylease.contracts.policy import Credential
from keylease.errors import LimitReached, StorageError
from keylease.primitives.clock import Clock
from keylease.primitives.segments import encode
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.channel import WorkerEnd
from keylease.strongroom.gateway.defects import place_of
from keylease.strongroom.gateway.interfaces import (
    ClosedCall,
    Demand,
    Hold,
    HttpAnswer,
    LimitKey,
    OwnedObject,
    PriceQuote,
)
from keylease.strongroom.gateway.records.call_counts import CallCounter
from keylease.strongroom.gateway.worker.slices import SliceHold, Slices
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret

_BLOCK_SECONDS: Final = 0.015
_BLOCK_CALLS: Final = 64
"""So many are not kept waiting, however fast they come."""
_BLOCK_BYTES: Final = 256 * 1024
_REPORT_SECONDS: Final = 0.25
_COUNT_SECONDS: Final = 1.0
_REFRESH_AT: Final = 0.8
"""A secret that is in use is asked for again when this part of its age is over."""
_REFRESH_PAUSE: Final = 5.0
_PRICE_SECONDS: Final = 3600.0
_PRICES: Final = 4096
_REFUSED_SECONDS: Final = 0.1
"""For so long a refusal of the ledger is repeated without asking again."""
_REFUSALS: Final = 1024

Answer = TypeVar("Answer")
_OnAnswer = Callable[[messages.Given | messages.Failed], None]


class _HeldSecret:
    __slots__ = ("credential", "fetched", "refresh_at", "usable_until")

    def __init__(
        self, credential: Credential, fetched: FetchedSecret, *, now: float, usable: float
    ) -> None:
        self.credential = credential
        """What it was fetched for."""
        self.fetched = fetched
        self.usable_until = now + usable
        self.refresh_at = now + usable * _REFRESH_AT


class WorkerLink:
    """Implements ``CoordinatorLink``. ``open`` it once the channel is there."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._channel: WorkerEnd | None = None
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._questions: dict[int, _OnAnswer] = {}
        self._secrets: dict[str, _HeldSecret] = {}
        self._slices = Slices()
        self._topping_up: set[LimitKey] = set()
        self._asking: dict[tuple[LimitKey, ...], asyncio.Event] = {}
        """Set when who asks the ledger for these limits has its answer."""
        self._refused: dict[tuple[LimitKey, ...], tuple[float, tuple[int, ...], LimitReached]] = {}
        self._prices: dict[tuple[str, str], tuple[float, PriceQuote | None]] = {}
        self._pricing: set[tuple[str, str]] = set()
        self._closed_calls: list[ClosedCall] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._counter = CallCounter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._accepts = True
        self._jwks = b""

    def open(self, channel: WorkerEnd, begin: messages.Begin) -> None:
        """Start reporting."""
        self._channel = channel
        self._accepts = begin.accepts_calls
        self._jwks = begin.jwks
        self._timers = {
            "slices": self._loop.call_later(_REPORT_SECONDS, self._report_slices),
            "counts": self._loop.call_later(_COUNT_SECONDS, self._report_counts),
        }

    # --- what the coordinator says ---------------------------------------------------------

    def received(self, message: messages.ToWorker) -> None:
        """Take an answer, or something that changes what this link holds."""
        match message:
            case messages.SpoolChanged(accepts):
                self._accepts = accepts
            case messages.ReplaceKeys(jwks):
                self._jwks = jwks
            case messages.ForgetCredentials(credential_ids):
                for credential_id in credential_ids:
                    self._secrets.pop(credential_id, None)
            case messages.RecallSlices(order, keys):
                uses = self._slices.report(self._clock.monotonic(), keys=keys, everything=not keys)
                self._send(messages.SliceReport(uses, order))
            case (
                messages.CredentialGiven(request)
                | messages.SliceGranted(request)
                | messages.PriceGiven(request)
                | messages.ObjectGiven(request)
                | messages.AnswerGiven(request)
                | messages.LeaseGiven(request)
                | messages.Failed(request)
            ):
                if (question := self._questions.pop(request, None)) is not None:
                    question(message)
            case _:
                pass  # the worker's own business

    def closed(self) -> None:
        """The coordinator is gone: nobody waits any longer."""
        questions, self._questions = self._questions, {}
        for number, question in questions.items():
            question(messages.Failed(number, StorageError.code, "The gateway is stopping."))
        for timer in (*self._timers.values(), self._flushing):
            if timer is not None:
                timer.cancel()

    # --- asking ----------------------------------------------------------------------------

    def _send(self, message: messages.ToCoordinator) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _question(
        self, make: Callable[[int], messages.ToCoordinator], on_answer: _OnAnswer
    ) -> None:
        """Ask; ``on_answer`` is called once."""
        number = next(self._numbers)
        if self._channel is None or self._channel.closed:
            on_answer(messages.Failed(number, StorageError.code, "The gateway is stopping."))
            return
        self._questions[number] = on_answer
        self._channel.send(make(number))

    async def _ask(
        self,
        kind: type[Answer],
        make: Callable[[int], messages.ToCoordinator],
        *,
        unclaimed: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Ask and wait. ``unclaimed`` takes an answer that comes after the waiter was cancelled."""
        waiting: asyncio.Future[Answer] = self._loop.create_future()

        def answered(message: messages.Given | messages.Failed) -> None:
            if isinstance(message, kind):
                if not waiting.done():
                    waiting.set_result(message)
                elif unclaimed is not None:
                    unclaimed(message)
            elif not waiting.done():
                waiting.set_exception(
                    messages.rebuild(message)
                    if isinstance(message, messages.Failed)
                    else StorageError("Another question was answered (this is a defect).")
                )

        self._question(make, answered)
        return await waiting

    # --- credentials -----------------------------------------------------------------------

    def try_credential(self, credential: Credential) -> FetchedSecret | None:
        """The secret, if this worker holds one for this credential that is young enough."""
        held = self._secrets.get(credential.id)
        if held is None:
            return None
        if held.credential is not credential and held.credential != credential:
            # Another policy is in force: what was fetched for the earlier credential of this id
            # must not go where this one leads.
            del self._secrets[credential.id]
            return None
        now = self._clock.monotonic()
        if now >= held.refresh_at:
            if now >= held.usable_until:
                del self._secrets[credential.id]
                return None
            # Not past its end, where it must be looked at again.
            held.refresh_at = min(now + _REFRESH_PAUSE, held.usable_until)
            fetched_after = held.fetched.fetched_at

            def answered(message: messages.Given | messages.Failed) -> None:
                if isinstance(message, messages.CredentialGiven):
                    self._hold(credential, message)

            self._question(
                lambda number: messages.CredentialWanted(
                    number, credential, fetched_after, ahead=True
                ),
                answered,
            )
        return held.fetched

    async def credential(self, credential: Credential, *, fetched_after: int = 0) -> FetchedSecret:
        """The secret, fetched if need be; raises the store's ``StoreError``."""
        given = await self._ask(
            messages.CredentialGiven,
            lambda number: messages.CredentialWanted(number, credential, fetched_after),
        )
        return self._hold(credential, given)

    def _hold(self, credential: Credential, given: messages.CredentialGiven) -> FetchedSecret:
        held = self._secrets.get(credential.id)
        now = self._clock.monotonic()
        if (
            held is not None
            and held.credential == credential
            and (held.fetched.version, held.fetched.fetched_at) == (given.version, given.fetched_at)
        ):
            fetched = held.fetched  # the same one again: what was rendered from it stays good
        else:
            fetched = FetchedSecret(
                secret=Secret(given.secret), version=given.version, fetched_at=given.fetched_at
            )
        self._secrets[credential.id] = _HeldSecret(
            credential, fetched, now=now, usable=given.usable_seconds
        )
        return fetched

    def credential_echoed(self, credential_id: str, request_id: str) -> None:
        """Report that an answer contained the credential."""
        self._send(messages.CredentialEchoed(credential_id, request_id))

    # --- limits ----------------------------------------------------------------------------

    def try_reserve(self, demands: tuple[Demand, ...]) -> Hold | None:
        """Set amounts aside from the slices this worker holds; all or nothing."""
        hold = self._slices.try_reserve(demands, self._clock.monotonic())
        if hold is not None and hold.low and (low := self._slices.runs_low(demands)):
            self._top_up(low)
        return hold

    def _top_up(self, demands: tuple[Demand, ...]) -> None:
        wanted = tuple(demand for demand in demands if demand.key not in self._topping_up)
        if not wanted:
            return
        keys = {demand.key for demand in wanted}
        self._topping_up |= keys

        def answered(message: messages.Given | messages.Failed) -> None:
            self._topping_up -= keys
            if isinstance(message, messages.SliceGranted):
                self._slices.credit(wanted, message.amounts, self._clock.monotonic())

        self._question(lambda number: messages.SliceWanted(number, wanted, ahead=True), answered)

    async def reserve(self, demands: tuple[Demand, ...]) -> Hold:
        """Set amounts aside; raises ``LimitReached`` or ``StorageError``."""
        hold = self.try_reserve(demands)
        if hold is not None:
            return hold
        keys = tuple(demand.key for demand in demands)
        if (asking := self._asking.get(keys)) is not None:
            # What one call is given is in bulk, unless the limit is near: often enough for all
            # that wait. If each of them asked, the last would find nothing left to be given.
            await asking.wait()
            hold = self.try_reserve(demands)
            if hold is not None:
                return hold
        self._raise_if_just_refused(keys, demands)
        asking = self._asking.setdefault(keys, asyncio.Event())
        try:
            return await self._reserve_more(keys, demands)
        finally:
            asking.set()
            if self._asking.get(keys) is asking:
                del self._asking[keys]

    async def _reserve_more(
        self, keys: tuple[LimitKey, ...], demands: tuple[Demand, ...]
    ) -> SliceHold:
        """Ask the ledger for what one call needs; mostly it gives more."""
        amounts = tuple(demand.amount for demand in demands)

        def credit(granted: messages.SliceGranted) -> None:
            self._slices.credit(demands, granted.amounts, self._clock.monotonic())

        try:
            granted = await self._ask(
                messages.SliceGranted,
                lambda number: messages.SliceWanted(number, demands),
                unclaimed=credit,
            )
        except LimitReached as error:
            if len(self._refused) >= _REFUSALS:
                self._refused.clear()
            self._refused[keys] = (self._clock.monotonic() + _REFUSED_SECONDS, amounts, error)
            raise
        return self._slices.credit_and_reserve(demands, granted.amounts, self._clock.monotonic())

    def _raise_if_just_refused(
        self, keys: tuple[LimitKey, ...], demands: tuple[Demand, ...]
    ) -> None:
        """Repeat a fresh refusal, so that callers at their limit do not load the coordinator."""
        refused = self._refused.get(keys)
        if refused is None:
            return
        until, refused_amounts, error = refused
        if self._clock.monotonic() >= until:
            del self._refused[keys]
        elif not error.hopeless and any(demand.amount > demand.capacity for demand in demands):
            pass  # it is refused for another reason
        elif all(d.amount >= b for d, b in zip(demands, refused_amounts, strict=True)):
            raise LimitReached(
                error.message,
                retry_after=error.retry_after,
                advice=error.advice,
                hopeless=error.hopeless,
            )

    def settle(self, hold: Hold, used: tuple[int, ...]) -> None:
        """Charge what was really used; the rest goes back."""
        self._slices.settle(hold, used)

    def _report_slices(self) -> None:
        self._timers["slices"] = self._loop.call_later(_REPORT_SECONDS, self._report_slices)
        if uses := self._slices.report(self._clock.monotonic()):
            self._send(messages.SliceReport(uses))

    # --- call records ----------------------------------------------------------------------

    def record(self, call: ClosedCall) -> None:
        """Hand a call's record to the spool: fsynced within 50 ms.

        It is built, counted and encoded with its block, where no client's next call waits for it.
        """
        closed = self._closed_calls
        closed.append(call)
        if len(closed) >= _BLOCK_CALLS:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(_BLOCK_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        channel = self._channel
        if channel is None:
            return
        closed, self._closed_calls = self._closed_calls, []
        block: list[bytes] = []
        size = 0
        for call in closed:
            try:
                record = call.record()
                encoded = encode(self._encoder.encode(record))
            except Exception as error:  # noqa: BLE001 - one call's defect must not lose others' records
                self.report_problem(error=type(error).__name__, place=place_of(error))
                continue
            self._counter.add(record)
            block.append(encoded)
            size += len(encoded)
            if size >= _BLOCK_BYTES:
                channel.send_block(b"".join(block))
                block.clear()
                size = 0
        if block:
            channel.send_block(b"".join(block))

    def accepts_calls(self) -> bool:
        """False while the spool is full and policy says to refuse then.

        And while the coordinator takes records more slowly than they come: from ``BUSY_BYTES`` that
        wait for it until a quarter is left.
        """
        return self._accepts and self._channel is not None and not self._channel.busy

    def _report_counts(self) -> None:
        self._timers["counts"] = self._loop.call_later(_COUNT_SECONDS, self._report_counts)
        if counts := self._counter.take():
            self._send(messages.CallCounts(counts))

    def finish(self) -> None:
        """Send everything that is left; nothing is held afterwards."""
        self._flush()
        self._send(messages.CallCounts(self._counter.take()))
        uses = self._slices.report(self._clock.monotonic(), everything=True)
        self._send(messages.SliceReport(uses))

    # --- prices ----------------------------------------------------------------------------

    def try_price(self, provider: str, model: str) -> PriceQuote | None:
        """The price of a model if this worker knows it already; asks for it otherwise."""
        known = self._prices.get((provider, model))
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        if (provider, model) not in self._pricing:
            self._pricing.add((provider, model))

            def answered(message: messages.Given | messages.Failed) -> None:
                self._pricing.discard((provider, model))
                if isinstance(message, messages.PriceGiven):
                    self._keep_price(provider, model, message.price)

            self._question(lambda number: messages.PriceWanted(number, provider, model), answered)
        return None

    async def price(self, provider: str, model: str) -> PriceQuote | None:
        """The price of a model, or ``None`` when the price table does not have it."""
        known = self._prices.get((provider, model))
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        given = await self._ask(
            messages.PriceGiven, lambda number: messages.PriceWanted(number, provider, model)
        )
        self._keep_price(provider, model, given.price)
        return given.price

    def _keep_price(self, provider: str, model: str, price: PriceQuote | None) -> None:
        if len(self._prices) >= _PRICES:
            self._prices.clear()
        self._prices[provider, model] = (self._clock.monotonic() + _PRICE_SECONDS, price)

    # --- objects, leases -------------------------------------------------------------------

    async def remember_object(self, owned: OwnedObject) -> None:
        """Store who created an object, durably; raises ``StorageError``."""
        await self._ask(
            messages.ObjectGiven, lambda number: messages.ObjectRemembered(number, owned)
        )

    async def find_object(self, object_id: str) -> OwnedObject | None:
        """Who created an object, or ``None``."""
        given = await self._ask(
            messages.ObjectGiven, lambda number: messages.ObjectWanted(number, object_id)
        )
        return given.owned

    async def settle_batch(self, batch_id: str, micro_usd: int) -> None:
        """Give back what a batch was charged over its real cost; raises ``StorageError``."""
        await self._ask(
            messages.ObjectGiven, lambda number: messages.BatchEnded(number, batch_id, micro_usd)
        )
        self._refused.clear()  # what was refused a moment ago may fit now

    async def exchange_key(self, key: bytes, *, peer: str) -> bytes:
        """The lease for an API key; raises ``LeaseRefused`` and the like."""
        given = await self._ask(
            messages.LeaseGiven, lambda number: messages.StaticKeyWanted(number, key, peer)
        )
        return given.lease

    async def exchange_token(
        self, *, form: bytes, content_type: str, dpop: str, peer: str, certificate: str
    ) -> HttpAnswer:
        """Serve ``POST /oauth/token``."""
        given = await self._ask(
            messages.AnswerGiven,
            lambda number: messages.TokenExchangeWanted(
                number, form, content_type, dpop, peer, certificate
            ),
        )
        return given.answer

    def jwks(self) -> bytes:
        """The public lease keys as a JWK set."""
        return self._jwks

    def report_problem(self, *, error: str, place: str) -> None:
        """Have the coordinator log a defect of this worker."""
        self._send(messages.Problem(error, place))
