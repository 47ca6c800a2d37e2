"""Chat messages of every dialect in one form: OpenAI's chat messages.

Takes messages whose content is a text, OpenAI's or Anthropic's content parts, the ``parts`` of the
GenAI conventions, or the parts of the Vercel AI SDK: their names do not collide, so one table
serves all. What a part's type is not in the table stays as it is.

- Parts that are tool calls become ``tool_calls``, arguments as JSON text, as OpenAI has them.
- Results of tools become messages of the role ``tool``.
- Thinking becomes ``reasoning_content``.
- Images, sounds and files become ``image_url``, ``input_audio`` and ``file`` parts; large ones are
  kept apart and stand as a reference.

Sources: OpenAI API reference, chat; Anthropic API reference, messages; GenAI semantic conventions,
JSON schemas of input and output messages; AI SDK Core, ModelMessage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import json_of, text

Object: TypeAlias = dict[str, object]

_ROLES: Final = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
_PLAIN: Final = frozenset({"role", "content", "parts", "finish_reason"})
"""Members of a message that has nothing to be kept beside its content."""
_KEPT: Final = ("refusal", "tool_call_id", "function_call", "annotations", "audio", "cache_control")
"""Members of a message that OpenAI has and that stay as they are."""


class _Draft:
    """One message on its way. Its role may change: a result of a tool speaks as the tool."""

    __slots__ = ("calls", "parts", "payloads", "reasoning", "results")

    def __init__(self, payloads: PayloadBox) -> None:
        self.payloads = payloads
        self.parts: list[Object] = []
        self.reasoning: list[str] = []
        self.calls: list[Object] = []
        self.results: list[Object] = []


def chat(messages: object, payloads: PayloadBox, *, role: str = "user") -> list[Object]:
    """Messages in OpenAI's chat form. ``role`` is of messages that do not say theirs."""
    if isinstance(messages, (str, dict)):
        messages = [messages]
    if not isinstance(messages, (list, tuple)):
        return []
    found: list[Object] = []
    for message in messages:
        if isinstance(message, dict):
            found += _message(message, payloads, role)
        elif isinstance(message, str):
            found.append({"role": role, "content": message})
    return found


def chat_json(messages: list[Object]) -> str:
    """The text of messages as it is stored; nothing when there are none."""
    return json_of(messages) if messages else ""


def texts_json(messages: list[Object]) -> str:
    """What was embedded: texts that some dialects write as if they were messages."""
    return json_of([message.get("content") for message in messages]) if messages else ""


def instructions(value: object, payloads: PayloadBox) -> list[Object]:
    """A system prompt, a text or a list of parts, as a message."""
    if not value:
        return []
    return _message({"role": "system", "content": value}, payloads, "system")


def tool_call(*, identifier: object, name: object, arguments: object) -> Object:
    """A tool call as OpenAI has it."""
    call: Object = {"id": identifier} if isinstance(identifier, str) and identifier else {}
    call["type"] = "function"
    call["function"] = {"name": text(name), "arguments": _as_text(arguments)}
    return call


def _message(message: Object, payloads: PayloadBox, role: str) -> list[Object]:
    inner = message.get("message")
    if isinstance(inner, dict) and "role" not in message:
        message = inner  # a choice of OpenAI's answer
    spoken = message.get("role")
    role = _ROLES.get(spoken, spoken) if isinstance(spoken, str) and spoken else role
    content = message.get("parts")
    if not isinstance(content, list):
        content = message.get("content")
    calls = message.get("tool_calls")
    if isinstance(content, list) and len(content) == 1 and not calls:
        only = content[0]  # nearly every message is one text: it takes the short way
        if isinstance(only, dict) and only.get("type") == "text":
            short = _either(only, "text", "content")
            content = short if isinstance(short, str) else content
    if isinstance(content, str) and not calls:
        found: Object = {"role": role, "content": content}
        _keep(message, found)
        return [found]
    draft = _Draft(payloads)
    _take(content, draft)
    if isinstance(calls, list):
        for call in calls:
            if isinstance(call, dict):
                _openai_call(call, draft)
    return _finished(message, role, draft)


