"""Parts of chat messages: each kind that a dialect has, as OpenAI has it.

Takes OpenAI's and Anthropic's content parts, the items of OpenAI's responses, the ``parts`` of the
GenAI conventions and those of the Vercel AI SDK: their types do not collide, so one table serves
all.

- Tool calls become ``tool_calls``, arguments as JSON text, as OpenAI has them.
- Results of tools become messages of the role ``tool``.
- Thinking becomes ``reasoning_content``.
- Images, sounds and files become ``image_url``, ``audio`` and ``file`` parts; large ones are kept
  apart and stand as a reference.
- What is not in the table stays as it is.

Sources: OpenAI API reference, chat; Anthropic API reference, messages; GenAI semantic conventions,
JSON schemas of input and output messages; AI SDK Core, ModelMessage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from keylease.platform.traces.understanding.payloads import REFERENCE, PayloadBox
from keylease.platform.traces.understanding.values import json_of, text

Object: TypeAlias = dict[str, object]


class Draft:
    """One message on its way. Its role may change: a result of a tool speaks as the tool."""

    __slots__ = ("calls", "parts", "payloads", "reasoning", "results")

    def __init__(self, payloads: PayloadBox) -> None:
        self.payloads = payloads
        self.parts: list[Object] = []
        self.reasoning: list[str] = []
        self.calls: list[Object] = []
        self.results: list[Object] = []


def tool_call(*, identifier: object, name: object, arguments: object) -> Object:
    """A tool call as OpenAI has it."""
    call: Object = {"id": identifier} if isinstance(identifier, str) and identifier else {}
    call["type"] = "function"
    call["function"] = {"name": text(name), "arguments": _as_text(arguments)}
    return call


def content_of(parts: list[Object]) -> object:
    """The content of a message: its only text, or its parts."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0].get("type") == "text":
        return parts[0].get("text", parts)
    return parts


def take(content: object, draft: Draft) -> None:
    """Take the content of a message apart."""
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


def _part(part: Object, draft: Draft) -> None:
    kind = part.get("type")
    handler = PARTS.get(kind) if isinstance(kind, str) else None
    if handler is None or not handler(part, draft):
        draft.parts.append(part)


# --- parts: each handler says whether it understood --------------------------------------------


def _text(part: Object, draft: Draft) -> bool:
    value = either(part, "text", "content")
    if not isinstance(value, str):
        return False
    draft.parts.append({"type": "text", "text": value})
    return True


def _reasoning(part: Object, draft: Draft) -> bool:
    value = either(part, "text", "content", "thinking", "reasoning", "summary")
    if isinstance(value, list):
        pieces = [piece.get("text") for piece in value if isinstance(piece, dict)]
        value = "\n".join(piece for piece in pieces if isinstance(piece, str))
    if not isinstance(value, str):
        return False
    draft.reasoning.append(value)
    return True


def _call(part: Object, draft: Draft) -> bool:
    draft.calls.append(
        tool_call(
            identifier=either(part, "call_id", "toolCallId", "id"),
            name=either(part, "name", "toolName"),
            arguments=either(part, "arguments", "input", "args"),
        )
    )
    return True


def openai_call(call: Object, draft: Draft) -> None:
    """Take a member of ``tool_calls``."""
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


def _result(part: Object, draft: Draft) -> bool:
    value = either(part, "response", "result", "output", "content")
    if isinstance(value, dict) and "value" in value and "type" in value:
        value = value["value"]  # the AI SDK wraps results: {"type": "json", "value": ...}
    if isinstance(value, list):
        inner = Draft(draft.payloads)
        take(value, inner)
        value = content_of(inner.parts)
    content = value if isinstance(value, (str, list)) else _as_text(value)
    found: Object = {"role": "tool", "content": content}
    identifier = either(part, "call_id", "tool_use_id", "toolCallId", "tool_call_id", "id")
    if isinstance(identifier, str):
        found["tool_call_id"] = identifier
    draft.results.append(found)
    return True


def _image(part: Object, draft: Draft) -> bool:
    url = _address(part)
    if not url:
        return False
    draft.parts.append({"type": "image_url", "image_url": {"url": draft.payloads.address(url)}})
    return True


def _image_url(part: Object, draft: Draft) -> bool:
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


def _media(part: Object, draft: Draft) -> bool:
    """Anything with data or an address whose media type says what it is."""
    kind = _media_type(part)
    if kind.startswith("image"):
        return _image(part, draft)
    url = _address(part)
    member = "audio" if kind.startswith("audio") else "file"
    if url:
        draft.parts.append({"type": member, member: {"url": draft.payloads.address(url)}})
        return True
    identifier = either(part, "file_id", "id")
    if isinstance(identifier, str):
        draft.parts.append({"type": "file", "file": {"file_id": identifier}})
        return True
    return False


def _audio(part: Object, draft: Draft) -> bool:
    audio = part.get("input_audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        return _media(part, draft)
    url = f"data:audio/{text(audio.get('format')) or 'wav'};base64,{audio['data']}"
    draft.parts.append({"type": "audio", "audio": {"url": draft.payloads.address(url)}})
    return True


PARTS: Final[dict[str, Callable[[Object, Draft], bool]]] = {
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
    declared = either(part, "modality", "mime_type", "mediaType", "mimeType")
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
        if "://" in value[:16] or value.startswith(("data:", REFERENCE)):
            return value
        if member in {"data", "content", "image"}:
            media = either(part, "mime_type", "mediaType", "mimeType")
            return f"data:{text(media) or 'application/octet-stream'};base64,{value}"
        return value
    return ""


def _nested_address(source: Object) -> str:
    """Anthropic's ``source``, and addresses that lie one level deeper."""
    url = source.get("url")
    if isinstance(url, str):
        return url
    data = either(source, "data", "file_data")
    if not isinstance(data, str):
        return ""
    media = text(source.get("media_type")) or "application/octet-stream"
    return data if data.startswith("data:") else f"data:{media};base64,{data}"


def either(part: Object, *members: str) -> object:
    """The first of these members that is there."""
    for member in members:
        value = part.get(member)
        if value is not None:
            return value
    return None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_of(value)
