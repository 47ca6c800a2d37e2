"""Older forms of the GenAI conventions, as OpenLLMetry, the Vercel AI SDK and others sent them.

``gen_ai.system``, one attribute for each leaf of a message (``gen_ai.prompt.0.role``), and messages
as events of the span (conventions 1.27 to 1.36).
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.indexed import items, trees
from keylease.platform.traces.understanding.message_parts import Object
from keylease.platform.traces.understanding.messages import chat, chat_json, texts_json
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import as_json, decoded, micro_usd, text

_PROMPT: Final = "gen_ai.prompt."
_COMPLETION: Final = "gen_ai.completion."
_REQUEST_TYPE: Final = "llm.request.type"
_COST: Final = "gen_ai.usage.cost"
_KINDS: Final = {
    "chat": SpanKind.LLM,
    "completion": SpanKind.LLM,
    "embedding": SpanKind.EMBEDDING,
    "rerank": SpanKind.RERANKER,
}
_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"
_CONTENT_PROMPT: Final = "gen_ai.content.prompt"
_CONTENT_COMPLETION: Final = "gen_ai.content.completion"


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    meaning.kind = _KINDS.get(text(attributes.get(_REQUEST_TYPE)), SpanKind.OTHER)
    if (cost := attributes.get(_COST)) is not None:
        meaning.cost = micro_usd(cost)
    found = trees(attributes, (_PROMPT, _COMPLETION))
    asked = _numbered(items(found.get(_PROMPT)), payloads, "user")
    written = texts_json if meaning.kind is SpanKind.EMBEDDING else chat_json
    meaning.input = written(asked) or _whole(attributes.get("gen_ai.prompt"), payloads, "user")
    answered = _numbered(items(found.get(_COMPLETION)), payloads, "assistant")
    meaning.output = chat_json(answered) or _whole(
        attributes.get("gen_ai.completion"), payloads, "assistant"
    )
    if span.events:
        _events(span, meaning, payloads)


def _numbered(messages: list[object], payloads: PayloadBox, role: str) -> list[Object]:
    return [
        said
        for message in messages
        if isinstance(message, dict)
        for said in chat(_unfolded(message), payloads, role=role)
    ]


def _unfolded(message: Object) -> Object:
    """A message with its list of tool calls, and with its content when that is a list as text."""
    found = dict(message)
    if calls := items(message.get("tool_calls")):
        found["tool_calls"] = calls
    content = message.get("content")
    if isinstance(content, str) and content[:1] == "[":
        parts = decoded(content)
        if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
            found["content"] = parts
    return found


def _whole(value: object, payloads: PayloadBox, role: str) -> str:
    if value is None:
        return ""
    return chat_json(chat(decoded(value), payloads, role=role)) or as_json(value)


def _events(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    asked: list[Object] = []
    answered: list[Object] = []
    for event in span.events:
        role = _ROLES.get(event.name)
        if role is not None:
            asked += chat(_event_message(event.attributes), payloads, role=role)
        elif event.name == _CHOICE:
            answered += chat(_choice(event.attributes), payloads, role="assistant")
        elif event.name == _CONTENT_PROMPT and not meaning.input:
            meaning.input = _whole(event.attributes.get("gen_ai.prompt"), payloads, "user")
        elif event.name == _CONTENT_COMPLETION and not meaning.output:
            meaning.output = _whole(
                event.attributes.get("gen_ai.completion"), payloads, "assistant"
            )
    meaning.input = meaning.input or chat_json(asked)
    meaning.output = meaning.output or chat_json(answered)


def _event_message(attributes: Attributes) -> Object:
    found: Object = dict(attributes)
    for member in ("content", "tool_calls"):
        value = attributes.get(member)
        if isinstance(value, str) and value[:1] == "[":
            found[member] = decoded(value) or value
    return found


def _choice(attributes: Attributes) -> Object:
    message = decoded(attributes.get("message"))
    if isinstance(message, dict):
        return {"role": "assistant", **message}
    return _event_message(attributes)


DIALECT: Final[Dialect] = Dialect(
    name="genai_older",
    title="GenAI, older forms",
    prefixes=(
        "gen_ai.system",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.completion_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.cost",
        "gen_ai.user",
        "gen_ai.thread",
        "llm.request",
        "llm.usage",
    ),
    events=frozenset({*_ROLES, _CHOICE, _CONTENT_PROMPT, _CONTENT_COMPLETION}),
    texts={
        "provider": ("gen_ai.system",),
        "session_id": ("gen_ai.thread.id",),
        "user_id": ("gen_ai.user", "llm.user"),
    },
    counts={
        "input_tokens": ("gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens"),
        "output_tokens": ("gen_ai.usage.completion_tokens", "llm.usage.completion_tokens"),
        "cache_read_tokens": ("gen_ai.usage.cache_read_input_tokens",),
        "cache_write_tokens": ("gen_ai.usage.cache_creation_input_tokens",),
        "reasoning_tokens": ("gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens"),
    },
    rest=_rest,
    notes={
        "kind": f"`{_REQUEST_TYPE}`",
        "input": "`gen_ai.prompt.N.*`, `gen_ai.prompt`, events `gen_ai.content.prompt` and"
        " `gen_ai.{system,user,assistant,tool}.message`",
        "output": "`gen_ai.completion.N.*`, `gen_ai.completion`, events"
        " `gen_ai.content.completion` and `gen_ai.choice`",
        "cost": f"`{_COST}` (USD)",
    },
)
