"""The Vercel AI SDK (``ai.*``), versions 4 to 6.

A call makes two spans: an outer one (``ai.generateText``) for the whole, with the sums of all
steps, and an inner one for each call of a model (``ai.generateText.doGenerate``). Tokens are taken
from the inner ones only, so that nothing is counted twice; the sums stay in the outer span's
attributes.

Source: AI SDK Core, telemetry; spans of ai 6.0.326.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.genai import forget_sums
from keylease.platform.traces.understanding.message_parts import Object, tool_call
from keylease.platform.traces.understanding.messages import chat, chat_json, instructions
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import (
    any_json,
    as_json,
    decoded,
    json_of,
    microseconds,
    text,
)

_OPERATION: Final = "ai.operationId"
_INNER: Final = {
    "doGenerate": SpanKind.LLM,
    "doStream": SpanKind.LLM,
    "doEmbed": SpanKind.EMBEDDING,
    "doRerank": SpanKind.RERANKER,
}
_METADATA: Final = "ai.telemetry.metadata."
_MILLISECONDS: Final = 1000.0


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    operation = text(attributes.get(_OPERATION))
    meaning.kind = _kind(operation)
    if meaning.kind is SpanKind.TASK:
        forget_sums(meaning)
    meaning.provider = meaning.provider.partition(".")[0]
    if (value := attributes.get("ai.response.msToFirstChunk")) is not None:
        meaning.time_to_first_chunk = microseconds(value, per=_MILLISECONDS)
    meaning.input = _input(attributes, payloads)
    meaning.output = _output(attributes, payloads)
    metadata = {
        name[len(_METADATA) :]: value
        for name, value in attributes.items()
        if name.startswith(_METADATA)
    }
    if metadata:
        meaning.metadata = json_of(metadata)


def _kind(operation: str) -> SpanKind:
    if operation == "ai.toolCall":
        return SpanKind.TOOL
    if not operation:
        return SpanKind.OTHER
    return _INNER.get(operation.rpartition(".")[2], SpanKind.TASK)


def _input(attributes: Attributes, payloads: PayloadBox) -> str:
    value = attributes.get("ai.prompt.messages")
    if value is not None:
        return chat_json(chat(decoded(value), payloads)) or as_json(value)
    value = attributes.get("ai.prompt")
    if value is not None:
        return _prompt(value, payloads)
    for name in ("ai.toolCall.args", "ai.value"):
        if (value := attributes.get(name)) is not None:
            return any_json(value)
    value = attributes.get("ai.values")
    if isinstance(value, list):
        return json_of([_inner(item) for item in value])
    return ""


def _prompt(value: object, payloads: PayloadBox) -> str:
    prompt = decoded(value)
    if not isinstance(prompt, dict):
        return as_json(value)
    asked = prompt.get("messages") or prompt.get("prompt")
    messages = [*instructions(prompt.get("system"), payloads), *chat(asked, payloads)]
    return chat_json(messages) or as_json(value)


def _inner(item: object) -> object:
    found = decoded(item)
    return item if found is None else found


def _output(attributes: Attributes, payloads: PayloadBox) -> str:
    for name in ("ai.toolCall.result", "ai.response.object", "ai.result.object"):
        if (value := attributes.get(name)) is not None:
            return any_json(value)
    said = attributes.get("ai.response.text", attributes.get("ai.result.text"))
    called = decoded(attributes.get("ai.response.toolCalls", attributes.get("ai.result.toolCalls")))
    thought = attributes.get("ai.response.reasoning")
    if said is None and called is None and thought is None:
        return ""
    message: Object = {"role": "assistant", "content": said}
    if isinstance(thought, str):
        message["reasoning_content"] = thought
    if isinstance(called, list):
        message["tool_calls"] = [
            tool_call(
                identifier=call.get("toolCallId"),
                name=call.get("toolName"),
                arguments=call.get("input", call.get("args")),
            )
            for call in called
            if isinstance(call, dict)
        ]
    return chat_json(chat(message, payloads, role="assistant"))


DIALECT: Final[Dialect] = Dialect(
    name="vercel",
    title="Vercel AI SDK",
    prefixes=("ai",),
    texts={
        "model": ("ai.response.model", "ai.model.id"),
        "requested_model": ("ai.model.id",),
        "provider": ("ai.model.provider",),
        "session_id": (f"{_METADATA}sessionId", f"{_METADATA}session_id"),
        "user_id": (f"{_METADATA}userId", f"{_METADATA}user_id"),
        "tool_name": ("ai.toolCall.name",),
    },
    counts={
        "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "cache_read_tokens": (
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.cachedInputTokens",
        ),
        "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
        "reasoning_tokens": (
            "ai.usage.outputTokenDetails.reasoningTokens",
            "ai.usage.reasoningTokens",
        ),
    },
    rest=_rest,
    notes={
        "kind": f"`{_OPERATION}`: what ends in `.doGenerate` or `.doStream` is a model call, what"
        " surrounds it a task, whose tokens are sums and not taken",
        "input": "`ai.prompt.messages`, `ai.prompt`, `ai.toolCall.args`, `ai.value`, `ai.values`",
        "output": "`ai.toolCall.result`, `ai.response.object`; `ai.response.text`,"
        " `ai.response.reasoning` and `ai.response.toolCalls`",
        "time_to_first_chunk": "`ai.response.msToFirstChunk` (milliseconds)",
        "metadata": f"`{_METADATA}*`",
    },
)
