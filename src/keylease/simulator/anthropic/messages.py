"""``POST /v1/messages`` and ``POST /v1/messages/count_tokens``."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from keylease.simulator.answers import (
    Reply,
    ToolUse,
    choose_tool,
    count_messages,
    count_tokens,
    identifier,
    reply,
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


class _Content(msgspec.Struct, frozen=True):
    """The one content block of an answer: text or the use of a tool."""

    reply: Reply
    tool: ToolUse | None
    tool_id: str

    @property
    def stop_reason(self) -> str:
        if self.tool:
            return "tool_use"
        return "max_tokens" if self.reply.cut else "end_turn"

    def block(self, *, done: bool) -> Json:
        if self.tool:
            arguments = self.tool.arguments if done else {}
            return {
                "type": "tool_use",
                "id": self.tool_id,
                "name": self.tool.name,
                "input": arguments,
            }
        return {"type": "text", "text": self.reply.text if done else ""}


def _messages_of(body: Json) -> list[Json]:
    messages = require(body, "messages", list)
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
    return messages


def _input_tokens(body: Json, messages: list[Json]) -> int:
    tools = body.get("tools") or []
    return (
        count_messages(messages)
        + count_tokens(text_of(body.get("system") or ""))
        + sum(count_tokens(str(tool.get("description", ""))) + 1 for tool in tools)
    )


def _content(call: Call, body: Json, messages: list[Json], maximum: int) -> _Content:
    last = messages[-1].get("content")
    blocks = last if isinstance(last, list) else []
    answered = any(isinstance(b, dict) and b.get("type") == "tool_result" for b in blocks)
    prompt = text_of(last)
    choice = body.get("tool_choice") or {}
    tools = [
        (str(tool["name"]), tool.get("input_schema"))
        for tool in body.get("tools") or []
        if isinstance(tool, dict) and "name" in tool
    ]
    tool = choose_tool(
        [] if choice.get("type") == "none" else tools,
        prompt=prompt,
        named=str(choice.get("name", "")),
        answered=answered,
    )
    if tool:
        answer = whole(msgspec.json.encode(tool.arguments).decode())
    else:
        answer = reply(str(body["model"]), prompt, maximum=maximum)
    return _Content(answer, tool, identifier("toolu_", call.number))


def _usage(tokens: TokenCount) -> Json:
    return {
        "input_tokens": tokens.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output_tokens,
        "service_tier": "standard",
    }


def create(call: Call) -> Answer:
    """Answer a conversation."""
    body = call.json()
    model = str(require(body, "model", str))
    maximum = require(body, "max_tokens", int)
    messages = _messages_of(body)
    if not isinstance(maximum, int) or maximum < 1:
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 1")
    content = _content(call, body, messages, maximum)
    tokens = TokenCount(input_tokens=_input_tokens(body, messages))
    message: Json = {
        "id": identifier("msg_", call.number),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {},
    }
    if body.get("stream"):
        stream = _stream(message, content, tokens)
        return Answer(content_type=STREAM_TYPE, stream=stream, model=model, tokens=tokens)
    tokens.output_tokens = len(content.reply.pieces)
    message |= {
        "content": [content.block(done=True)],
        "stop_reason": content.stop_reason,
        "usage": _usage(tokens),
    }
    if model == NO_USAGE:
        del message["usage"]
    return json_answer(message, model=model, tokens=tokens)


def _stream(message: Json, content: _Content, tokens: TokenCount) -> Iterator[bytes]:
    with_usage = message["model"] != NO_USAGE

    def emit(name: str, data: Json) -> bytes:
        return event({"type": name} | data, name=name)

    tokens.output_tokens = 1
    start = message | ({"usage": _usage(tokens)} if with_usage else {"usage": {}})
    yield emit("message_start", {"message": start})
    tokens.output_tokens = 0
    yield emit("content_block_start", {"index": 0, "content_block": content.block(done=False)})
    yield emit("ping", {})
    for piece in content.reply.pieces:
        tokens.output_tokens += 1
        if content.tool:
            delta = {"type": "input_json_delta", "partial_json": piece}
        else:
            delta = {"type": "text_delta", "text": piece}
        yield emit("content_block_delta", {"index": 0, "delta": delta})
    yield emit("content_block_stop", {"index": 0})
    end: Json = {"delta": {"stop_reason": content.stop_reason, "stop_sequence": None}}
    end["usage"] = {"output_tokens": tokens.output_tokens} if with_usage else {}
    yield emit("message_delta", end)
    yield emit("message_stop", {})


def count(call: Call) -> Answer:
    """What a conversation would cost; free of charge."""
    body = call.json()
    require(body, "model", str)
    return json_answer({"input_tokens": _input_tokens(body, _messages_of(body))})
