"""Costs: the span's own, the project's prices, the table's, or unknown."""

from typing import Any

import pytest
from tests.support.span_kit import understand
from tests.support.trace_kit import raw_span

from keylease.platform.traces.model import Span
from keylease.platform.traces.understanding.costs import PriceOverride, PriceOverrides
from keylease.platform.traces.understanding.understander import Understander

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def priced(attributes: dict[str, Any], *prices: PriceOverride) -> Span:
    overrides = PriceOverrides(version="3", prices=prices)
    understander = Understander(overrides=lambda _organization, _project: overrides)
    return understand(raw_span(attributes=attributes), understander).span


@pytest.mark.parametrize(
    "changed",
    [
        {"gen_ai.request.model": "never-heard-of-it"},
        {"gen_ai.request.model": ""},
        {"gen_ai.provider.name": "somebody"},
        {"gen_ai.provider.name": None},
        {"gen_ai.usage.output_tokens": None},
        {"gen_ai.usage.input_tokens": None},
        {"gen_ai.operation.name": "execute_tool"},
    ],
    ids=lambda changed: next(iter(changed)) + str(next(iter(changed.values()))),
)
def test_what_is_not_known_is_unknown_and_not_zero(changed: dict[str, Any]) -> None:
    row = priced({**CALL, **changed})
    assert (row.cost, row.price_version) == (None, "")


def test_an_embedding_needs_no_output() -> None:
    row = priced(
        {
            **CALL,
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": "text-embedding-3-small",
            "gen_ai.usage.input_tokens": 1_000_000,
            "gen_ai.usage.output_tokens": None,
        }
    )
    assert row.cost == 20_000


def test_a_model_that_answered_under_another_name_is_priced_by_what_was_asked() -> None:
    row = priced({**CALL, "gen_ai.response.model": "gpt-special-deployment"})
    assert (row.model, row.cost) == ("gpt-special-deployment", 210)


@pytest.mark.parametrize("provider", ["aws.bedrock", "bedrock", "amazon-bedrock"])
def test_providers_go_by_several_names(provider: str) -> None:
    row = priced(
        {
            **CALL,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": "anthropic.claude-3-5-sonnet-20241022-v2:0",
        }
    )
    assert row.cost == 4500


def test_the_project_s_prices_come_first() -> None:
    row = priced(CALL, PriceOverride(model="gpt-4o*", input=1_000_000, output=2_000_000))
    assert (row.cost, row.price_version) == (1200, "project 3")


def test_the_first_of_the_project_s_prices_that_fits_holds() -> None:
    row = priced(
        CALL,
        PriceOverride(model="gpt-4o-mini", provider="azure", input=9, output=9),
        PriceOverride(model="*", provider="openai", input=0, output=0, per_request=5_000_000),
        PriceOverride(model="gpt-4o-mini", input=9, output=9),
    )
    assert (row.cost, row.price_version) == (5, "project 3")


def test_cached_input_has_its_own_price() -> None:
    cached = {**CALL, "gen_ai.usage.cache_read.input_tokens": 400}
    price = {"model": "gpt-4o-mini", "input": 1_000_000, "output": 0}
    assert priced(cached, PriceOverride(**price)).cost == 1000  # type: ignore[arg-type]  # above
    assert priced(cached, PriceOverride(**price, cache_read=100_000)).cost == 640  # type: ignore[arg-type]  # above


def test_a_price_for_an_unknown_model_makes_it_known() -> None:
    own = {**CALL, "gen_ai.provider.name": "in-house", "gen_ai.request.model": "house-1"}
    assert priced(own, PriceOverride(model="house-1", input=500_000, output=500_000)).cost == 550


def test_a_cost_that_the_span_says_wins_over_every_price() -> None:
    row = priced({**CALL, "gen_ai.usage.cost": "0.01"}, PriceOverride(model="*", input=1, output=1))
    assert (row.cost, row.price_version) == (10_000, "reported")


@pytest.mark.no_cover
def test_prices_are_remembered_and_not_without_end() -> None:
    understander = Understander()
    for number in range(5000):
        asked = {**CALL, "gen_ai.request.model": f"unknown-{number}"}
        if number % 1000 == 0:
            asked = CALL
        row = understand(raw_span(attributes=asked), understander).span
        assert (row.cost is None) == (asked is not CALL)
    assert len(understander._prices._quotes) <= 4096


def test_what_cannot_be_is_no_cost() -> None:
    many = {**CALL, "gen_ai.usage.input_tokens": 10**12, "gen_ai.usage.output_tokens": 0}
    assert priced(many, PriceOverride(model="*", input=10**9, output=0)).cost is None
    assert priced(many, PriceOverride(model="*", input=10, output=0)).cost == 10_000_000
    more = priced({**CALL, "gen_ai.usage.input_tokens": 2**62})
    assert (more.input_tokens, more.cost) == (None, None)
