"""Our own attributes: call records of gateways, and spans of the SDK.

A call record speaks GenAI, too; this is what GenAI has no name for.
"""

from __future__ import annotations

from typing import Final

from keylease.contracts import span_attributes as names
from keylease.platform.traces.model import Meaning, RawSpan, SpanKind
from keylease.platform.traces.understanding.dialects import Attributes, Dialect
from keylease.platform.traces.understanding.genai import KINDS
from keylease.platform.traces.understanding.messages import chat, chat_json, instructions
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import (
    any_json,
    as_json,
    decoded,
    object_json,
    text,
)

_SPAN_KINDS: Final = {kind.value: kind for kind in SpanKind}
_USER: Final = "user:"
_CALL_MEMBERS: Final = frozenset({"system", "instructions", "messages", "input", "prompt", "tools"})
"""What a gateway takes of a request."""


def _rest(span: RawSpan, meaning: Meaning, payloads: PayloadBox) -> None:
    attributes = span.attributes
    meaning.kind = _SPAN_KINDS.get(text(attributes.get(names.KIND)), SpanKind.OTHER)
    meaning.metadata = object_json(attributes.get(names.METADATA))
    principal = text(attributes.get(names.PRINCIPAL))
    if principal.startswith(_USER):
        meaning.user_id = principal
    if names.RECORD_FORMAT in attributes:
        _call(attributes, meaning, payloads)
        return
    if (value := attributes.get(names.INPUT)) is not None:
        meaning.input = any_json(value)
    if (value := attributes.get(names.OUTPUT)) is not None:
        meaning.output = any_json(value)


def _call(attributes: Attributes, meaning: Meaning, payloads: PayloadBox) -> None:
    """The text of a call: members of the request, and the answer's parts one below another."""
    asked = attributes.get(names.INPUT)
    if asked is not None:
        meaning.input = chat_json(_asked(decoded(asked), payloads)) or as_json(asked)
    answered = attributes.get(names.OUTPUT)
    if answered is not None:
        is_model_call = KINDS.get(text(attributes.get(names.OPERATION_NAME))) is SpanKind.LLM
        meaning.output = (
            chat_json(chat(text(answered), payloads, role="assistant"))
            if is_model_call
            else as_json(answered)
        )


def _asked(request: object, payloads: PayloadBox) -> list[dict[str, object]]:
    if not isinstance(request, dict) or not request.keys() <= _CALL_MEMBERS:
        return []
    messages = request.get("messages", request.get("input", request.get("prompt")))
    if messages is None:
        return []
    system = request.get("system", request.get("instructions"))
    return [*instructions(system, payloads), *chat(messages, payloads)]


DIALECT: Final[Dialect] = Dialect(
    name="keylease",
    title="Keylease",
    prefixes=("keylease",),
    texts={
        "model": (names.RESPONSE_MODEL, names.UPSTREAM_MODEL),
        "environment": (names.ENVIRONMENT,),
        "price_version": (names.PRICE_VERSION,),
    },
    counts={
        "cost": (names.COST,),
        "time_to_first_chunk": (names.TIME_TO_FIRST_CHUNK,),
    },
    rest=_rest,
    notes={
        "kind": f"`{names.KIND}`",
        "input": f"`{names.INPUT}`",
        "output": f"`{names.OUTPUT}`",
        "metadata": f"`{names.METADATA}`",
        "user_id": f"`{names.PRINCIPAL}` of people",
    },
)