def _finished(message: Object, role: str, draft: _Draft) -> list[Object]:
    """The results of tools, and then what else the message says."""
    found = draft.results
    if draft.parts or draft.calls or draft.reasoning or not found:
        one: Object = {"role": role, "content": _content(draft.parts)}
        if draft.reasoning:
            one["reasoning_content"] = "\n".join(draft.reasoning)
        if draft.calls:
            one["tool_calls"] = draft.calls
        _keep(message, one)
        found.append(one)
    return found


def _keep(message: Object, found: Object) -> None:
    if message.keys() <= _PLAIN:
        return
    for member in ("name", "reasoning_content"):
        value = message.get(member)
        if isinstance(value, str) and value and member not in found:
            found[member] = value
    for member in _KEPT:
        kept = message.get(member)
        if kept is not None and kept != []:
            found[member] = kept
    identifier = message.get("toolCallId") or message.get("id")
    if found["role"] == "tool" and "tool_call_id" not in found and isinstance(identifier, str):
        found["tool_call_id"] = identifier


def _content(parts: list[Object]) -> object:
    if not parts:
        return None
    if len(parts) == 1 and parts[0].get("type") == "text":
        return parts[0].get("text", parts)
    return parts


def _take(content: object, draft: _Draft) -> None:
    if isinstance(content, str):
        draft.parts.append({"type": "text", "text": content})
    elif isinstance(content, dict):
        _part(content, draft)
    elif isinstance(content, (list, tuple)):
        for part in content:
            if isinstance(part, dict):
                _part(part, draft)
            elif isinstance(part, str):
                draft.parts.append({"type": "text", "text": part})
    elif content is not None:
        draft.parts.append({"type": "text", "text": json_of(content)})


def _part(part: Object, draft: _Draft) -> None:
    kind = part.get("type")
    handler = _PARTS.get(kind) if isinstance(kind, str) else None
    if handler is None or not handler(part, draft):
        draft.parts.append(part)


# --- parts: each handler says whether it understood --------------------------------------------


def _text(part: Object, draft: _Draft) -> bool:
    value = _either(part, "text", "content")
    if not isinstance(value, str):
        return False
    draft.parts.append({"type": "text", "text": value})
    return True


def _reasoning(part: Object, draft: _Draft) -> bool:
    value = _either(part, "text", "content", "thinking", "reasoning")
    if not isinstance(value, str):
        return False
    draft.reasoning.append(value)
    return True


def _call(part: Object, draft: _Draft) -> bool:
    draft.calls.append(
        tool_call(
            identifier=_either(part, "id", "toolCallId", "call_id"),
            name=_either(part, "name", "toolName"),
            arguments=_either(part, "arguments", "input", "args"),
        )
    )
    return True


def _openai_call(call: Object, draft: _Draft) -> None:
    function = call.get("function")
    if isinstance(function, dict):
        draft.calls.append(
            tool_call(
                identifier=call.get("id"),
                name=function.get("name"),
                arguments=function.get("arguments"),
            )
        )
    else:
        _call(call, draft)


def _result(part: Object, draft: _Draft) -> bool:
    value = _either(part, "response", "result", "output", "content")
    if isinstance(value, dict) and "value" in value and "type" in value:
        value = value["value"]  # the AI SDK wraps results: {"type": "json", "value": ...}
    if isinstance(value, list):
        inner = _Draft(draft.payloads)
        _take(value, inner)
        value = _content(inner.parts)
    content = value if isinstance(value, (str, list)) else _as_text(value)
    found: Object = {"role": "tool", "content": content}
    identifier = _either(part, "id", "tool_use_id", "toolCallId", "tool_call_id", "call_id")
    if isinstance(identifier, str):
        found["tool_call_id"] = identifier
    draft.results.append(found)
    return True


def _image(part: Object, draft: _Draft) -> bool:
    url = _address(part)
    if not url:
        return False
    draft.parts.append({"type": "image_url", "image_url": {"url": draft.payloads.address(url)}})
    return True


