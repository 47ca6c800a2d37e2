"""A span as it arrived, and a span as it is kept.

``RawSpan`` is what OpenTelemetry's wire format says, decoded and bounded, and masked before it is
written anywhere. ``Span`` is one row of the store: the raw span together with what the dialects
(``understanding``) made of it. Field names of ``Span`` are the column names of the table ``spans``.
Times are UTC microseconds, money is integer micro-USD; ``None`` is unknown, never zero.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    AttributeValue = (
        bool
        | int
        | float
        | str
        | bytes
        | list["AttributeValue"]
        | dict[str, "AttributeValue"]
        | None
    )
    """What OpenTelemetry's AnyValue can be."""
else:
    AttributeValue = Any  # msgspec reads no union of text and bytes; MessagePack tells them apart

LARGE_PAYLOAD: Final = 65_536
"""Bytes of UTF-8 from which on an input or output lies in ``payloads`` and is loaded on demand."""
PREVIEW: Final = 512
"""Characters of input and output that lists show."""


class SpanKind(StrEnum):
    """What a span is about. Append-only: stored, and named in filters."""

    LLM = "llm"
    EMBEDDING = "embedding"
    RETRIEVAL = "retrieval"
    RERANKER = "reranker"
    TOOL = "tool"
    AGENT = "agent"
    TASK = "task"
    FUNCTION = "function"
    SCORER = "scorer"
    GUARDRAIL = "guardrail"
    EVAL = "eval"
    REVIEW = "review"
    PROMPT = "prompt"
    OTHER = "other"


class Status(StrEnum):
    """As OpenTelemetry has it."""

    UNSET = "unset"
    OK = "ok"
    ERROR = "error"


class Source(StrEnum):
    """By which door a span came in."""

    OTLP = "otlp"
    GATEWAY = "gateway"
    API = "api"


class RawEvent(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened within a span."""

    name: str
    at: int
    attributes: dict[str, AttributeValue] = {}


class RawLink(msgspec.Struct, frozen=True, array_like=True):
    """Another span that this one has to do with."""

    trace_id: str
    span_id: str
    attributes: dict[str, AttributeValue] = {}


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """What many spans of one request share: the resource and the instrumentation scope."""

    resource: dict[str, AttributeValue] = {}
    scope_name: str = ""
    scope_version: str = ""


class RawSpan(msgspec.Struct, frozen=True, array_like=True):
    """One span as it was sent. Frozen: masking makes another one."""

    trace_id: str
    """32 lower-case hex digits."""
    span_id: str
    """16 lower-case hex digits."""
    parent_span_id: str
    """Empty for a root."""
    name: str
    started_at: int
    ended_at: int
    status: Status
    status_message: str
    otel_kind: int
    """OTLP: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer."""
    attributes: dict[str, AttributeValue]
    events: tuple[RawEvent, ...] = ()
    links: tuple[RawLink, ...] = ()
    origin: Origin = Origin()


class Meaning(msgspec.Struct, kw_only=True):
    """What a span says in the words of its dialect. A dialect fills what it knows, no more.

    ``input``, ``output`` and ``expected`` are JSON texts; chat messages are a list of
    ``{"role": ..., "content": ...}`` with the further keys of OpenAI's chat format.
    """

    kind: SpanKind = SpanKind.OTHER
    """What the span is about."""
    input: str = ""
    """JSON; chat messages, arguments, a query, or whatever went in."""
    output: str = ""
    """JSON; chat messages, a result, documents. Vectors stay in the attributes."""
    expected: str = ""
    """JSON; what should have come out."""
    model: str = ""
    """As the provider answered it, else as it was asked for."""
    requested_model: str = ""
    """As it was asked for."""
    provider: str = ""
    """As the dialect names it, in lower case."""
    input_tokens: int | None = None
    """Includes cached ones."""
    output_tokens: int | None = None
    """Includes those of reasoning."""
    cache_read_tokens: int | None = None
    """The part of the input that came from a cache."""
    cache_write_tokens: int | None = None
    """The part of the input that went into a cache."""
    reasoning_tokens: int | None = None
    """The part of the output that was thinking."""
    cost: int | None = None
    """Micro-USD; what the span itself says, else computed from prices."""
    price_version: str = ""
    """Of the price table a cost was computed with; ``reported`` when the span said it."""
    session_id: str = ""
    """Conversation or session."""
    user_id: str = ""
    """The end user, as the sender names them."""
    prompt_name: str = ""
    """Of a managed prompt."""
    prompt_version: str = ""
    """Of a managed prompt."""
    tool_name: str = ""
    """Of the tool that ran."""
    agent_name: str = ""
    """Of the agent that acted."""
    error: str = ""
    """Type and message of the error, or empty."""
    time_to_first_chunk: int | None = None
    """Microseconds."""
    environment: str = ""
    """Where it ran: `production`, `staging` ..."""
    tags: list[str] = []
    """Words that the sender gave it."""
    scores: dict[str, float] = {}
    """Name to value."""
    metadata: str = ""
    """A JSON object, or empty."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One row: the state of a span since transaction ``xact_id``."""

    # --- whose and which
    organization_id: str
    project_id: str
    trace_id: str
    span_id: str
    row_id: str = ""
    """The identifier that a program gave the row; empty means ``span_id``."""
    parent_span_id: str = ""

    # --- version
    xact_id: int
    """The transaction that wrote this state: 19 decimal digits, increasing."""
    created_at: int
    """When the first version of the row was taken; never changes."""
    sort_at: int
    """``started_at`` of the first version; never changes, because rows are ordered by it."""
    changed_by: str = ""
    """Principal of this version; empty for what was sent as a span."""
    change: str = ""
    """What this version changed, as JSON; empty for what was sent as a span."""
    source: Source = Source.OTLP

    # --- the span
    name: str
    kind: SpanKind
    status: Status
    status_message: str = ""
    started_at: int
    ended_at: int
    duration: int
    """Microseconds."""
    service: str = ""
    environment: str = ""
    scope: str = ""
    error: str = ""

    # --- what it means
    input: str = ""
    """JSON; when larger than ``LARGE_PAYLOAD`` its beginning: ``input_payload`` names the whole."""
    output: str = ""
    expected: str = ""
    input_preview: str = ""
    output_preview: str = ""
    input_payload: str = ""
    """Digest of the whole text in ``payloads``; empty when ``input`` is whole."""
    output_payload: str = ""
    model: str = ""
    requested_model: str = ""
    provider: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: int | None = None
    price_version: str = ""
    time_to_first_chunk: int | None = None
    session_id: str = ""
    user_id: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    tool_name: str = ""
    agent_name: str = ""
    tags: list[str] = []
    scores: dict[str, float] = {}
    metadata: str = ""

    # --- as it was sent
    attributes: dict[str, str] = {}
    """Every attribute; values as JSON texts, so that ``"1"`` and ``1`` stay apart.

    In place of one that is longer than ``LARGE_PAYLOAD`` stands
    ``{"keylease.payload": DIGEST, "bytes": LENGTH}``; the text lies in ``payloads``.
    """
    events: str = ""
    """JSON list, or empty."""
    links: str = ""
    resource: dict[str, str] = {}


class SpanKey(msgspec.Struct, frozen=True, order=True):
    """Which span."""

    project_id: str
    trace_id: str
    span_id: str
