"""What providers' answers are decoded into: only the members that are read.

These types are apart from the code that uses them because that code is compiled where it can be,
and a compiled class does not keep the annotations that a decoder goes by.
"""

from __future__ import annotations

import msgspec


class CacheCreation(msgspec.Struct, gc=False):
    """What was written to a cache, by how long it is kept."""

    ephemeral_1h_input_tokens: int | None = None


class Details(msgspec.Struct, gc=False):
    """The parts of a number of tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    thinking_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """The members of every provider's usage object that we read."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for cached tokens."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    input_token_details: Details | None = None
    """So spelt in transcriptions."""
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None


class Answer(msgspec.Struct, gc=False):
    """A whole answer, or the object inside an event that stands for one."""

    id: str = ""
    model: str = ""
    usage: WireUsage | None = None


class LooseAnswer(msgspec.Struct, gc=False):
    """The same when a member has an unexpected type: each is then decoded by itself."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    model: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")


class Event(msgspec.Struct, gc=False):
    """The data of one event of any of the streams."""

    type: str = ""
    id: str = ""
    model: str = ""
    usage: WireUsage | None = None
    response: Answer | None = None
    message: Answer | None = None


class StreamChunk(msgspec.Struct, gc=False):
    """The data of one event of an OpenAI stream, as far as it tells the usage chunk apart."""

    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


class RequestCounts(msgspec.Struct, gc=False):
    """Of a batch: how many of its requests came to what end, in both providers' words."""

    completed: int = 0
    succeeded: int = 0


class BatchObject(msgspec.Struct, gc=False):
    """What a provider says about a batch."""

    status: str = ""
    """OpenAI's word for how far it is."""
    processing_status: str = ""
    """Anthropic's."""
    request_counts: RequestCounts | None = None
    usage: WireUsage | None = None
    """OpenAI's batches have it since September 2025, Anthropic's never."""
    output_file_id: str | None = None


class LineAnswer(msgspec.Struct, gc=False):
    """What a provider answered to one request of a batch: OpenAI's ``response``."""

    status_code: int = 0
    body: Answer | None = None


class LineResult(msgspec.Struct, gc=False):
    """Anthropic's ``result`` of one request of a batch."""

    type: str = ""
    message: Answer | None = None


class BatchLine(msgspec.Struct, gc=False):
    """One line of a batch's results, of either provider."""

    response: LineAnswer | None = None
    result: LineResult | None = None
