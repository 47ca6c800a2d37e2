"""Which decision of the policy a request asks for, and what its URL may say."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.forms import FormBody
from keylease.strongroom.gateway.call.routing import CompiledPolicy, Decision
from keylease.strongroom.gateway.interfaces import BatchBound
from keylease.strongroom.gateway.providers.interfaces import Operation

_QUERY_VALUE: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%:,[]+"
)


class Choice:
    """What was asked for, and what the policy says to it."""

    __slots__ = ("batch_bound", "decision", "model", "only")

    def __init__(
        self,
        decision: Decision,
        model: str,
        only: set[str] | None = None,
        batch_bound: BatchBound | None = None,
    ) -> None:
        self.batch_bound: Final = batch_bound
        """What the batch that is asked for may use, where that was counted."""
        self.only: Final = only
        """Identifiers of the credentials that can serve it, where not all of the decision can."""
        self.decision: Final = decision
        self.model: Final = model
        """As the caller named it; empty where no model is named."""


def choose(
    policy: CompiledPolicy,
    claims: LeaseClaims,
    operation: Operation,
    body: JsonBody | FormBody | None,
    wire_format: WireFormat,
) -> Choice:
    """Ask the policy about the request's model; raises ``AccessDenied`` or ``RequestMalformed``."""
    if body is None:
        return Choice(policy.decide_without_model(claims, wire_format), "")
    if operation.batch and isinstance(body, JsonBody):
        return _choose_for_batch(policy, claims, body, wire_format)
    model = body.model or operation.default_model
    if not model:
        raise RequestMalformed("The request names no model.", advice="Set the member 'model'.")
    decision = policy.decide(claims, model, wire_format)
    if isinstance(body, JsonBody):
        # A tool may run a model of its own: the lease has to be good for that one too.
        for further in body.further_models():
            policy.decide(claims, further, wire_format)
    return Choice(decision, model)


def _choose_for_batch(
    policy: CompiledPolicy, claims: LeaseClaims, body: JsonBody, wire_format: WireFormat
) -> Choice:
    """Every model that a batch names must be allowed, and then it may be only one."""
    models = body.batch_models()
    decisions = [policy.decide(claims, model, wire_format) for model in models]
    if len(models) > 1:
        raise RequestMalformed(
            "The requests of the batch name more than one model.",
            advice="Send one batch for each model; each is priced and routed by its model.",
        )
    return Choice(decisions[0], models[0])


def check_query(query: str, allowed: frozenset[str]) -> None:
    """Refuse every query parameter that the operation does not list."""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = unquote(name)
        if name not in allowed or not _QUERY_VALUE.issuperset(value):
            advice = "Remove it from the URL."
            if "kll_" in part:
                advice = "A lease goes into a header, never into the URL. Get a new one."
            raise RequestMalformed(
                "The URL has a query parameter that this path does not take.", advice=advice
            )
