"""``braintrust.*``, which Braintrust's OpenTelemetry integrations write to set fields directly.

Source: Braintrust documentation, OpenTelemetry attributes; the row keys of its log protocol.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.messages import chat, chat_json
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import (
    any_json,
    count,
    decoded,
    json_of,
    micro_usd,
    microseconds,
    scores,
    text,
    texts,
)

KINDS: Final = {
    "llm": SpanKind.LLM,
    "score": SpanKind.SCORER,
    "function": SpanKind.FUNCTION,
    "eval": SpanKind.EVAL,
    "task": SpanKind.TASK,
    "tool": SpanKind.TOOL,
    "automation": SpanKind.TASK,
    "facet": SpanKind.FUNCTION,
    "preprocessor": SpanKind.FUNCTION,
    "classifier": SpanKind.SCORER,
    "review": SpanKind.REVIEW,
}
"""Braintrust's span types; those that are not here have no kind of their own."""
_TOKENS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_tokens": "prompt_cached_tokens",
    "cache_write_tokens": "prompt_cache_creation_tokens",
    "reasoning_tokens": "completion_reasoning_tokens",
}
_SECONDS: Final = 1_000_000.0


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    described = _members(attributes, "span_attributes")
    meaning.kind = KINDS.get(text(described.get("type")), SpanKind.OTHER)
    metadata = _members(attributes, "metadata")
    if metadata:
        meaning.metadata = json_of(metadata)
        meaning.model = text(metadata.get("model"))
        meaning.provider = text(metadata.get("provider"))
    metrics = _members(attributes, "metrics")
    for field, name in _TOKENS.items():
        setattr(meaning, field, count(metrics.get(name)))
    meaning.cost = micro_usd(metrics.get("estimated_cost"))
    meaning.time_to_first_chunk = microseconds(metrics.get("time_to_first_token"), per=_SECONDS)
    meaning.scores = scores(_members(attributes, "scores"))
    meaning.tags = texts(attributes.get("braintrust.tags"))
    meaning.input = _body(attributes, "input", payloads, "user")
    meaning.output = _body(attributes, "output", payloads, "assistant")
    meaning.expected = _body(attributes, "expected", payloads, "assistant")


def _members(attributes: Attributes, name: str) -> dict[str, object]:
    """An object that was sent as JSON, as one attribute for each member, or as both."""
    whole = decoded(attributes.get(f"braintrust.{name}"))
    found: dict[str, object] = dict(whole) if isinstance(whole, dict) else {}
    prefix = f"braintrust.{name}."
    for key, value in attributes.items():
        if key.startswith(prefix):
            found[key[len(prefix) :]] = value
    return found


def _body(attributes: Attributes, name: str, payloads: PayloadBox, role: str) -> str:
    value = attributes.get(f"braintrust.{name}_json", attributes.get(f"braintrust.{name}"))
    if value is None:
        return ""
    messages = decoded(value)
    if isinstance(messages, list) and messages and all(_is_message(item) for item in messages):
        return chat_json(chat(messages, payloads, role=role))
    return any_json(value)


def _is_message(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    inner = item.get("message")
    said = inner if isinstance(inner, dict) else item
    return isinstance(said.get("role"), str) and ("content" in said or "tool_calls" in said)


DIALECT: Final[Dialect] = Dialect(
    name="braintrust",
    title="Braintrust",
    prefixes=("braintrust",),
    texts={},
    counts={},
    rest=_rest,
    notes={
        "kind": "`type` of `braintrust.span_attributes`",
        "input": "`braintrust.input_json`, `braintrust.input`",
        "output": "`braintrust.output_json`, `braintrust.output`",
        "expected": "`braintrust.expected_json`, `braintrust.expected`",
        "metadata": "`braintrust.metadata`",
        "model": "`model` of `braintrust.metadata`",
        "provider": "`provider` of `braintrust.metadata`",
        **{field: f"`{name}` of `braintrust.metrics`" for field, name in _TOKENS.items()},
        "cost": "`estimated_cost` (USD) of `braintrust.metrics`",
        "time_to_first_chunk": "`time_to_first_token` (seconds) of `braintrust.metrics`",
        "scores": "`braintrust.scores`",
        "tags": "`braintrust.tags`",
    },
)
