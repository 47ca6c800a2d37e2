"""The GenAI semantic conventions as they are now; names in ``contracts/span_attributes``.

Messages lie in attributes of the span, or in an event of it.
"""

from __future__ import annotations

from typing import Final

from keylease.contracts import span_attributes as names
from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.messages import (
    chat,
    chat_json,
    instructions,
    texts_json,
)
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import (
    any_json,
    as_json,
    decoded,
    microseconds,
    number,
    text,
)

KINDS: Final = {
    "chat": SpanKind.LLM,
    "text_completion": SpanKind.LLM,
    "generate_content": SpanKind.LLM,
    "responses": SpanKind.LLM,
    "image_generation": SpanKind.LLM,
    "image_edit": SpanKind.LLM,
    "image_variation": SpanKind.LLM,
    "speech": SpanKind.LLM,
    "transcription": SpanKind.LLM,
    "translation": SpanKind.LLM,
    "embeddings": SpanKind.EMBEDDING,
    "moderations": SpanKind.GUARDRAIL,
    "rerank": SpanKind.RERANKER,
    "retrieval": SpanKind.RETRIEVAL,
    "execute_tool": SpanKind.TOOL,
    "create_agent": SpanKind.AGENT,
    "invoke_agent": SpanKind.AGENT,
    "invoke_workflow": SpanKind.TASK,
}
_SECONDS: Final = 1_000_000.0
_INTERNAL: Final = 1
"""OTLP's kind of a span that stays within its program."""


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    meaning.kind = KINDS.get(text(attributes.get(names.OPERATION_NAME)), SpanKind.OTHER)
    if meaning.kind is SpanKind.AGENT and span.otel_kind == _INTERNAL:
        forget_sums(meaning)
    value = attributes.get(names.RESPONSE_TIME_TO_FIRST_CHUNK)
    if value is not None:
        meaning.time_to_first_chunk = microseconds(value, per=_SECONDS)
    _content(attributes, meaning, payloads)
    for event in span.events:
        if event.name == names.EVALUATION_RESULT:
            _score(event.attributes, meaning)
        elif event.name == names.INFERENCE_DETAILS:
            _content(event.attributes, meaning, payloads)


def forget_sums(meaning: Meaning) -> None:
    """Leave the usage of a span out that only adds up what the spans below it say themselves."""
    meaning.input_tokens = meaning.output_tokens = None
    meaning.cache_read_tokens = meaning.cache_write_tokens = meaning.reasoning_tokens = None


def _content(attributes: Attributes, meaning: Meaning, payloads: PayloadBox) -> None:
    if not meaning.input:
        meaning.input = _input(attributes, meaning.kind, payloads)
    if not meaning.output:
        meaning.output = _output(attributes, payloads)


def _input(attributes: Attributes, kind: SpanKind, payloads: PayloadBox) -> str:
    value = attributes.get(names.INPUT_MESSAGES)
    system = attributes.get(names.SYSTEM_INSTRUCTIONS)
    if value is not None or system is not None:
        messages = [
            *instructions(decoded(system) or system, payloads),
            *chat(decoded(value), payloads),
        ]
        # What is no list of messages, a text that was cut for example, stays what it is.
        if kind is SpanKind.EMBEDDING:
            return texts_json(messages)
        return chat_json(messages) or as_json(value)
    value = attributes.get(names.TOOL_ARGUMENTS)
    if value is not None:
        return any_json(value)
    value = attributes.get(names.RETRIEVAL_QUERY)
    return "" if value is None else as_json(value)


def _output(attributes: Attributes, payloads: PayloadBox) -> str:
    value = attributes.get(names.OUTPUT_MESSAGES)
    if value is not None:
        return chat_json(chat(decoded(value), payloads, role="assistant")) or as_json(value)
    value = attributes.get(names.TOOL_RESULT)
    if value is not None:
        return any_json(value)
    value = attributes.get(names.RETRIEVAL_DOCUMENTS)
    return "" if value is None else as_json(value)


def _score(attributes: Attributes, meaning: Meaning) -> None:
    name = text(attributes.get(names.EVALUATION_NAME))
    score = number(attributes.get(names.EVALUATION_SCORE))
    if name and score is not None:
        meaning.scores = {**meaning.scores, name: score}


DIALECT: Final[Dialect] = Dialect(
    name="genai",
    title="OpenTelemetry GenAI",
    prefixes=("gen_ai",),
    texts={
        "model": (names.RESPONSE_MODEL, names.REQUEST_MODEL),
        "requested_model": (names.REQUEST_MODEL,),
        "provider": (names.PROVIDER_NAME,),
        "session_id": (names.CONVERSATION_ID,),
        "prompt_name": (names.PROMPT_NAME,),
        "prompt_version": (names.PROMPT_VERSION,),
        "tool_name": (names.TOOL_NAME,),
        "agent_name": (names.AGENT_NAME,),
    },
    counts={
        "input_tokens": (names.INPUT_TOKENS,),
        "output_tokens": (names.OUTPUT_TOKENS,),
        "cache_read_tokens": (names.CACHE_READ_TOKENS,),
        "cache_write_tokens": (names.CACHE_WRITE_TOKENS,),
        "reasoning_tokens": (names.REASONING_TOKENS,),
    },
    rest=_rest,
    notes={
        "kind": f"`{names.OPERATION_NAME}`",
        "input": f"`{names.SYSTEM_INSTRUCTIONS}` and `{names.INPUT_MESSAGES}`, of the span or of"
        f" its event `{names.INFERENCE_DETAILS}`; `{names.TOOL_ARGUMENTS}`;"
        f" `{names.RETRIEVAL_QUERY}`",
        "output": f"`{names.OUTPUT_MESSAGES}`, `{names.TOOL_RESULT}`,"
        f" `{names.RETRIEVAL_DOCUMENTS}`",
        "time_to_first_chunk": f"`{names.RESPONSE_TIME_TO_FIRST_CHUNK}` (seconds)",
        "scores": f"events `{names.EVALUATION_RESULT}`",
    },
)
