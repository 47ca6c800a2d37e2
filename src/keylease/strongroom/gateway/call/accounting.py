"""What one call sets aside, what it is charged in the end, and the record of it.

Protects: every call that got past its lease is settled once and recorded once, however it ends.
Limits: where the provider's numbers never arrive, the charge is an estimate and marked as one. It
    is the reservation, unless a part of a stream arrived: then not more output than its bytes say.
    A batch, and a response in the background, is charged its reservation until what it really used
    is read (``batch_settling``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from keylease import detectors
from keylease.contracts.call_records import CallRecord, Usage
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.purposes import Purpose
from keylease.errors import AccessDenied, KeyleaseError, LimitReached
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.gateway.call.reserving import explained, reserve, reserve_batch
from keylease.strongroom.gateway.call.routing import Bound, Decision, ResolvedTarget
from keylease.strongroom.gateway.interfaces import (
    BatchBound,
    BatchCharge,
    CoordinatorLink,
    Demand,
    Hold,
    LimitKind,
    PriceQuote,
)
from keylease.strongroom.gateway.metering import prices
from keylease.strongroom.gateway.metering.batch_usage import BatchReader
from keylease.strongroom.gateway.metering.content import CapturedContent, ContentCapture
from keylease.strongroom.gateway.metering.meters import MeteredAnswer, Reservation
from keylease.strongroom.gateway.providers.interfaces import Operation

CLIENT_GONE: Final = 499
"""The status in the record when no answer had begun; nobody received it."""
_BYTES_PER_TOKEN: Final = 4
"""Of a stream: far below what any event takes, so an estimate by bytes is never too small."""
_UNPRICED_SECONDS: Final = 300.0
_PURPOSES: Final = {purpose: purpose.value for purpose in Purpose}
_REQUESTS: Final = LimitKind.REQUESTS
_TOKENS: Final = LimitKind.TOKENS
_MICRO_USD: Final = LimitKind.MICRO_USD
_NOTHING: Final = Reservation(input_tokens=0, output_tokens=0)
_NO_ANSWER: Final = MeteredAnswer()
_NO_MEMBERS: Final[dict[str, object]] = {}


class PriceBook:
    """Prices as this worker knows them, and which models have none."""

    def __init__(self, link: CoordinatorLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._unpriced: dict[tuple[str, str], float] = {}

    def at_hand(self, provider: str, model: str) -> tuple[bool, PriceQuote | None]:
        """Whether the answer is known, and the answer."""
        found = self._link.try_price(provider, model)
        if found is not None:
            return True, found
        until = self._unpriced.get((provider, model))
        return until is not None and until > self._clock.monotonic(), None

    async def ask(self, provider: str, model: str) -> PriceQuote | None:
        """The price from the table; that there is none is remembered for a while."""
        found = await self._link.price(provider, model)
        if found is None:
            if len(self._unpriced) > 1000:  # noqa: PLR2004 - callers choose the names
                self._unpriced.clear()
            self._unpriced[provider, model] = self._clock.monotonic() + _UNPRICED_SECONDS
        return found


class Account:
    """One call, from its lease to its record."""

    __slots__ = (
        "_background",
        "_body",
        "_bounds",
        "_client_gone",
        "_clock",
        "_closed",
        "_content",
        "_cost_micro_usd",
        "_duration",
        "_error",
        "_estimated",
        "_holds",
        "_link",
        "_members",
        "_names",
        "_reservation",
        "_response_model",
        "_started",
        "answer_bytes",
        "batch_bound",
        "batch_reader",
        "capture",
        "claims",
        "credential_version",
        "decision",
        "model",
        "operation",
        "parent_span_id",
        "policy_version",
        "price",
        "provider_request_id",
        "request_id",
        "retries",
        "secret",
        "started_at",
        "status",
        "streamed",
        "target",
        "time_to_first_chunk",
        "trace_id",
        "upstream_model",
        "usage",
    )  # fmt: skip

    def __init__(
        self,
        *,
        link: CoordinatorLink,
        clock: Clock,
        claims: LeaseClaims,
        operation: Operation,
        request_id: str,
    ) -> None:
        self._link = link
        self._clock = clock
        self._closed = False
        self._holds: Hold | None = None
        self._started = clock.monotonic()
        self.started_at = clock.now()
        self.claims = claims
        self.operation = operation
        self.request_id = request_id
        self.trace_id = ""
        self.parent_span_id = ""
        self.decision: Decision | None = None
        self.policy_version = 0
        self.target: ResolvedTarget | None = None
        self.model = ""
        self.upstream_model = ""
        self.credential_version = ""
        self.secret = b""
        """What the call was authenticated with: no text with it in it is recorded."""
        self.provider_request_id = ""
        self.price: PriceQuote | None = None
        self._bounds: tuple[Bound, ...] = ()
        """What the hold draws from, in its order."""
        self._body = b""
        self._members: dict[str, object] = _NO_MEMBERS
        self._names: set[str] | None = None
        self._reservation: Reservation | None = None
        self._background = False
        self.batch_bound: BatchBound | None = None
        """What the batch that the call starts may use; ``None`` where nobody counted."""
        self.batch_reader: BatchReader | None = None
        """Looks at the answer for what an earlier batch really used."""
        self.capture: ContentCapture | None = None
        self.retries = 0
        self.status = 0
        self.streamed = False
        self.time_to_first_chunk: int | None = None
        self.answer_bytes = 0
        # Of the record, known when the call is over:
        self.usage: Usage | None = None
        self._cost_micro_usd: int | None = None
        self._estimated = False
        self._error = ""
        self._client_gone = False
        self._duration = 0
        self._response_model = ""
        self._content: CapturedContent | None = None

    @property
    def closed(self) -> bool:
        """The record is written."""
        return self._closed

    def expects(
        self, body: bytes, members: dict[str, object], names: set[str] | None = None
    ) -> None:
        """What the target will be sent; bounds what the call may use.

        ``names``: of the members of a JSON body at any depth, where they are known.
        """
        self._body = body
        self._members = members
        self._names = names
        self._reservation = None
        self._background = bool(members.get("background"))

    @property
    def reservation(self) -> Reservation:
        """An upper bound of what the call may use; computed when it is first needed."""
        found = self._reservation
        if found is None:
            found = _NOTHING
            window = self.price.context_window if self.price is not None else None
            if self.operation.any_model:
                if self.batch_bound is not None:
                    found = reserve_batch(self.batch_bound, self.upstream_model, window)
            elif self.operation.spends and self._body:
                found = reserve(
                    self._body,
                    self._members,
                    self.operation,
                    self.upstream_model,
                    names=self._names,
                    context_window=window,
                )
            self._reservation = found
        return found

    def forget_body(self) -> None:
        """A long answer begins: only the bound is kept of the request, and not its body."""
        self._reservation = self.reservation
        self._drop_body()

    def _drop_body(self) -> None:
        self._body = b""
        self._members = _NO_MEMBERS
        self._names = None

    def first_chunk(self) -> None:
        """The first byte of the answer's body is here."""
        self.time_to_first_chunk = self._elapsed()

    def demands(self) -> tuple[Demand, ...]:
        """What to set aside for the chosen target; raises ``AccessDenied`` where nobody can say."""
        target = self.target
        if target is None or not target.bounds:
            return ()
        demands = []
        for bound in target.bounds:
            demand = bound.one
            if demand is None:
                money = bound.kind is _MICRO_USD
                self._require_countable(money=money)
                demand = Demand(bound.key, bound.capacity, self._amount(money=money))
            demands.append(demand)
        self._bounds = target.bounds
        return tuple(demands)

    def _require_countable(self, *, money: bool) -> None:
        if self.operation.any_model and self.batch_bound is None:
            raise AccessDenied(
                "The tokens of the batch were not counted when its file was uploaded, so it cannot "
                "draw from a budget or a token limit.",
                advice="Upload the file through this gateway with the purpose 'batch', or use a "
                "grant and a binding without a budget.",
            )
        if money and self.operation.spends and self.price is None:
            raise AccessDenied(
                f"The price of '{self.upstream_model}' is not known, so no budget can hold it.",
                advice="Use a grant and a binding without a budget, or a model with a known price.",
            )

    @property
    def starts_batch(self) -> bool:
        """The provider carries out many requests later."""
        return self.operation.any_model or self.operation.batch

    @property
    def goes_on(self) -> bool:
        """The provider works on when this call is over, and says later what that used."""
        return self.starts_batch or self._background

    def later_charge(self, object_id: str) -> BatchCharge | None:
        """What a call that goes on is charged when it is closed; ``None`` if no budget is.

        ``object_id``: of the batch, or of the response in the background.
        """
        hold = self._holds
        if hold is None or self.price is None:
            return None
        drawn = tuple(demand.key for demand in hold.demands if demand.key.kind is _MICRO_USD)
        if not drawn:
            return None
        reservation = self.reservation
        return BatchCharge(
            batch_id=object_id,
            provider=self.target.provider.name if self.target is not None else "",
            model=self.upstream_model,
            micro_usd=self._cost(self.price, self._estimate(None), estimated=True),
            limits=drawn,
            charged_at=self._clock.now(),
            requests=reservation.requests,
            largest_input=reservation.largest_input,
        )

    def _cost(self, price: PriceQuote, usage: Usage, *, estimated: bool) -> int:
        if not estimated or not self.starts_batch:
            return prices.cost_micro_usd(price, usage)
        reservation = self.reservation
        return prices.batch_micro_usd(
            price,
            usage,
            requests=reservation.requests,
            largest_input=reservation.largest_input,
        )

    def explained(self, refusal: LimitReached) -> LimitReached:
        """Why a batch does not fit under a limit, and what to do; any other refusal as it is."""
        if not self.starts_batch:
            return refusal
        return explained(
            refusal,
            self.reservation,
            model=self.upstream_model,
            context_window=self.price.context_window if self.price is not None else None,
            micro_usd=self._amount(money=True) if self.price is not None else None,
        )

    @property
    def _estimable(self) -> bool:
        """There is an estimate worth recording where no numbers arrive.

        A batch is carried out later. What it draws from budgets is recorded, and where it draws
        from none its usage is unknown: the bound says nothing about it.
        """
        if self.starts_batch:
            return any(bound.kind is not _REQUESTS for bound in self._bounds)
        return self.operation.spends

    def _amount(self, *, money: bool) -> int:
        if not self.operation.spends:
            return 0
        reservation = self.reservation
        if not money:
            return reservation.input_tokens + reservation.output_tokens
        return prices.reserve_micro_usd(self.price, reservation) if self.price is not None else 0

    def hold(self, hold: Hold) -> None:
        """Keep what was set aside until the call is settled."""
        self._holds = hold
        if self._closed:
            self._settle(requests=0, tokens=0, cost=0)

    @property
    def held(self) -> bool:
        """Something is set aside."""
        return self._holds is not None

    def release(self) -> None:
        """Give back what was set aside: nothing was sent."""
        self._settle(requests=0, tokens=0, cost=0)

    def _settle(self, *, requests: int, tokens: int, cost: int) -> None:
        hold, self._holds = self._holds, None
        if hold is None:
            return
        used = []
        for bound in self._bounds:
            counted = tokens if bound.kind is _TOKENS else cost
            used.append(requests if bound.kind is _REQUESTS else counted)
        self._link.settle(hold, tuple(used))

    def close(
        self,
        *,
        status: int,
        error: KeyleaseError | None = None,
        answer: MeteredAnswer | None = None,
        sent: bool,
        in_doubt: bool = False,
        client_gone: bool = False,
    ) -> None:
        """Settle and record; later calls do nothing.

        Args:
            status: what the client got.
            error: why we refused or broke off.
            answer: what the meter saw.
            sent: the provider may have received the call.
            in_doubt: the call may have cost something although no numbers arrived.
            client_gone: the client did not wait for the end.
        """
        if self._closed:
            return
        self._closed = True
        metered = answer or _NO_ANSWER
        usage = metered.usage
        if usage is None and in_doubt and self._estimable:
            usage = self._estimate(metered.partial)
            self._estimated = True
        if usage is not None and self.price is not None:
            self._cost_micro_usd = self._cost(self.price, usage, estimated=self._estimated)
        tokens = usage.input_tokens + usage.output_tokens if usage is not None else 0
        self._settle(requests=int(sent), tokens=tokens, cost=self._cost_micro_usd or 0)
        self.status = status
        self.usage = usage
        self._error = "" if error is None else error.code
        self._client_gone = client_gone
        self._duration = self._elapsed()
        self._let_go(metered.response_model)
        self._link.record(self)

    def _let_go(self, response_model: str) -> None:
        """Nothing that is secret or large waits for the record."""
        if self.capture is not None or self.secret:
            secret = self.secret.decode("latin-1")
            if self.capture is not None:
                self._content = self.capture.finish(secret)
            if secret and secret in response_model:
                response_model = ""
        self._response_model = response_model
        self.capture = None
        self.secret = b""
        self._drop_body()

    def _estimate(self, partial: Usage | None) -> Usage:
        output = self.reservation.output_tokens
        if self.streamed and self.answer_bytes and not self._background:
            output = min(output, self.answer_bytes // _BYTES_PER_TOKEN)
        if partial is None:
            return Usage(input_tokens=self.reservation.input_tokens, output_tokens=output)
        # The input was counted before the stream broke off; the output was still growing.
        return msgspec.structs.replace(partial, output_tokens=max(output, partial.output_tokens))

    def record(self) -> CallRecord:
        """What is kept of the call. Built behind it, with those of other calls."""
        claims = self.claims
        target = self.target
        compact = self.request_id.replace("-", "")
        content = self._content
        cost = self._cost_micro_usd
        requested = _without_secrets(self.model)
        upstream = self.upstream_model
        response = self._response_model
        return CallRecord(
            id=self.request_id,
            trace_id=self.trace_id or compact,
            parent_span_id=self.parent_span_id,
            span_id=compact[16:],
            organization_id=claims.organization,
            project=claims.project,
            principal=claims.sub,
            lease_id=claims.jti,
            grant_id=self.decision.grant.id if self.decision is not None else "",
            purpose=_PURPOSES[claims.purpose],
            environment=claims.environment,
            credential_id=target.credential.id if target is not None else "",
            credential_version=self.credential_version,
            provider=target.provider.name if target is not None else "",
            operation=self.operation.name,
            method=self.operation.method,
            path=self.operation.recorded_path,
            requested_model=requested,
            upstream_model=(requested if upstream == self.model else _without_secrets(upstream)),
            response_model=(requested if response == self.model else _without_secrets(response)),
            provider_request_id=self.provider_request_id,
            started_at=self.started_at,
            duration=self._duration,
            time_to_first_chunk=self.time_to_first_chunk,
            streamed=self.streamed,
            status=self.status,
            error=self._error,
            retries=self.retries,
            client_gone=self._client_gone,
            usage=self.usage,
            cost=cost,
            price_version=self.price.version if cost is not None and self.price else "",
            estimated=self._estimated,
            policy_version=self.policy_version,
            input=content.input if content is not None else None,
            output=content.output if content is not None else None,
            content_truncated=content is not None and content.truncated,
        )

    def _elapsed(self) -> int:
        return int((self._clock.monotonic() - self._started) * MICROSECONDS)


@lru_cache(maxsize=1024)
def _without_secrets(model: str) -> str:
    """A model's name for the record: callers also paste keys and leases in its place."""
    return detectors.mask(model)[0]
