"""A gateway's call path with every surface open, for tests of what providers offer."""

from __future__ import annotations

from tests.support.call_rig import CallRig, bundle

from keylease.strongroom.gateway.interfaces import PriceQuote

QUOTE = PriceQuote(input=1, output=1, cache_read=0, cache_write=0, version="1")


def rig_with(policy: object = None, **changes: object) -> CallRig:
    rig = CallRig(policy or bundle(), **changes)  # type: ignore[arg-type]  # as CallRig has them
    for model in ("gpt-4o-mini", "gpt-4o", "o1"):
        rig.link.prices["openai", model] = QUOTE
    rig.link.prices["anthropic", "claude-4"] = QUOTE
    return rig
