"""What a model of a catalogue provider costs, and a bound on what a call may cost.

A reservation takes the dearest tier that its bound of the input could reach. A batch adds up many
requests, each with the tier of its own input: there the largest one decides.
"""

from __future__ import annotations

from typing import Final

from keylease.contracts.call_records import Usage
from keylease.contracts.catalogue import CATALOGUE
from keylease.primitives import model_prices
from keylease.primitives.model_prices import PriceQuote, PriceTier
from keylease.primitives.model_prices import cost_micro_usd as cost_micro_usd  # noqa: PLC0414 - belongs to the rest here
from keylease.strongroom.gateway.metering.reservations import Reservation

_PICO_PER_MICRO: Final = 1_000_000


def quote(provider: str, model: str, *, at: int) -> PriceQuote | None:
    """Look up a model of a catalogue provider; ``at`` is in microseconds UTC.

    ``None`` when the table does not have it: the cost is unknown, not zero. Slow the first time:
    for the coordinator, never for a worker.
    """
    entry = CATALOGUE.get(provider)
    if entry is None or not entry.price_provider or not model:
        return None
    return model_prices.quote(entry.price_provider, model, at=at)


def reserve_micro_usd(price: PriceQuote, reservation: Reservation) -> int:
    """Bound what a call may cost from above, in micro-USD, rounded up."""
    tiers: list[PriceQuote | PriceTier] = [
        price,
        *(tier for tier in price.tiers if reservation.largest_input > tier.above),
    ]
    dearest_input = max(
        *(max(tier.input, tier.cache_read) for tier in tiers),
        *(max(tier.cache_write, tier.cache_write_1h) for tier in tiers),
        price.input_audio or 0,
        price.input_image or 0,
    )
    dearest_output = max(
        *(tier.output for tier in tiers),
        price.reasoning or 0,
        price.output_audio or 0,
        price.output_image or 0,
    )
    pico = (
        reservation.input_tokens * dearest_input
        + reservation.output_tokens * dearest_output
        + reservation.requests * price.per_request
    )
    return -(-pico // _PICO_PER_MICRO)


def batch_micro_usd(price: PriceQuote, usage: Usage, *, requests: int, largest_input: int) -> int:
    """What many requests cost together; bounded from above where only their sum is known.

    Args:
        price: of their model. Providers take half of it for a batch; no price table says for which
            models, so it is counted in full.
        usage: of all of them.
        requests: how many there are.
        largest_input: the most input tokens that one of them may have; 0 where nobody knows.
    """
    pico = model_prices.cost_pico_usd(price, usage, largest_input or usage.input_tokens)
    pico += max(0, requests - 1) * price.per_request
    return model_prices.micro_usd_of(pico)
