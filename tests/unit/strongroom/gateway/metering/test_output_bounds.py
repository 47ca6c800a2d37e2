"""The most that a model writes in one answer is never taken for less than it is."""

from __future__ import annotations

import pytest
from genai_prices.data_snapshot import get_snapshot

from keylease.contracts.catalogue import CATALOGUE
from keylease.primitives import model_prices
from keylease.strongroom.gateway.metering.output_bounds import UNKNOWN, output_bound
from keylease.strongroom.gateway.metering.reservations import reserve_for

NOVEMBER_2026 = 1_795_392_000_000_000


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc123", 16_384),
        ("openai/gpt-4o", 16_384),
        ("gpt-4o-64k-output-alpha", 65_536),
        ("gpt-5", 128_000),
        ("gpt-5-pro-2025-10-06", 272_000),
        ("o3-mini", 100_000),
        ("tts-1-hd", 0),
    ],
)
def test_a_family_of_models_has_its_providers_own_number(model: str, bound: int) -> None:
    assert output_bound(model, 1_050_000) == bound


@pytest.mark.parametrize("model", ["gpt-4o:extended", "gpt-5.9", "o10", "gpt-4", "acme/new"])
def test_a_name_that_nobody_looked_up_counts_its_context_window_or_more(model: str) -> None:
    assert output_bound(model, 8_192) == 8_192
    assert output_bound(model, None) == UNKNOWN


def test_no_model_of_the_price_table_has_a_larger_window_than_an_unknown_model() -> None:
    priced = {entry.price_provider for entry in CATALOGUE.values()}
    windows = [
        model.context_window
        for provider in get_snapshot().providers
        if provider.id in priced
        for model in provider.models
        if model.context_window is not None
    ]
    assert max(windows) <= UNKNOWN


def test_the_context_window_comes_with_the_price() -> None:
    price = model_prices.quote("x-ai", "grok-4-fast-reasoning", at=NOVEMBER_2026)
    assert price is not None
    assert price.context_window == 2_000_000
    bound = reserve_for(
        b"{}",
        operation="chat",
        model="grok-4-fast-reasoning",
        context_window=price.context_window,
    )
    assert bound.output_tokens == 2_000_000
