"""OpenInference, as Arize Phoenix's instrumentations send it.

Source: openinference-semantic-conventions 0.1.42.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.indexed import at, items, trees
from keylease.platform.traces.understanding.message_parts import Object
from keylease.platform.traces.understanding.messages import chat, chat_json
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import (
    any_json,
    as_json,
    decoded,
    json_of,
    micro_usd,
    object_json,
    text,
    texts,
)

_KIND: Final = "openinference.span.kind"
_KINDS: Final = {
    "LLM": SpanKind.LLM,
    "EMBEDDING": SpanKind.EMBEDDING,
    "RETRIEVER": SpanKind.RETRIEVAL,
    "RERANKER": SpanKind.RERANKER,
    "TOOL": SpanKind.TOOL,
    "AGENT": SpanKind.AGENT,
    "CHAIN": SpanKind.TASK,
    "EVALUATOR": SpanKind.SCORER,
    "GUARDRAIL": SpanKind.GUARDRAIL,
    "PROMPT": SpanKind.PROMPT,
}
_JSON: Final = "application/json"
_ASKED: Final = "llm.input_messages."
_ANSWERED: Final = "llm.output_messages."
_DOCUMENTS: Final = "retrieval.documents."
_UNRANKED: Final = "reranker.input_documents."
_RANKED: Final = "reranker.output_documents."
_EMBEDDINGS: Final = "embedding.embeddings."
_TREES: Final = (_ASKED, _ANSWERED, _DOCUMENTS, _UNRANKED, _RANKED, _EMBEDDINGS)
_PLAIN: Final = ("role", "name", "tool_call_id", "content")
_PLAIN_MEMBERS: Final = frozenset(_PLAIN)
_FIRST_CHUNK: Final = "First Token Stream Event"


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    meaning.kind = _KINDS.get(text(attributes.get(_KIND)).upper(), SpanKind.OTHER)
    meaning.metadata = object_json(attributes.get("metadata"))
    meaning.tags = texts(attributes.get("tag.tags"))
    if (cost := attributes.get("llm.cost.total")) is not None:
        meaning.cost = micro_usd(cost)
    if not meaning.model:
        # A call that failed says its model here only.
        asked = decoded(attributes.get("llm.invocation_parameters"))
        if isinstance(asked, dict):
            meaning.model = meaning.requested_model = text(asked.get("model"))
    found = trees(attributes, _TREES)
    meaning.input = (
        _messages(items(found.get(_ASKED)), payloads, "user")
        or _embedded(found.get(_EMBEDDINGS))
        or _unranked(attributes, items(found.get(_UNRANKED)))
        or _value(attributes, "input")
    )
    meaning.output = (
        _messages(items(found.get(_ANSWERED)), payloads, "assistant")
        or _documents(items(found.get(_RANKED)))
        or _documents(items(found.get(_DOCUMENTS)))
    )
    if not meaning.output and meaning.kind is not SpanKind.EMBEDDING:
        # Vectors are no output to be read or searched; they stay in the attributes.
        meaning.output = _value(attributes, "output")
    for event in span.events:
        if event.name == _FIRST_CHUNK and event.at >= span.started_at:
            meaning.time_to_first_chunk = event.at - span.started_at
            break


def _value(attributes: Attributes, direction: str) -> str:
    value = attributes.get(f"{direction}.value")
    if value is None:
        return ""
    is_json = attributes.get(f"{direction}.mime_type") == _JSON
    return any_json(value) if is_json else as_json(value)


def _messages(numbered: list[object], payloads: PayloadBox, role: str) -> str:
    return chat_json(
        [
            said
            for item in numbered
            if isinstance(message := at(item, "message"), dict)
            for said in chat(_unfolded(message), payloads, role=role)
        ]
    )


def _unfolded(message: Object) -> Object:
    if message.keys() <= _PLAIN_MEMBERS:
        return message
    found: Object = {name: message[name] for name in _PLAIN if name in message}
    calls = [_call(item) for item in items(message.get("tool_calls"))]
    called = {call.get("id") for call in calls}
    parts = [
        part
        for item in items(message.get("contents"))
        if (part := _part(item)) is not None
        # A call that Anthropic's content holds stands among the tool calls, too.
        and not (part["type"] == "tool_use" and part.get("id") in called)
    ]
    if parts:
        found["content"] = parts
    if calls:
        found["tool_calls"] = calls
    name = message.get("function_call_name")
    if isinstance(name, str):
        arguments = message.get("function_call_arguments_json")
        found["function_call"] = {"name": name, "arguments": text(arguments)}
    return found


def _call(item: object) -> Object:
    return {
        "id": at(item, "tool_call", "id"),
        "name": at(item, "tool_call", "function", "name"),
        "arguments": at(item, "tool_call", "function", "arguments"),
    }


def _part(item: object) -> Object | None:
    content = at(item, "message_content")
    if not isinstance(content, dict):
        return None
    kind = content.get("type")
    if kind == "tool_use":
        return {"type": "tool_use", **_call(item)}
    for medium in ("image", "audio", "video", "document"):
        inner = content.get(medium)
        if isinstance(inner, dict):
            url = at(inner, medium, "url") or at(inner, "url")
            return {
                "type": "image" if medium == "image" else "file",
                "url": url,
                "modality": medium,
            }
    if not isinstance(kind, str):
        return None
    return {**content, "type": kind}


def _documents(numbered: list[object]) -> str:
    found = []
    for item in numbered:
        document = at(item, "document")
        if isinstance(document, dict):
            kept = dict(document)
            if isinstance(metadata := decoded(kept.get("metadata")), dict):
                kept["metadata"] = metadata
            found.append(kept)
    return json_of(found) if found else ""


def _unranked(attributes: Attributes, numbered: list[object]) -> str:
    documents = decoded(_documents(numbered))
    query = attributes.get("reranker.query")
    if not documents and query is None:
        return ""
    return json_of({"query": query, "documents": documents or []})


def _embedded(tree: object) -> str:
    found = [said for item in items(tree) if isinstance(said := at(item, "embedding", "text"), str)]
    return json_of(found) if found else ""


DIALECT: Final[Dialect] = Dialect(
    name="openinference",
    title="OpenInference",
    prefixes=(
        "openinference",
        "input.value",
        "output.value",
        "llm.model_name",
        "llm.system",
        "llm.provider",
        "llm.input_messages",
        "llm.output_messages",
        "llm.token_count",
        "embedding",
        "retrieval.documents",
        "reranker",
    ),
    texts={
        "model": (
            "llm.response.model_name",
            "llm.model_name",
            "embedding.model_name",
            "reranker.model_name",
            "llm.request.model_name",
        ),
        "requested_model": ("llm.request.model_name",),
        "provider": ("llm.provider", "llm.system"),
        "session_id": ("session.id",),
        "user_id": ("user.id",),
        "prompt_name": ("prompt.id",),
        "prompt_version": ("llm.prompt_template.version",),
        "tool_name": ("tool.name",),
        "agent_name": ("agent.name",),
    },
    counts={
        "input_tokens": ("llm.token_count.prompt",),
        "output_tokens": ("llm.token_count.completion",),
        "cache_read_tokens": ("llm.token_count.prompt_details.cache_read",),
        "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
        "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
    },
    rest=_rest,
    notes={
        "kind": f"`{_KIND}`",
        "input": "`llm.input_messages.N.*`, `embedding.embeddings.N.embedding.text`,"
        " `reranker.query` with `reranker.input_documents.N.*`, `input.value`",
        "output": "`llm.output_messages.N.*`, `reranker.output_documents.N.*`,"
        " `retrieval.documents.N.*`, `output.value`",
        "metadata": "`metadata`",
        "tags": "`tag.tags`",
        "cost": "`llm.cost.total` (USD)",
        "time_to_first_chunk": f"event `{_FIRST_CHUNK}`",
    },
)
