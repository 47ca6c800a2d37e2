"""``/v1/responses``: answers, their events when streamed, and stored responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from keylease.simulator.answers import (
    Reply,
    ToolUse,
    choose_tool,
    count_messages,
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
from keylease.simulator.openai.chat import cached_part

Emit = Callable[[str, Json], bytes]


class _Output(msgspec.Struct, frozen=True):
    """The one output item of an answer: a message or a function call."""

    reply: Reply
    tool: ToolUse | None
    item_id: str
    call_id: str

    def item(self, *, done: bool) -> Json:
        status = "completed" if done else "in_progress"
        if self.tool:
            return {
                "id": self.item_id,
                "type": "function_call",
                "status": status,
                "call_id": self.call_id,
                "name": self.tool.name,
                "arguments": self.reply.text if done else "",
            }
        return {
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [self.part(self.reply.text)] if done else [],
        }

    @staticmethod
    def part(text: str) -> Json:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class Responses:
    """The responses of one simulated organization."""

    def __init__(self) -> None:
        self._stored: dict[str, tuple[Json, list[object]]] = {}

    def create(self, call: Call) -> Answer:
        """Answer, and store the answer unless ``store`` is false."""
        body = call.json()
        model = str(require(body, "model", str))
        given = require(body, "input", (str, list))
        items: list[object] = given if isinstance(given, list) else [_user_item(call, given)]
        previous = body.get("previous_response_id")
        if previous is not None and previous not in self._stored:
            raise Refusal(
                400,
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        history = self._stored[previous][1] if previous else []
        output = _output(call, body, items)
        input_tokens = count_messages([body.get("instructions") or "", *history, *items])
        tokens = TokenCount(input_tokens=input_tokens, cached_tokens=cached_part(input_tokens))
        response = _skeleton(call, body, model)
        stored = body.get("store") is not False
        if body.get("stream"):
            stream = self._stream(response, output, tokens, items if stored else None)
            return Answer(content_type=STREAM_TYPE, stream=stream, model=model, tokens=tokens)
        tokens.output_tokens = len(output.reply.pieces)
        finished = _finish(response, output, tokens)
        if stored:
            self._stored[response["id"]] = (finished, items)
        return json_answer(finished, model=model, tokens=tokens)

    def _find(self, response_id: str) -> tuple[Json, list[object]]:
        found = self._stored.get(response_id)
        if found is None:
            raise Refusal(404, f"Response with id '{response_id}' not found.")
        return found

    def get(self, _call: Call, response_id: str) -> Answer:
        """A stored response."""
        return json_answer(self._find(response_id)[0])

    def delete(self, _call: Call, response_id: str) -> Answer:
        """Forget a stored response."""
        self._find(response_id)
        del self._stored[response_id]
        return json_answer({"id": response_id, "object": "response", "deleted": True})

    def cancel(self, _call: Call, response_id: str) -> Answer:
        """Only background responses can be cancelled, and none run in the background here."""
        self._find(response_id)
        raise Refusal(400, "Cannot cancel a synchronous response.")

    def input_items(self, _call: Call, response_id: str) -> Answer:
        """What a stored response was asked."""
        items = self._find(response_id)[1]
        return json_answer(
            {
                "object": "list",
                "data": items,
                "first_id": None,
                "last_id": None,
                "has_more": False,
            }
        )

    def _stream(
        self,
        response: Json,
        output: _Output,
        tokens: TokenCount,
        remembered: list[object] | None,
    ) -> Iterator[bytes]:
        sequence = -1

        def emit(name: str, data: Json) -> bytes:
            nonlocal sequence
            sequence += 1
            return event({"type": name, "sequence_number": sequence} | data, name=name)

        yield emit("response.created", {"response": response})
        yield emit("response.in_progress", {"response": response})
        yield emit(
            "response.output_item.added", {"output_index": 0, "item": output.item(done=False)}
        )
        yield from _content_events(output, tokens, emit)
        yield emit("response.output_item.done", {"output_index": 0, "item": output.item(done=True)})
        finished = _finish(response, output, tokens)
        if remembered is not None:
            self._stored[response["id"]] = (finished, remembered)
        kind = "response.incomplete" if output.reply.cut else "response.completed"
        yield emit(kind, {"response": finished})


def _content_events(output: _Output, tokens: TokenCount, emit: Emit) -> Iterator[bytes]:
    place: Json = {"item_id": output.item_id, "output_index": 0}
    if output.tool:
        for piece in output.reply.pieces:
            tokens.output_tokens += 1
            yield emit("response.function_call_arguments.delta", place | {"delta": piece})
        yield emit(
            "response.function_call_arguments.done",
            place | {"arguments": output.reply.text, "name": output.tool.name},
        )
        return
    place["content_index"] = 0
    yield emit("response.content_part.added", place | {"part": output.part("")})
    for piece in output.reply.pieces:
        tokens.output_tokens += 1
        yield emit("response.output_text.delta", place | {"delta": piece, "logprobs": []})
    yield emit("response.output_text.done", place | {"text": output.reply.text, "logprobs": []})
    yield emit("response.content_part.done", place | {"part": output.part(output.reply.text)})


def _user_item(call: Call, text: object) -> Json:
    return {
        "id": identifier("msg_", call.number, "input"),
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }


def _output(call: Call, body: Json, items: list[object]) -> _Output:
    last = items[-1] if items else {}
    answered = isinstance(last, dict) and last.get("type") == "function_call_output"
    prompt = text_of(last)
    choice = body.get("tool_choice")
    tools = [
        (str(tool["name"]), tool.get("parameters"))
        for tool in body.get("tools") or []
        if isinstance(tool, dict) and tool.get("type") == "function" and "name" in tool
    ]
    tool = choose_tool(
        [] if choice == "none" else tools,
        prompt=prompt,
        named=str(choice.get("name", "")) if isinstance(choice, dict) else "",
        answered=answered,
    )
    form = ((body.get("text") or {}).get("format")) or {}
    if tool:
        answer = whole(msgspec.json.encode(tool.arguments).decode())
    elif form.get("type") in ("json_object", "json_schema"):
        answer = whole(structured(form.get("schema"), prompt))
    else:
        answer = reply(str(body["model"]), prompt, maximum=body.get("max_output_tokens"))
    return _Output(
        answer,
        tool,
        identifier("fc_" if tool else "msg_", call.number),
        identifier("call_", call.number),
    )


def _skeleton(call: Call, body: Json, model: str) -> Json:
    return {
        "id": identifier("resp_", call.number),
        "object": "response",
        "created_at": call.second,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _finish(response: Json, output: _Output, tokens: TokenCount) -> Json:
    cut = output.reply.cut
    usage = {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {"cached_tokens": tokens.cached_tokens},
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }
    return response | {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [output.item(done=True)],
        "usage": None if response["model"] == NO_USAGE else usage,
    }
