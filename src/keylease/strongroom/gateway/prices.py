"""Model prices from genai-prices, offline, in integers."""

from __future__ import annotations

from keylease.contracts.call_records import Usage
from keylease.strongroom.gateway.interfaces import PriceQuote
from keylease.strongroom.gateway.metering import Reservation


def quote(provider: str, model: str, *, at: int) -> PriceQuote | None:
    """Look up a model of a catalogue provider; ``at`` is in microseconds UTC.

    ``None`` when the table does not have it: the cost is unknown, not zero. Slow the first time
    (it loads the table, about 0.5 s and 50 MB): for the coordinator, never for a worker.
    """
    raise NotImplementedError


def cost_micro_usd(price: PriceQuote, usage: Usage) -> int:
    """What a call cost, in micro-USD, rounded half up."""
    raise NotImplementedError


def reserve_micro_usd(price: PriceQuote, reservation: Reservation) -> int:
    """Bound what a call may cost from above, in micro-USD, rounded up."""
    raise NotImplementedError
