"""``POST /v1/chat/completions`` and the older ``POST /v1/completions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from keylease.simulator.answers import (
    Reply,
    ToolUse,
    choose_tool,
    count_messages,
    count_tokens,
    identifier,
    reply,
    structured,
    whole,
)
from keylease.simulator.exchange import (
    STREAM_TYPE,
    Answer,
    Call,
    Json,
    Refusal,
    TokenCount,
    event,
    json_answer,
    require,
    text_of,
)
from keylease.simulator.failures import NO_USAGE

DONE: Final = b"data: [DONE]\n\n"
_FINGERPRINT: Final = "fp_simulator"
_MOST_CHOICES: Final = 128
_CACHED_PROMPT: Final = 1024
"""Prompts from this many tokens on are read from the cache, as OpenAI does it."""


class _Choice(msgspec.Struct, frozen=True):
    reply: Reply
    tool: ToolUse | None
    tool_id: str

    @property
    def finish_reason(self) -> str:
        if self.tool:
            return "tool_calls"
        return "length" if self.reply.cut else "stop"


def usage_of(tokens: TokenCount) -> Json:
    """Token counts as chat completions report them."""
    return {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def cached_part(input_tokens: int) -> int:
    """How much of a prompt is reported as read from the cache: whole blocks of 128 tokens."""
    return input_tokens - input_tokens % 128 if input_tokens >= _CACHED_PROMPT else 0


def _last_text(messages: list[object]) -> str:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") in ("user", "tool", "function"):
            return text_of(message.get("content"))
    return ""


def _tools(body: Json) -> list[tuple[str, object]]:
    if body.get("tool_choice") == "none":
        return []
    found = []
    for tool in body.get("tools") or []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, "Invalid value for 'tools'.", param="tools", code="invalid_value")
        found.append((function["name"], function.get("parameters")))
    return found


def _named_tool(body: Json) -> str:
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return str(choice["function"].get("name", ""))
    return ""


def _choices(call: Call, body: Json, messages: list[object]) -> list[_Choice]:
    count = body.get("n") or 1
    if not isinstance(count, int) or not 1 <= count <= _MOST_CHOICES:
        raise Refusal(400, "Invalid 'n'.", param="n", code="invalid_value")
    prompt = _last_text(messages)
    last = messages[-1]
    tool = choose_tool(
        _tools(body),
        prompt=prompt,
        named=_named_tool(body),
        answered=isinstance(last, dict) and last.get("role") == "tool",
    )
    form = body.get("response_format") or {}
    maximum = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = []
    for index in range(count):
        if tool:
            answer = whole(msgspec.json.encode(tool.arguments).decode())
        elif isinstance(form, dict) and form.get("type") in ("json_object", "json_schema"):
            answer = whole(structured((form.get("json_schema") or {}).get("schema"), prompt))
        else:
            answer = reply(str(body["model"]), prompt, maximum=maximum, variant=index)
        choices.append(_Choice(answer, tool, identifier("call_", call.number, str(index))))
    return choices


def chat_completions(call: Call) -> Answer:
    """Answer a chat."""
    body = call.json()
    model = str(require(body, "model", str))
    messages = require(body, "messages", list)
    if not isinstance(messages, list) or not messages:
        raise Refusal(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
            param="messages",
            code="empty_array",
        )
    choices = _choices(call, body, messages)
    input_tokens = count_messages(messages)
    tokens = TokenCount(input_tokens=input_tokens, cached_tokens=cached_part(input_tokens))
    if body.get("stream"):
        pieces = _stream(call, body, model, choices, tokens)
        return Answer(content_type=STREAM_TYPE, stream=pieces, model=model, tokens=tokens)
    tokens.output_tokens = sum(len(choice.reply.pieces) for choice in choices)
    answer: Json = {
        "id": identifier("chatcmpl-", call.number),
        "object": "chat.completion",
        "created": call.second,
        "model": model,
        "choices": [
            {
                "index": index,
                "message": {
                    "role": "assistant",
                    "content": None if choice.tool else choice.reply.text,
                    **({"tool_calls": [_tool_call(choice)]} if choice.tool else {}),
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": usage_of(tokens),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if model == NO_USAGE:
        del answer["usage"]
    return json_answer(answer, model=model, tokens=tokens)


def _tool_call(choice: _Choice, *, with_arguments: bool = True) -> Json:
    assert choice.tool is not None  # noqa: S101 - for the type checker; callers look first
    arguments = msgspec.json.encode(choice.tool.arguments).decode() if with_arguments else ""
    return {
        "id": choice.tool_id,
        "type": "function",
        "function": {"name": choice.tool.name, "arguments": arguments},
    }


def _stream(
    call: Call, body: Json, model: str, choices: list[_Choice], tokens: TokenCount
) -> Iterator[bytes]:
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
    common: Json = {
        "id": identifier("chatcmpl-", call.number),
        "object": "chat.completion.chunk",
        "created": call.second,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }

    def chunk(index: int, delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return event(common | {"choices": [choice]} | ({"usage": None} if with_usage else {}))

    for index, choice in enumerate(choices):
        if choice.tool:
            start = _tool_call(choice, with_arguments=False) | {"index": 0}
            yield chunk(index, {"role": "assistant", "content": None, "tool_calls": [start]})
        else:
            yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
        for piece in choice.reply.pieces:
            tokens.output_tokens += 1
            if choice.tool:
                delta: Json = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            else:
                delta = {"content": piece}
            yield chunk(index, delta)
        yield chunk(index, {}, choice.finish_reason)
    if with_usage and model != NO_USAGE:
        yield event(common | {"choices": [], "usage": usage_of(tokens)})
    yield DONE


def completions(call: Call) -> Answer:
    """Answer a prompt in the older format."""
    body = call.json()
    model = str(require(body, "model", str))
    prompt = text_of(require(body, "prompt", (str, list)))
    maximum = body.get("max_tokens") or 16
    answer = reply(model, prompt, maximum=maximum)
    tokens = TokenCount(input_tokens=count_tokens(prompt))
    common: Json = {
        "id": identifier("cmpl-", call.number),
        "object": "text_completion",
        "created": call.second,
        "model": model,
        "system_fingerprint": _FINGERPRINT,
    }

    def choice(text: str, finish_reason: str | None) -> Json:
        return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}

    finish_reason = "length" if answer.cut else "stop"
    if not body.get("stream"):
        tokens.output_tokens = len(answer.pieces)
        value = common | {
            "choices": [choice(answer.text, finish_reason)],
            "usage": usage_of(tokens),
        }
        return json_answer(value, model=model, tokens=tokens)

    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and bool(options.get("include_usage"))

    def stream() -> Iterator[bytes]:
        for piece in answer.pieces:
            tokens.output_tokens += 1
            yield event(common | {"choices": [choice(piece, None)]})
        yield event(common | {"choices": [choice("", finish_reason)]})
        if with_usage:
            yield event(common | {"choices": [], "usage": usage_of(tokens)})
        yield DONE

    return Answer(content_type=STREAM_TYPE, stream=stream(), model=model, tokens=tokens)
