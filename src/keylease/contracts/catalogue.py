"""Providers that Keylease knows: which wire format they speak and where they live.

This table is code, so that no file and no message can make a well-known name point elsewhere. Each
zone has its own copy: what a platform believes about a provider binds no gateway.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class WireFormat(StrEnum):
    """The API surface a provider has; one file in gateway/providers serves each."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the catalogue."""

    name: str
    wire_format: WireFormat
    base_url: str
    """Scheme, host and path prefix; empty for a provider that only exists where a user runs it."""
    price_provider: str = ""
    """The provider's name in the price table, when it has one."""


_ENTRIES: Final = (
    Provider(
        name="openai",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.openai.com/v1",
        price_provider="openai",
    ),
    Provider(
        name="anthropic",
        wire_format=WireFormat.ANTHROPIC,
        base_url="https://api.anthropic.com",
        price_provider="anthropic",
    ),
    Provider(
        name="mistral",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.mistral.ai/v1",
        price_provider="mistral",
    ),
    Provider(
        name="groq",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.groq.com/openai/v1",
        price_provider="groq",
    ),
    Provider(
        name="openrouter",
        wire_format=WireFormat.OPENAI,
        base_url="https://openrouter.ai/api/v1",
        price_provider="openrouter",
    ),
    Provider(
        name="together",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.together.xyz/v1",
        price_provider="together",
    ),
    Provider(
        name="fireworks",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.fireworks.ai/inference/v1",
        price_provider="fireworks",
    ),
    Provider(
        name="deepseek",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.deepseek.com/v1",
        price_provider="deepseek",
    ),
    Provider(
        name="xai",
        wire_format=WireFormat.OPENAI,
        base_url="https://api.x.ai/v1",
        price_provider="x-ai",
    ),
    Provider(name="openai-compatible", wire_format=WireFormat.OPENAI, base_url=""),
    Provider(name="anthropic-compatible", wire_format=WireFormat.ANTHROPIC, base_url=""),
)
CATALOGUE: Final = {entry.name: entry for entry in _ENTRIES}
