"""What a model call cost, where its span does not say so.

Prices come from the project's own list first, then from genai-prices. An unknown model, or usage
that is not known whole, has no cost: ``None``, never zero. A price is the one in force when the
span began, to the hour.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

import msgspec

from keylease.contracts.call_records import Usage
from keylease.platform.traces.model import Meaning, SpanKind
from keylease.primitives import model_prices
from keylease.primitives.model_prices import PriceQuote

REPORTED: Final = "reported"
"""The price version of a cost that the span itself said."""
_HOUR: Final = 3_600_000_000
_LARGEST: Final = 10**12
"""A million USD for one call: a mistake, in the tokens or in a project's price."""
_REMEMBERED: Final = 4096
"""Models; their names come from clients, so that there must be an end."""
_PRICED: Final = frozenset(
    {SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER, SpanKind.OTHER, SpanKind.GUARDRAIL}
)
"""What is a call of a model itself. An agent or a task only surrounds calls."""
_TABLE_NAMES: Final = {
    "anthropic": "anthropic",
    "aws": "aws",
    "aws.bedrock": "aws",
    "amazon-bedrock": "aws",
    "bedrock": "aws",
    "az.ai.openai": "azure",
    "azure": "azure",
    "azure-openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google": "google",
    "vertexai": "google",
    "vertex_ai": "google",
    "groq": "groq",
    "mistral": "mistral",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "together_ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
"""Provider as spans name it -> as genai-prices names it."""


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A price that a project sets. Amounts are micro-USD for a million tokens."""

    model: str
    """A name or a pattern (``gpt-4o*``), as answered or as asked for."""
    provider: str = ""
    """Empty for every provider."""
    input: int
    output: int
    cache_read: int | None = None
    """``input`` when it is not given."""
    cache_write: int | None = None
    per_request: int = 0
    """Micro-USD for a million requests."""


class PriceOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a project; the first that matches holds."""

    version: str
    """Stands in ``price_version`` after ``project ``: leads from a cost to its prices."""
    prices: tuple[PriceOverride, ...] = ()


class Cost(msgspec.Struct, frozen=True):
    """Micro-USD, and what they were computed with."""

    amount: int | None
    version: str


UNKNOWN: Final = Cost(None, "")


class PriceBook:
    """Prices by provider and model, each looked up once."""

    def __init__(self) -> None:
        self._quotes: dict[tuple[str, str, int], PriceQuote | None] = {}

    def cost(self, meaning: Meaning, *, at: int, overrides: PriceOverrides | None) -> Cost:
        """The cost of a span that began ``at`` (microseconds UTC)."""
        if meaning.cost is not None:
            return Cost(meaning.cost, meaning.price_version or REPORTED)
        usage = _usage(meaning)
        if usage is None or not meaning.model:
            return UNKNOWN
        quote = None
        if overrides is not None:
            quote = _own_price(meaning, overrides)
        if quote is None:
            quote = self._quote(meaning.provider, meaning.model, at // _HOUR)
        if quote is None and meaning.requested_model not in {"", meaning.model}:
            quote = self._quote(meaning.provider, meaning.requested_model, at // _HOUR)
        if quote is None:
            return UNKNOWN
        amount = model_prices.cost_micro_usd(quote, usage)
        return Cost(amount, quote.version) if amount <= _LARGEST else UNKNOWN

    def _quote(self, provider: str, model: str, hour: int) -> PriceQuote | None:
        key = (provider, model, hour)
        if key in self._quotes:
            return self._quotes[key]
        table_name = _TABLE_NAMES.get(provider)
        found = (
            None if table_name is None else model_prices.quote(table_name, model, at=hour * _HOUR)
        )
        if len(self._quotes) >= _REMEMBERED:
            self._quotes.clear()
        self._quotes[key] = found
        return found


def _usage(meaning: Meaning) -> Usage | None:
    """What is billed, or ``None`` where half of it is unknown."""
    if meaning.kind not in _PRICED or meaning.input_tokens is None:
        return None
    if meaning.output_tokens is None and meaning.kind in {SpanKind.LLM, SpanKind.OTHER}:
        return None
    return Usage(
        input_tokens=meaning.input_tokens,
        output_tokens=meaning.output_tokens or 0,
        cache_read_tokens=meaning.cache_read_tokens or 0,
        cache_write_tokens=meaning.cache_write_tokens or 0,
        reasoning_tokens=meaning.reasoning_tokens or 0,
    )


def _own_price(meaning: Meaning, overrides: PriceOverrides) -> PriceQuote | None:
    for price in overrides.prices:
        if price.provider and price.provider != meaning.provider:
            continue
        if not any(
            fnmatchcase(model, price.model)
            for model in (meaning.model, meaning.requested_model)
            if model
        ):
            continue
        # Micro-USD for a million tokens and pico-USD for one are the same number.
        return PriceQuote(
            input=price.input,
            output=price.output,
            cache_read=price.input if price.cache_read is None else price.cache_read,
            cache_write=price.input if price.cache_write is None else price.cache_write,
            per_request=price.per_request,
            version=f"project {overrides.version}",
        )
    return None
