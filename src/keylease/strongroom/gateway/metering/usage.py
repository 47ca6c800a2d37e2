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
from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.wire import Details, WireUsage

MAXIMUM_TOKENS: Final = 10**10
"""No single call uses more; a larger number is an error of whoever wrote it."""


_NO_DETAILS: Final = Details()
_ANTHROPIC: Final = WireFormat.ANTHROPIC


def usage_of(wire: WireUsage | None, wire_format: WireFormat) -> Usage | None:
    """Our form of a provider's usage; ``None`` when it is incomplete or cannot be true."""
    if wire is None:
        return None
    return _anthropic(wire) if wire_format is _ANTHROPIC else _openai(wire)


def _openai(wire: WireUsage) -> Usage | None:
    tokens_in = wire.prompt_tokens
    if tokens_in is None:
        tokens_in = wire.input_tokens
    tokens_out = wire.completion_tokens
    if tokens_out is None:
        tokens_out = wire.output_tokens
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
    if reasoning and wire.total_tokens == tokens_in + tokens_out + reasoning:
        # xAI leaves the reasoning tokens out of the completion; only the total shows it.
        tokens_out += reasoning
    cached = details_in.cached_tokens
    if cached is None:
        cached = wire.prompt_cache_hit_tokens or 0
    return _possible(
        tokens_in,
        tokens_out,
        cache_read=cached,
        cache_write=details_in.cache_write_tokens or 0,
        reasoning=reasoning,
        input_audio=details_in.audio_tokens or 0,
        input_image=details_in.image_tokens or 0,
        output_audio=details_out.audio_tokens or 0,
        output_image=details_out.image_tokens or 0,
    )


def _anthropic(wire: WireUsage) -> Usage | None:
    if wire.input_tokens is None or wire.output_tokens is None:
        return None
    written = wire.cache_creation_input_tokens or 0
    read = wire.cache_read_input_tokens or 0
    hour = wire.cache_creation.ephemeral_1h_input_tokens if wire.cache_creation else None
    details = wire.output_tokens_details or _NO_DETAILS
    return _possible(
        wire.input_tokens + written + read,
        wire.output_tokens,
        cache_read=read,
        cache_write=written,
        cache_write_1h=hour or 0,
        reasoning=details.thinking_tokens or 0,
    )


def _possible(  # noqa: PLR0913 - the numbers of a usage, by keyword
    tokens_in: int,
    tokens_out: int,
    *,
    cache_read: int,
    cache_write: int,
    reasoning: int,
    cache_write_1h: int = 0,
    input_audio: int = 0,
    input_image: int = 0,
    output_audio: int = 0,
    output_image: int = 0,
) -> Usage | None:
    """These numbers, unless they cannot be true together."""
    possible = (
        0 <= tokens_in <= MAXIMUM_TOKENS
        and 0 <= tokens_out <= MAXIMUM_TOKENS
        and cache_read >= 0
        and cache_write >= 0
        and cache_read + cache_write <= tokens_in
        and 0 <= cache_write_1h <= cache_write
        and 0 <= reasoning <= tokens_out
        and _parts(input_audio, input_image, tokens_in)
        and _parts(output_audio, output_image, tokens_out)
    )
    if not possible:
        return None
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        cache_write_1h_tokens=cache_write_1h,
        input_audio_tokens=input_audio,
        input_image_tokens=input_image,
        output_audio_tokens=output_audio,
        output_image_tokens=output_image,
    )


def _parts(one: int, two: int, whole: int) -> bool:
    return one >= 0 and two >= 0 and one + two <= whole


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
