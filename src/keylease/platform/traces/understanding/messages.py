"""Chat messages of every dialect in one form: OpenAI's chat messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keylease.platform.traces.understanding.message_parts import (
    Draft,
    Object,
    content_of,
    either,
    openai_call,
    take,
)
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import json_of, text

_ROLES: Final = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
_PLAIN: Final = frozenset({"role", "content", "parts", "finish_reason"})
"""Members of a message that has nothing to be kept beside its content."""
_ITEMS: Final = ("function_call", "function_call_output", "reasoning")
"""Types of what stands beside messages in OpenAI's responses."""
_KEPT: Final = ("refusal", "tool_call_id", "function_call", "annotations", "audio", "cache_control")
"""Members of a message that OpenAI has and that stay as they are."""


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


def _message(message: Object, payloads: PayloadBox, role: str) -> list[Object]:
    inner = message.get("message")
    if isinstance(inner, dict) and "role" not in message:
        message = inner  # a choice of OpenAI's answer
    spoken = message.get("role")
    role = _ROLES.get(spoken, spoken) if isinstance(spoken, str) and spoken else role
    content = message.get("parts")
    if not isinstance(content, list):
        content = message.get("content")
    if spoken is None and message.get("type") in _ITEMS:
        role, content, message = "assistant", message, {}  # an item of OpenAI's responses
    calls = message.get("tool_calls")
    if isinstance(content, list) and len(content) == 1 and not calls:
        only = content[0]  # nearly every message is one text: it takes the short way
        if isinstance(only, dict) and only.get("type") == "text":
            short = either(only, "text", "content")
            content = short if isinstance(short, str) else content
    if isinstance(content, str) and not calls:
        found: Object = {"role": role, "content": content}
        _keep(message, found)
        return [found]
    draft = Draft(payloads)
    take(content, draft)
    if isinstance(calls, list):
        for call in calls:
            if isinstance(call, dict):
                openai_call(call, draft)
    return _finished(message, role, draft)


def _finished(message: Object, role: str, draft: Draft) -> list[Object]:
    """The results of tools, and then what else the message says."""
    found = draft.results
    if draft.parts or draft.calls or draft.reasoning or not found:
        one: Object = {"role": role, "content": content_of(draft.parts)}
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
