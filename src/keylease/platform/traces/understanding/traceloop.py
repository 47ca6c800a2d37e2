"""OpenLLMetry by Traceloop: workflows, tasks, agents and tools.

Its model calls speak GenAI, older or current.

Source: opentelemetry-semantic-conventions-ai 0.5.1.
"""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Dialect
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import any_json, json_of, text

_KIND: Final = "traceloop.span.kind"
_KINDS: Final = {
    "workflow": SpanKind.TASK,
    "task": SpanKind.TASK,
    "agent": SpanKind.AGENT,
    "tool": SpanKind.TOOL,
}
_ENTITY: Final = "traceloop.entity.name"
_PROPERTIES: Final = "traceloop.association.properties."


def _rest(span: RawSpan, meaning: Meaning, _: PayloadBox) -> None:
    attributes = span.attributes
    meaning.kind = _KINDS.get(text(attributes.get(_KIND)), SpanKind.OTHER)
    entity = text(attributes.get(_ENTITY))
    if meaning.kind is SpanKind.TOOL:
        meaning.tool_name = entity
    elif meaning.kind is SpanKind.AGENT:
        meaning.agent_name = entity
    if (value := attributes.get("traceloop.entity.input")) is not None:
        meaning.input = any_json(value)
    if (value := attributes.get("traceloop.entity.output")) is not None:
        meaning.output = any_json(value)
    properties = {
        name[len(_PROPERTIES) :]: value
        for name, value in attributes.items()
        if name.startswith(_PROPERTIES)
    }
    if properties:
        meaning.metadata = json_of(properties)


DIALECT: Final[Dialect] = Dialect(
    name="traceloop",
    title="Traceloop (OpenLLMetry)",
    prefixes=("traceloop",),
    texts={
        "session_id": (
            f"{_PROPERTIES}session_id",
            f"{_PROPERTIES}conversation_id",
            f"{_PROPERTIES}chat_id",
        ),
        "user_id": (f"{_PROPERTIES}user_id",),
        "prompt_name": ("traceloop.prompt.key",),
        "prompt_version": ("traceloop.prompt.version",),
    },
    counts={},
    rest=_rest,
    notes={
        "kind": f"`{_KIND}`",
        "tool_name": f"`{_ENTITY}` of tools",
        "agent_name": f"`{_ENTITY}` of agents",
        "input": "`traceloop.entity.input`",
        "output": "`traceloop.entity.output`",
        "metadata": f"`{_PROPERTIES}*`",
    },
)
