"""What a request's body says about how much it may use.

Protects: budgets against bodies that ask for more than they seem to: only members that bound the
    output of their operation count, the largest of them, times the answers that are asked for.
Limits: see ``metering.reservations``. A batch costs half at the providers; here it is counted at
    the full price, because no price table says which models have that discount.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.errors import LimitReached, RequestMalformed
from keylease.strongroom.gateway.interfaces import BatchBound, in_usd
from keylease.strongroom.gateway.metering.output_bounds import output_bound
from keylease.strongroom.gateway.metering.reservations import (
    Reservation,
    answer_bound,
    estimate_input_tokens,
    reserve_for,
)
from keylease.strongroom.gateway.providers.interfaces import Operation

_OUTPUT_MEMBERS: Final = {
    "/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/completions": ("max_tokens",),
    "/responses": ("max_output_tokens",),
    "/v1/messages": ("max_tokens",),
    "/v1/messages/batches": ("max_tokens",),
}
"""What bounds the output of an operation; elsewhere such a member means nothing."""
_MOST_TOKENS: Final = 10_000_000
"""No model writes more in one answer. A larger bound says no more, and would fit into no record."""
_MOST_ANSWERS: Final = 1000
_ENCODER: Final = msgspec.json.Encoder()


def reserve(
    body: bytes,
    members: dict[str, object],
    operation: Operation,
    model: str,
    *,
    names: set[str] | None = None,
    context_window: int | None = None,
) -> Reservation:
    """Bound what a call may use from what its body says; ``names`` as ``JsonBody`` has them.

    ``context_window``: of ``model``, in tokens, where it is known.
    """
    if operation.batch:
        return _reserve_requests(members, operation, model, names, context_window)
    return reserve_for(
        body,
        operation=operation.name,
        model=model,
        max_tokens=_asked_output(members, _OUTPUT_MEMBERS.get(operation.template, ())),
        choices=_answers(members),
        names=names,
        context_window=context_window,
    )


def _reserve_requests(
    members: dict[str, object],
    operation: Operation,
    model: str,
    names: set[str] | None,
    context_window: int | None,
) -> Reservation:
    """Bound a batch whose requests stand in its body: each as a call of its own."""
    bounds = LineBounds()
    requests = members.get("requests")
    for request in requests if isinstance(requests, list) else ():
        params = request.get("params") if isinstance(request, dict) else None
        if isinstance(params, dict):
            bounds.add(_ENCODER.encode(params), params, operation, names)
    return reserve_batch(bounds.total, model, context_window)


class LineBounds:
    """Adds up what the requests of a batch may use."""

    __slots__ = (
        "_input_tokens", "_largest_input", "_open_answers", "_output_tokens", "_requests",
    )  # fmt: skip

    def __init__(self) -> None:
        self._requests = 0
        self._largest_input = 0
        self._input_tokens = 0
        self._output_tokens = 0
        self._open_answers = 0

    def add(
        self,
        body: bytes,
        members: dict[str, object],
        operation: Operation,
        names: set[str] | None,
    ) -> None:
        """One request; raises ``RequestMalformed`` where it cannot be counted."""
        answers = _answers(members)
        limiting = _OUTPUT_MEMBERS.get(operation.template, ())
        each = answer_bound(operation.name, _asked_output(members, limiting))
        input_tokens = estimate_input_tokens(body, names)
        self._requests += 1
        self._largest_input = max(self._largest_input, input_tokens)
        self._input_tokens += input_tokens
        if each is None:
            self._open_answers += answers
        else:
            self._output_tokens += each * answers

    @property
    def total(self) -> BatchBound:
        """What all lines may use together."""
        return BatchBound(
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            open_answers=self._open_answers,
            requests=self._requests,
            largest_input=self._largest_input,
        )


def reserve_batch(bound: BatchBound, model: str, context_window: int | None) -> Reservation:
    """Bound what a batch may use whose lines were all counted."""
    output = bound.output_tokens
    if bound.open_answers:
        output += bound.open_answers * output_bound(model, context_window)
    return Reservation(
        input_tokens=bound.input_tokens,
        output_tokens=output,
        requests=bound.requests or 1,
        largest_input=bound.largest_input,
        open_answers=bound.open_answers,
    )


def explained(
    refusal: LimitReached,
    reservation: Reservation,
    *,
    model: str,
    context_window: int | None,
    micro_usd: int | None,
) -> LimitReached:
    """The refusal of a batch, with what was counted for it and what makes it smaller."""
    said = (
        "A batch is counted with the most that its requests may use. "
        f"Requests: {reservation.requests:,}; input tokens: {reservation.input_tokens:,}; "
        f"output tokens: {reservation.output_tokens:,}"
    )
    said += "." if micro_usd is None else f"; at most {in_usd(micro_usd)}."
    larger = "raise the limit: of the grant or its budget, or maximum_usd_per_day of the binding"
    advice = f"Send smaller batches, or {larger}."
    if reservation.open_answers:
        longest = output_bound(model, context_window)
        said += (
            f" Answers without a bound of their own: {reservation.open_answers:,}, each counted as "
            f"the longest of '{model}', {longest:,} tokens."
        )
        advice = (
            "Set max_tokens (chat: max_completion_tokens, responses: max_output_tokens) in every "
            f"request of the batch; or {larger}."
        )
    return refusal.explained(said, advice=advice)


def _answers(members: dict[str, object]) -> int:
    return max(_count_of(members, "n"), _count_of(members, "best_of"))


def _count_of(members: dict[str, object], name: str) -> int:
    """How many answers are asked for; refuses what only some providers would take for a number."""
    count = members.get(name)
    if count is not None and (type(count) is not int or count > _MOST_ANSWERS):
        raise RequestMalformed(f"The member '{name}' is no whole number up to {_MOST_ANSWERS}.")
    return max(1, count or 1)


def _asked_output(members: dict[str, object], names: tuple[str, ...]) -> int | None:
    """The largest of the members that bound the output; the provider heeds one of them."""
    bounds = [bound for name in names if type(bound := members.get(name)) is int and bound >= 0]
    return min(max(bounds), _MOST_TOKENS) if bounds else None
