"""Token usage as the providers write it, and as we keep it.

OpenAI writes ``prompt_tokens`` and ``completion_tokens`` (chat, completions, embeddings) or
``input_tokens`` and ``output_tokens`` (responses, images, transcriptions), with the cached ones
included in the input. Anthropic's ``input_tokens`` leave out what was read from or written to a
cache; ours include it. Numbers that cannot be true make the whole usage unknown.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.call_records import Usage
from keylease.strongroom.catalogue import WireFormat
from keylease.strongroom.gateway.metering.wire import Details, WireUsage

MAXIMUM_TOKENS: Final = 10**10
"""No single call uses more; a larger number is an error of whoever wrote it."""


def usage_of(wire: WireUsage | None, wire_format: WireFormat) -> Usage | None:
    """Our form of a provider's usage; ``None`` when it is incomplete or cannot be true."""
    if wire is None:
        return None
    usage = _anthropic(wire) if wire_format is WireFormat.ANTHROPIC else _openai(wire)
    if usage is None:
        return None
    parts = usage.cache_read_tokens + usage.cache_write_tokens
    possible = (
        0 <= usage.input_tokens <= MAXIMUM_TOKENS
        and 0 <= usage.output_tokens <= MAXIMUM_TOKENS
        and usage.cache_read_tokens >= 0
        and usage.cache_write_tokens >= 0
        and parts <= usage.input_tokens
        and 0 <= usage.cache_write_1h_tokens <= usage.cache_write_tokens
        and 0 <= usage.reasoning_tokens <= usage.output_tokens
        and _parts(usage.input_audio_tokens, usage.input_image_tokens, usage.input_tokens)
        and _parts(usage.output_audio_tokens, usage.output_image_tokens, usage.output_tokens)
    )
    return usage if possible else None


def _parts(one: int, two: int, whole: int) -> bool:
    return one >= 0 and two >= 0 and one + two <= whole


_NO_DETAILS: Final = Details()


def _openai(wire: WireUsage) -> Usage | None:
    tokens_in = wire.prompt_tokens if wire.prompt_tokens is not None else wire.input_tokens
    tokens_out = (
        wire.completion_tokens if wire.completion_tokens is not None else wire.output_tokens
    )
    if tokens_in is None:
        return None
    if tokens_out is None:
        tokens_out = 0  # embeddings have no output
    details_in = (
        wire.prompt_tokens_details
        or wire.input_tokens_details
        or wire.input_token_details
        or _NO_DETAILS
    )
    details_out = wire.completion_tokens_details or wire.output_tokens_details or _NO_DETAILS
    reasoning = details_out.reasoning_tokens or 0
    if wire.total_tokens is not None and wire.total_tokens == tokens_in + tokens_out + reasoning:
        # xAI leaves the reasoning tokens out of the completion; only the total shows it.
        tokens_out += reasoning
    cached = details_in.cached_tokens
    if cached is None:
        cached = wire.prompt_cache_hit_tokens or 0
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=cached,
        cache_write_tokens=details_in.cache_write_tokens or 0,
        reasoning_tokens=reasoning,
        input_audio_tokens=details_in.audio_tokens or 0,
        input_image_tokens=details_in.image_tokens or 0,
        output_audio_tokens=details_out.audio_tokens or 0,
        output_image_tokens=details_out.image_tokens or 0,
    )


def _anthropic(wire: WireUsage) -> Usage | None:
    if wire.input_tokens is None or wire.output_tokens is None:
        return None
    written = wire.cache_creation_input_tokens or 0
    read = wire.cache_read_input_tokens or 0
    hour = wire.cache_creation.ephemeral_1h_input_tokens if wire.cache_creation else None
    details = wire.output_tokens_details or _NO_DETAILS
    return Usage(
        input_tokens=wire.input_tokens + written + read,
        output_tokens=wire.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour or 0,
        reasoning_tokens=details.thinking_tokens or 0,
    )


def merged(earlier: WireUsage | None, later: WireUsage) -> WireUsage:
    """Anthropic's counts are cumulative: the later number holds, an absent one stays."""
    if earlier is None:
        return later
    changes = {
        name: value
        for name in WireUsage.__struct_fields__
        if (value := getattr(later, name)) is not None
    }
    return msgspec.structs.replace(earlier, **changes)
