"""What tests of calls by hand-answered pools share: a price, and a route with two targets."""

from __future__ import annotations

from tests.support.call_rig import CallRig, bundle, credential, route

from keylease.contracts.policy import Target
from keylease.strongroom.gateway.interfaces import PriceQuote

QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=0, cache_write=0, version="prices-1"
)
"""1 micro-USD for an input token, 2 for an output token."""


def two_targets() -> CallRig:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
    )
    return CallRig(policy)
