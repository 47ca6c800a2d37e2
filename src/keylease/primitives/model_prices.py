"""Model prices from genai-prices, offline, in integers.

A quote holds pico-USD (1e-12 USD) per token, which is exact for prices of at most six decimals per
million tokens; the few finer ones (thirds of a cent) are rounded half up to one pico-USD. Where a
price rises with the length of the input ("tiers"), the quote holds every tier, and the one that
applies to the call's input prices all of its tokens, as the providers bill.

Not in a quote: service tiers other than the standard one, web searches, and the price of cached
sound and images, which count as cached text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from keylease.contracts.call_records import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_PICO_PER_MICRO: Final = 1_000_000
_MICROSECONDS: Final = 1_000_000
_MAXIMUM_PICO: Final = 10**15
"""1000 USD per token: beyond any price, and far from overflowing what a database holds."""


class PriceTier(msgspec.Struct, frozen=True, kw_only=True):
    """Prices that hold for the whole call once its input is over ``above`` tokens."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int


class PriceQuote(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs, in pico-USD (1e-12 USD) per token so that integers suffice."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    per_request: int = 0
    """Pico-USD per call."""
    version: str
    """Of the price table."""
    cache_write_1h: int = 0
    """Per token written to a cache that is kept for an hour."""
    reasoning: int | None = None
    """Per reasoning token, where these have a price of their own; ``output`` otherwise."""
    input_audio: int | None = None
    """Per token of sound or image, where these have a price of their own."""
    input_image: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    tiers: tuple[PriceTier, ...] = ()
    """In ascending order of ``above``."""
    context_window: int | None = None
    """Tokens that input and output may have together, where the table knows."""


class _Rates(NamedTuple):
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int


def quote(price_provider: str, model: str, *, at: int) -> PriceQuote | None:
    """Look up a model of a provider by the table's own name for it; ``at`` is in microseconds UTC.

    ``None`` when the table does not have it: the cost is unknown, not zero. Slow the first time
    (it loads the table, about 0.5 s and 50 MB).
    """
    # Imported here: not everybody who needs the arithmetic loads the table.
    import genai_prices  # noqa: PLC0415 - see above
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot  # noqa: PLC0415

    providers = get_snapshot().providers
    found = find_provider_by_id(providers, price_provider)
    # The provider's own lookup and not the snapshot's: that one remembers every name it is asked
    # for, and the names come from callers.
    info = found.find_model(model, all_providers=providers) if found is not None else None
    if info is None:
        return None
    moment = datetime.fromtimestamp(at // _MICROSECONDS, tz=UTC)
    return _quote_of(
        info.get_prices(moment),
        version=f"genai-prices {genai_prices.__version__}",
        context_window=info.context_window,
    )


def _quote_of(price: ModelPrice, *, version: str, context_window: int | None) -> PriceQuote | None:
    if price.input_mtok is None and price.output_mtok is None:
        return None  # priced by the second, the page or the character: tokens say nothing
    try:
        base = _rates(price, None)
        tiers = tuple(
            PriceTier(above=start, **_rates(price, start)._asdict()) for start in _starts(price)
        )
        per_request = _pico(_at_start(price.requests_kcount, None), per=1000)
        return PriceQuote(
            **base._asdict(),
            per_request=per_request,
            reasoning=_own(price.output_reasoning_mtok),
            input_audio=_own(price.input_audio_mtok),
            input_image=_own(price.input_image_mtok),
            output_audio=_own(price.output_audio_mtok),
            output_image=_own(price.output_image_mtok),
            tiers=tiers,
            version=version,
            context_window=context_window,
        )
    except ValueError:
        return None


def _starts(price: ModelPrice) -> list[int]:
    values = (
        price.input_mtok,
        price.output_mtok,
        price.cache_read_mtok,
        price.cache_write_mtok,
        price.cache_write_1h_mtok,
    )
    return sorted({tier.start for value in values for tier in getattr(value, "tiers", ())})


def _rates(price: ModelPrice, start: int | None) -> _Rates:
    """Prices in the tier that begins above ``start``; below all tiers when it is ``None``.

    Cached tokens without a price of their own cost what other input costs.
    """
    base = _at_start(price.input_mtok, start) or Decimal(0)
    write = _or(price.cache_write_mtok, start, base)
    return _Rates(
        input=_pico(base),
        output=_pico(_at_start(price.output_mtok, start)),
        cache_read=_pico(_or(price.cache_read_mtok, start, base)),
        cache_write=_pico(write),
        cache_write_1h=_pico(_or(price.cache_write_1h_mtok, start, write)),
    )


def _own(value: object) -> int | None:
    return None if value is None else _pico(_at_start(value, None))


def _or(value: object, start: int | None, otherwise: Decimal) -> Decimal:
    found = _at_start(value, start)
    return otherwise if found is None else found


def _at_start(value: object, start: int | None) -> Decimal | None:
    """A price that may have tiers, as it is for an input just above ``start`` tokens."""
    if value is None or isinstance(value, Decimal):
        return value
    tiers = getattr(value, "tiers", ())
    reached = [tier.price for tier in tiers if start is not None and tier.start <= start]
    found: Decimal = reached[-1] if reached else value.base  # type: ignore[attr-defined]  # TieredPrices; importing it would load the table
    return found


def _pico(usd: Decimal | None, *, per: int = 1_000_000) -> int:
    """Pico-USD for one unit of a price for ``per`` units; ``ValueError`` when it cannot be one."""
    if usd is None:
        return 0
    amount = usd * (10**12 // per)
    if not amount.is_finite() or not 0 <= amount <= _MAXIMUM_PICO:
        raise ValueError("not a price")
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


# --- arithmetic ----------------------------------------------------------------------------


def cost_micro_usd(price: PriceQuote, usage: Usage) -> int:
    """What a call cost, in micro-USD: exact in pico-USD, then rounded half up, once."""
    return micro_usd_of(cost_pico_usd(price, usage, usage.input_tokens))


def micro_usd_of(pico: int) -> int:
    """Pico-USD as micro-USD, rounded half up."""
    return (pico + _PICO_PER_MICRO // 2) // _PICO_PER_MICRO


def cost_pico_usd(price: PriceQuote, usage: Usage, input_tokens: int) -> int:
    """What was used cost, in pico-USD.

    ``input_tokens`` decides on the tier. It is that of ``usage``, unless that adds up many calls:
    then it is the most that one of them had.
    """
    tier = _tier(price, input_tokens)
    plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    pico = (
        max(0, plain) * tier.input
        + usage.cache_read_tokens * tier.cache_read
        + (usage.cache_write_tokens - usage.cache_write_1h_tokens) * tier.cache_write
        + usage.cache_write_1h_tokens * tier.cache_write_1h
        + usage.output_tokens * tier.output
        + price.per_request
    )
    if price.reasoning is not None:
        pico += usage.reasoning_tokens * (price.reasoning - tier.output)
    for own, tokens, counted_as in (
        (price.input_audio, usage.input_audio_tokens, tier.input),
        (price.input_image, usage.input_image_tokens, tier.input),
        (price.output_audio, usage.output_audio_tokens, tier.output),
        (price.output_image, usage.output_image_tokens, tier.output),
    ):
        if own is not None and tokens:
            pico += tokens * (own - counted_as)
    return max(0, pico)  # cached tokens that are sound, too, were taken off twice


def _tier(price: PriceQuote, input_tokens: int) -> PriceQuote | PriceTier:
    found: PriceQuote | PriceTier = price
    for tier in price.tiers:
        if input_tokens > tier.above:
            found = tier
    return found
