"""What a request's body says about how much it may use.

Protects: budgets against bodies that ask for more than they seem to: only members that bound the
    output of their operation count, the largest of them, times the answers that are asked for.
Limits: see ``metering.reservations``. A batch costs half at the providers; here it is counted at
    the full price, because no price table says which models have that discount.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.interfaces import BatchBound
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
    parts = [members]
    if operation.batch:
        requests = members.get("requests")
        parts = [
            request["params"]
            for request in (requests if isinstance(requests, list) else ())
            if isinstance(request, dict) and isinstance(request.get("params"), dict)
        ] or parts
    limiting = _OUTPUT_MEMBERS.get(operation.template, ())
    bounds = [_asked_output(part, limiting) for part in parts]
    known = [bound for bound in bounds if bound is not None]
    return reserve_for(
        body,
        operation=operation.name,
        model=model,
        max_tokens=max(known) if len(known) == len(bounds) else None,
        choices=_answers(members) * len(parts),
        names=names,
        context_window=context_window,
    )


class LineBounds:
    """Adds up what the lines of a batch's file may use."""

    __slots__ = ("_input_tokens", "_open_answers", "_output_tokens")

    def __init__(self) -> None:
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
        """One line; raises ``RequestMalformed`` where it cannot be counted."""
        answers = _answers(members)
        limiting = _OUTPUT_MEMBERS.get(operation.template, ())
        each = answer_bound(operation.name, _asked_output(members, limiting))
        self._input_tokens += estimate_input_tokens(body, names)
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
        )


def reserve_batch(bound: BatchBound, model: str, context_window: int | None) -> Reservation:
    """Bound what a batch may use whose lines were all counted."""
    output = bound.output_tokens
    if bound.open_answers:
        output += bound.open_answers * output_bound(model, context_window)
    return Reservation(input_tokens=bound.input_tokens, output_tokens=output)


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
