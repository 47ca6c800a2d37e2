"""Costs are those of the price table, in whole micro-USD, and bounds are bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, Final

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.contracts.call_records import Usage
from keylease.contracts.catalogue import CATALOGUE
from keylease.strongroom.gateway.interfaces import PriceQuote, PriceTier
from keylease.strongroom.gateway.metering.prices import cost_micro_usd, quote, reserve_micro_usd
from keylease.strongroom.gateway.metering.reservations import Reservation

AT: Final = 1_790_000_000_000_000
MOMENT: Final = datetime.fromtimestamp(AT // 1_000_000, tz=UTC)
PRICED: Final = {
    entry.price_provider: entry.name for entry in CATALOGUE.values() if entry.price_provider
}


@cache
def models() -> list[tuple[str, str]]:
    """Of the whole table; computed when a test begins, because all processes collect this file."""
    return [
        (PRICED[provider.id], model.id)
        for provider in data_snapshot.get_snapshot().providers
        if provider.id in PRICED
        for model in provider.models
        if provider.find_model(model.id) is model
    ]


def finer_than_a_pico(provider: str, model: str) -> bool:
    _, info = data_snapshot.get_snapshot().find_provider_model(
        model, None, CATALOGUE[provider].price_provider, None
    )
    prices = vars(info.get_prices(MOMENT)).values()
    return any(isinstance(p, Decimal) and p * 10**6 != int(p * 10**6) for p in prices)


@cache
def finer() -> set[tuple[str, str]]:
    """Prices such as 0.0833... USD for a million tokens, which no whole number gives."""
    return {named for named in models() if finer_than_a_pico(*named)}


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total = draw(st.integers(0, 600_000))
    read = draw(st.integers(0, total))
    written = draw(st.integers(0, total - read))
    output = draw(st.integers(0, 100_000))
    if draw(st.integers(0, 3)) == 0:
        # Sound and images, without a cache: what of them was cached is not reported.
        return Usage(
            input_tokens=total,
            output_tokens=output,
            input_audio_tokens=draw(st.integers(0, total // 2)),
            input_image_tokens=draw(st.integers(0, total // 2)),
            output_audio_tokens=draw(st.integers(0, output // 2)),
            output_image_tokens=draw(st.integers(0, output // 2)),
        )
    return Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        reasoning_tokens=draw(st.integers(0, output)),
    )


def expected(provider: str, model: str, usage: Usage) -> int:
    """What genai-prices itself computes, rounded half up."""
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "input_image_tokens": usage.input_image_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "output_image_tokens": usage.output_image_tokens,
    }
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        model,
        provider_id=CATALOGUE[provider].price_provider,
        genai_request_timestamp=MOMENT,
    )
    return int((found.total_price * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def test_there_are_many_models_to_compare() -> None:
    assert len(models()) > 500
    assert len({provider for provider, _ in models()}) >= 8
    assert len(finer()) < 0.03 * len(models())


@cache
def with_sound_or_images() -> list[tuple[str, str]]:
    return [
        named
        for named in models()
        if (found := quote(*named, at=AT)) is not None
        and (found.input_audio or found.input_image or found.output_image)
    ]


ANY_MODEL: Final = st.deferred(lambda: st.sampled_from(models()))
WITH_SOUND_OR_IMAGES: Final = st.deferred(lambda: st.sampled_from(with_sound_or_images()))


@given(st.one_of(ANY_MODEL, WITH_SOUND_OR_IMAGES), usages())
@settings(max_examples=750, deadline=None)
def test_costs_agree_with_the_table(named: tuple[str, str], usage: Usage) -> None:
    price = quote(*named, at=AT)
    if price is None:
        return
    difference = cost_micro_usd(price, usage) - expected(*named, usage)
    assert abs(difference) <= (1 if named in finer() else 0)


def test_only_models_without_token_prices_have_no_quote() -> None:
    unpriced = [
        (provider, model) for provider, model in models() if quote(provider, model, at=AT) is None
    ]
    assert len(unpriced) < 0.25 * len(models())
    for provider, model in unpriced:
        _, info = data_snapshot.get_snapshot().find_provider_model(
            model, None, CATALOGUE[provider].price_provider, None
        )
        price = info.get_prices(MOMENT)
        assert price.input_mtok is None
        assert price.output_mtok is None


@given(ANY_MODEL, usages(), st.integers(0, 50_000), st.integers(0, 50_000))
@settings(max_examples=400, deadline=None)
def test_a_reservation_is_never_less_than_the_cost(
    named: tuple[str, str], usage: Usage, more_input: int, more_output: int
) -> None:
    price = quote(*named, at=AT)
    if price is None:
        return
    bound = Reservation(
        input_tokens=usage.input_tokens + more_input,
        output_tokens=usage.output_tokens + more_output,
    )
    assert reserve_micro_usd(price, bound) >= cost_micro_usd(price, usage)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", ""),
        ("nobody", "gpt-4o"),
        ("openai-compatible", "gpt-4o"),
        ("anthropic", "gpt-4o"),
    ],
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    assert quote(provider, model, at=AT) is None


def test_dated_names_have_the_price_of_their_model() -> None:
    dated = quote("openai", "gpt-4o-mini-2024-07-18", at=AT)
    assert dated is not None
    assert dated == quote("openai", "gpt-4o-mini", at=AT)
    assert dated.version == f"genai-prices {genai_prices.__version__}"


PRICE = PriceQuote(
    input=1_000_000,
    output=2_000_000,
    cache_read=100_000,
    cache_write=1_250_000,
    cache_write_1h=2_000_000,
    version="test",
    tiers=(
        PriceTier(
            above=1000,
            input=3_000_000,
            output=5_000_000,
            cache_read=300_000,
            cache_write=3_750_000,
            cache_write_1h=6_000_000,
        ),
    ),
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 0),
        (Usage(input_tokens=1, output_tokens=1), 3),
        (Usage(input_tokens=4, cache_read_tokens=4), 0),  # 0.4
        (Usage(input_tokens=5, cache_read_tokens=5), 1),  # 0.5 is rounded up
        (Usage(input_tokens=14, cache_read_tokens=14), 1),  # 1.4
        (Usage(input_tokens=100, cache_write_tokens=100, cache_write_1h_tokens=40), 155),
        (Usage(input_tokens=1000, output_tokens=1), 1002),
        (Usage(input_tokens=1001, output_tokens=1), 3008),  # the tier prices the whole call
        (Usage(input_tokens=10**10, output_tokens=10**10), 8 * 10**10),
    ],
)
def test_costs_by_hand(usage: Usage, cost: int) -> None:
    assert cost_micro_usd(PRICE, usage) == cost


def test_a_price_for_each_call_and_for_reasoning() -> None:
    price = PriceQuote(
        input=0,
        output=1_000_000,
        cache_read=0,
        cache_write=0,
        per_request=5_000_000_000,
        reasoning=3_000_000,
        version="test",
    )
    assert cost_micro_usd(price, Usage(output_tokens=10, reasoning_tokens=4)) == 5000 + 6 + 12
    assert reserve_micro_usd(price, Reservation(input_tokens=0, output_tokens=10)) == 5030


def test_a_reservation_is_rounded_up() -> None:
    price = PriceQuote(input=1, output=0, cache_read=0, cache_write=0, version="test")
    assert reserve_micro_usd(price, Reservation(input_tokens=1, output_tokens=0)) == 1


def test_lookups_leave_nothing_behind() -> None:
    snapshot = data_snapshot.get_snapshot()
    before = len(snapshot._lookup_cache), len(snapshot._provider_cache)
    for number in range(50):
        quote("openai", f"gpt-4o-{number}", at=AT)
    assert (len(snapshot._lookup_cache), len(snapshot._provider_cache)) == before
