"""Usage is read from every form of answer, in any pieces, and from nothing else."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cuts import pieces
from tests.support.fields import fields_of

from keylease.contracts.call_records import Usage
from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.meters import HELD, MeteredAnswer, meter_for

OPENAI, ANTHROPIC = WireFormat.OPENAI, WireFormat.ANTHROPIC
CUTS = st.lists(st.integers(0, 5000), max_size=12)


def meter(
    wire_format: WireFormat,
    data: bytes,
    cuts: list[int],
    *,
    streamed: bool = False,
    operation: str = "chat",
) -> MeteredAnswer:
    found = meter_for(wire_format, operation, streamed=streamed)
    for piece in pieces(data, cuts):
        found.feed(piece)
    return found.finish()


def sse(*events: object) -> bytes:
    return b"".join(
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
        for event in events
    )


def named(*events: dict[str, object]) -> bytes:
    return b"".join(f"event: {event['type']}\n".encode() + sse(event) for event in events)


CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"content": 'a "usage": {"prompt_tokens": 9}'}}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 30},
    },
}
CHAT_USAGE = Usage(input_tokens=100, output_tokens=50, cache_read_tokens=64, reasoning_tokens=30)
RESPONSES = {
    "id": "resp_1",
    "model": "gpt-5",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
    "usage": {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 27,
    },
}
RESPONSES_USAGE = Usage(
    input_tokens=20,
    output_tokens=7,
    cache_read_tokens=4,
    cache_write_tokens=2,
    reasoning_tokens=3,
)
MESSAGES = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 1}}}],
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 15},
    },
}
MESSAGES_USAGE = Usage(
    input_tokens=3210,
    output_tokens=40,
    cache_read_tokens=3000,
    cache_write_tokens=200,
    cache_write_1h_tokens=50,
    reasoning_tokens=15,
)
BODIES = [
    (OPENAI, "chat", CHAT, CHAT_USAGE, "chatcmpl-1", "gpt-4o-mini-2024-07-18"),
    (OPENAI, "responses", RESPONSES, RESPONSES_USAGE, "resp_1", "gpt-5"),
    (ANTHROPIC, "chat", MESSAGES, MESSAGES_USAGE, "msg_1", "claude-sonnet-4-5"),
    (
        OPENAI,
        "embeddings",
        {
            "object": "list",
            "data": [{"embedding": [0.1, -2e-5]}],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        },
        Usage(input_tokens=8),
        "",
        "text-embedding-3-small",
    ),
    (
        OPENAI,
        "image_generation",
        {
            "created": 1,
            "data": [{"b64_json": "eA=="}],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 1056,
                "total_tokens": 1106,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            },
        },
        Usage(input_tokens=50, output_tokens=1056, input_image_tokens=40),
        "",
        "",
    ),
    (
        OPENAI,
        "transcription",
        {
            "text": "hi",
            "usage": {
                "type": "tokens",
                "input_tokens": 14,
                "input_token_details": {"audio_tokens": 14},
                "output_tokens": 4,
                "total_tokens": 18,
            },
        },
        Usage(input_tokens=14, output_tokens=4, input_audio_tokens=14),
        "",
        "",
    ),
    (OPENAI, "transcription", {"usage": {"type": "duration", "seconds": 9}}, None, "", ""),
    (OPENAI, "moderations", {"id": "modr-1", "usage": {"prompt_tokens": 5}}, None, "modr-1", ""),
    (ANTHROPIC, "count_tokens", {"input_tokens": 2095}, None, "", ""),
    (OPENAI, "files.create", {"id": "file-1", "object": "file"}, None, "file-1", ""),
]


@pytest.mark.parametrize(
    ("wire_format", "operation", "body", "usage", "object_id", "model"),
    BODIES,
    ids=[f"{body[1]}-{number}" for number, body in enumerate(BODIES)],
)
@given(cuts=CUTS)
@settings(max_examples=20, deadline=None)
def test_a_body_is_read_whole_or_in_pieces_short_or_long(
    wire_format: WireFormat,
    operation: str,
    body: dict[str, object],
    usage: Usage | None,
    object_id: str,
    model: str,
    cuts: list[int],
) -> None:
    expected = MeteredAnswer(usage=usage, response_model=model, object_id=object_id, complete=True)
    data = json.dumps(body).encode()
    assert fields_of(meter(wire_format, data, cuts, operation=operation)) == fields_of(expected)
    # The same answer, so long that it is not held: the members are found while it passes.
    long = json.dumps({"padding": "x" * HELD, **body}).encode()
    assert fields_of(meter(wire_format, long, cuts, operation=operation)) == fields_of(expected)


def chat_chunk(**more: object) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": 'x "usage": {'}, "finish_reason": None}],
        **more,
    }


CHAT_STREAM = sse(
    chat_chunk(usage=None),
    chat_chunk(usage=None),
    chat_chunk(usage=None),
    chat_chunk(choices=[], usage=CHAT["usage"]),
    b"[DONE]",
)
RESPONSES_STREAM = named(
    {"type": "response.created", "response": {**RESPONSES, "usage": None, "output": []}},
    {"type": "response.output_text.delta", "delta": "hi", "output_index": 0},
    {"type": "response.completed", "response": RESPONSES},
)
MESSAGES_STREAM = named(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "model": "claude-sonnet-4-5",
            "usage": {
                **MESSAGES["usage"],  # type: ignore[dict-item]  # a dict
                "output_tokens": 1,
                "output_tokens_details": None,
            },
        },
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "ping"},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 15}},
    },
    {"type": "message_stop"},
)
STREAMS = [
    (OPENAI, CHAT_STREAM, CHAT_USAGE, "chatcmpl-1", "gpt-4o"),
    (OPENAI, RESPONSES_STREAM, RESPONSES_USAGE, "resp_1", "gpt-5"),
    (ANTHROPIC, MESSAGES_STREAM, MESSAGES_USAGE, "msg_1", "claude-sonnet-4-5"),
]


@pytest.mark.parametrize(
    ("wire_format", "stream", "usage", "object_id", "model"),
    STREAMS,
    ids=["chat", "responses", "messages"],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@given(cuts=CUTS)
@settings(max_examples=40, deadline=None)
def test_a_stream_is_read_in_any_pieces(
    wire_format: WireFormat,
    stream: bytes,
    usage: Usage,
    object_id: str,
    model: str,
    newline: bytes,
    cuts: list[int],
) -> None:
    data = stream.replace(b"\n", newline)
    expected = MeteredAnswer(usage=usage, response_model=model, object_id=object_id, complete=True)
    assert fields_of(meter(wire_format, data, cuts, streamed=True)) == fields_of(expected)
    chunks = data.split(newline * 2)
    found = meter_for(wire_format, "chat", streamed=True)
    for chunk in chunks:
        found.feed(chunk + newline * 2)
    assert fields_of(found.finish()) == fields_of(expected)


def test_a_completed_event_that_is_too_long_to_hold_still_counts() -> None:
    long = {**RESPONSES, "output": [{"text": "x" * (HELD + 10), "usage": {"input_tokens": 1}}]}
    del long["usage"]
    stream = named(
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5"}},
        {"type": "response.completed", "response": {**long, "usage": RESPONSES["usage"]}},
    )
    for size in (1 << 30, 16_384, 977):
        found = meter(OPENAI, stream, list(range(0, len(stream), size)), streamed=True)
        assert found.usage == RESPONSES_USAGE
        assert found.complete


@pytest.mark.parametrize(("wire_format", "stream"), [(s[0], s[1]) for s in STREAMS])
def test_a_stream_that_breaks_off_is_not_complete_and_has_no_final_usage(
    wire_format: WireFormat, stream: bytes
) -> None:
    events = stream.split(b"\n\n")
    found = meter(wire_format, b"\n\n".join(events[:2]) + b"\n\n", [], streamed=True)
    assert found.usage is None
    assert not found.complete
    assert found.response_model
    if wire_format is ANTHROPIC:
        assert found.partial is not None
        assert found.partial.input_tokens == MESSAGES_USAGE.input_tokens
    else:
        assert found.partial is None


def test_reasoning_that_only_the_total_shows_is_counted_as_output() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 115,
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    found = meter(OPENAI, json.dumps({"usage": usage}).encode(), [])
    assert found.usage == Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"usage": 7}',
        b'{"usage": {"prompt_tokens": "100", "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": -1, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1.5, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 99999999999999999999999, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 1000000000000, "completion_tokens": 1}}',
        b'{"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}}',
        b'{"usage": {"prompt_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 1}}}',
        b'{"choices": [{"usage": {"prompt_tokens": 5, "completion_tokens": 6}}]}',
        b'{"text": "\\"usage\\": {\\"prompt_tokens\\": 5}"}',
        b'{"usage": {}}',
        b"[" * 20_000,
        b'{"usage":' + b"[" * 20_000,
    ],
)
def test_what_cannot_be_true_is_unknown_and_never_raises(body: bytes) -> None:
    assert meter(OPENAI, body, []).usage is None
    assert meter(OPENAI, b'{"p":"' + b"x" * HELD + b'",' + body[1:], []).usage is None
    assert meter(OPENAI, b"data: " + body + b"\n\n", [], streamed=True).usage is None


def test_one_odd_member_does_not_hide_the_usage() -> None:
    body = {**CHAT, "id": 7, "model": None}
    assert meter(OPENAI, json.dumps(body).encode(), []).usage == CHAT_USAGE
    stream = sse(chat_chunk(id=7), chat_chunk(id=7, choices=[], usage=CHAT["usage"]))
    assert meter(OPENAI, stream, [], streamed=True).usage == CHAT_USAGE


@given(
    data=st.binary(max_size=400),
    cuts=CUTS,
    streamed=st.booleans(),
    wire_format=st.sampled_from([OPENAI, ANTHROPIC]),
)
@settings(max_examples=300, deadline=None)
def test_anything_is_survived(
    data: bytes, cuts: list[int], *, streamed: bool, wire_format: WireFormat
) -> None:
    meter(wire_format, data, cuts, streamed=streamed)


@given(st.integers(0, 2**32), CUTS)
@settings(max_examples=200, deadline=None)
def test_a_damaged_stream_is_survived(seed: int, cuts: list[int]) -> None:
    source = random.Random(seed)  # noqa: S311 - no secret
    wire_format, stream, *_ = source.choice(STREAMS)
    data = bytearray(stream)
    for _ in range(source.randrange(1, 10)):
        data[source.randrange(len(data))] = source.randrange(256)
    meter(wire_format, bytes(data), cuts, streamed=True)


def test_long_names_are_shortened() -> None:
    body = json.dumps({"id": "i" * 5000, "model": "m" * 5000}).encode()
    found = meter(OPENAI, body, [])
    assert (len(found.object_id), len(found.response_model)) == (256, 256)


def test_a_body_that_never_ends_is_not_held() -> None:
    found = meter_for(OPENAI, "chat", streamed=False)
    for _ in range(200):
        found.feed(b'{"a": "' + b"x" * 65536)
    held = getattr(found, "_held")  # noqa: B009 - of a private class
    assert sum(map(len, held)) <= HELD
    assert found.finish().usage is None
