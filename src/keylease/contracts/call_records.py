"""The call record: the span of one gateway call, as it is kept in the spool (MessagePack).

Append-only. Times are UTC microseconds; money is integer micro-USD with the version of the price
table it was computed from. ``None`` means unknown, never zero.
"""

from __future__ import annotations

from typing import Final

import msgspec

CALL_RECORD_FORMAT: Final = 1


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the provider counted them. ``input_tokens`` includes the cached ones."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Includes the reasoning tokens."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """The part of ``cache_write_tokens`` that is kept for an hour, which costs more."""
    input_audio_tokens: int = 0
    """The part of the input that is sound; it has a price of its own with some models."""
    input_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. Becomes one OpenTelemetry span; see ``span_attributes``."""

    format: int = CALL_RECORD_FORMAT
    id: str
    """The request id that the client saw; UUIDv7."""
    trace_id: str
    """32 hex digits; the caller's ``traceparent`` when it sent one."""
    parent_span_id: str = ""
    span_id: str
    organization_id: str
    project: str = ""
    principal: str
    lease_id: str
    grant_id: str = ""
    purpose: str
    environment: str
    credential_id: str = ""
    credential_version: str = ""
    """A fingerprint of the secret's version; never of use for finding the secret."""
    provider: str = ""
    operation: str
    """``chat``, ``embeddings``, ... as gen_ai.operation.name has it."""
    method: str
    path: str
    """The path's template, without the query and without object identifiers."""
    requested_model: str = ""
    upstream_model: str = ""
    response_model: str = ""
    provider_request_id: str = ""
    started_at: int
    duration: int
    """Microseconds until the last byte."""
    time_to_first_chunk: int | None = None
    """Microseconds from the start to the first byte of the answer's body."""
    streamed: bool = False
    status: int
    error: str = ""
    """One of our stable error codes, or empty."""
    retries: int = 0
    client_gone: bool = False
    usage: Usage | None = None
    cost: int | None = None
    """Micro-USD."""
    price_version: str = ""
    estimated: bool = False
    """Usage and cost were estimated because the provider's numbers never arrived."""
    policy_version: int
    input: str | None = None
    """Masked text of the request, when the policy says so."""
    output: str | None = None
    content_truncated: bool = False
