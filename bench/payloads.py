"""The bodies of the benchmarks: real chat-completion shapes of a chosen size."""

from __future__ import annotations

import json

SIZES = {"bench-1k": 1024, "bench-16k": 16 * 1024, "bench-300k": 300 * 1024}
"""Model name -> bytes of the request and of the answer."""
STREAM_MODEL = "bench-stream"
SLOW_STREAM_MODEL = "bench-slow-stream"
MODELS = (*SIZES, STREAM_MODEL, SLOW_STREAM_MODEL)
STREAMS = {STREAM_MODEL: (20, 0.004), SLOW_STREAM_MODEL: (10, 1.0)}
"""Model name -> number of chunks with content, seconds between two of them."""


def request_body(model: str) -> bytes:
    """A chat request of the model's size."""
    value: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": ""}]}
    if model in STREAMS:
        value["stream"] = True
    size = SIZES.get(model, 256)
    filler = "lorem ipsum dolor sit amet " * (size // 27 + 1)
    value["messages"] = [{"role": "user", "content": filler[: size - len(json.dumps(value))]}]
    return json.dumps(value).encode()


def answer_body(model: str) -> bytes:
    """A chat completion of the model's size."""
    value = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ""},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    }
    filler = "consectetur adipiscing elit sed " * (SIZES[model] // 32 + 1)
    room = SIZES[model] - len(json.dumps(value))
    value["choices"][0]["message"]["content"] = filler[:room]  # type: ignore[index]  # built above
    return json.dumps(value).encode()


def stream_chunk(model: str, delta: str, finish: str | None = None) -> bytes:
    """One event of a streamed chat completion."""
    value = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": model,
        "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"