def _image_url(part: Object, draft: _Draft) -> bool:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        return False
    kept: Object = {"url": draft.payloads.address(url)}
    detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
    if isinstance(detail, str):
        kept["detail"] = detail
    draft.parts.append({"type": "image_url", "image_url": kept})
    return True


def _media(part: Object, draft: _Draft) -> bool:
    """Anything with data or an address whose media type says what it is."""
    kind = _media_type(part)
    if kind.startswith("image"):
        return _image(part, draft)
    url = _address(part)
    member = "audio" if kind.startswith("audio") else "file"
    if url:
        draft.parts.append({"type": member, member: {"url": draft.payloads.address(url)}})
        return True
    identifier = _either(part, "file_id", "id")
    if isinstance(identifier, str):
        draft.parts.append({"type": "file", "file": {"file_id": identifier}})
        return True
    return False


def _audio(part: Object, draft: _Draft) -> bool:
    audio = part.get("input_audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        return _media(part, draft)
    url = f"data:audio/{text(audio.get('format')) or 'wav'};base64,{audio['data']}"
    draft.parts.append({"type": "audio", "audio": {"url": draft.payloads.address(url)}})
    return True


_PARTS: Final[dict[str, Callable[[Object, _Draft], bool]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "summary_text": _text,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "tool_call": _call,
    "tool-call": _call,
    "tool_use": _call,
    "function_call": _call,
    "tool_call_response": _result,
    "tool-result": _result,
    "tool_result": _result,
    "function_call_output": _result,
    "image": _image,
    "image_url": _image_url,
    "input_image": _image_url,
    "blob": _media,
    "uri": _media,
    "file": _media,
    "input_file": _media,
    "document": _media,
    "audio": _audio,
    "input_audio": _audio,
}


def _media_type(part: Object) -> str:
    source = part.get("source")
    declared = _either(part, "modality", "mime_type", "mediaType", "mimeType")
    if declared is None and isinstance(source, dict):
        declared = source.get("media_type")
    return declared if isinstance(declared, str) else ""


def _address(part: Object) -> str:
    """Where the bytes of a part are: an address, or a ``data:`` address made of them."""
    for member in ("url", "uri", "image", "audio", "file", "data", "content", "source"):
        value = part.get(member)
        if isinstance(value, dict):
            return _nested_address(value)
        if not isinstance(value, str) or not value:
            continue
        if "://" in value[:16] or value.startswith(("data:", "keylease-payload:")):
            return value
        if member in {"data", "content", "image"}:
            media = _either(part, "mime_type", "mediaType", "mimeType")
            return f"data:{text(media) or 'application/octet-stream'};base64,{value}"
        return value
    return ""


def _nested_address(source: Object) -> str:
    """Anthropic's ``source``, and addresses that lie one level deeper."""
    url = source.get("url")
    if isinstance(url, str):
        return url
    data = _either(source, "data", "file_data")
    if not isinstance(data, str):
        return ""
    media = text(source.get("media_type")) or "application/octet-stream"
    return data if data.startswith("data:") else f"data:{media};base64,{data}"


def _either(part: Object, *members: str) -> object:
    for member in members:
        value = part.get(member)
        if value is not None:
            return value
    return None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_of(value)


def last_text(messages: Iterable[object]) -> str:
    """The text of the last message that has one, for previews."""
    found = ""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str) and content:
            found = content
        elif isinstance(content, list):
            parts = [
                part["text"]
                for part in content
                if isinstance(part, dict) and isinstance(part.get("text"), str)
            ]
            found = "\n".join(parts) or found
        elif isinstance(message, dict) and isinstance(message.get("tool_calls"), list):
            found = _called(message["tool_calls"]) or found
    return found


def _called(calls: list[object]) -> str:
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return "\n".join(
        f"{text(function.get('name'))}({text(function.get('arguments'))})"
        for function in functions
        if isinstance(function, dict)
    )
