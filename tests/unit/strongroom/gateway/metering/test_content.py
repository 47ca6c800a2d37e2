"""What is recorded was masked first, whatever way the secret arrived."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cuts import pieces

from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.content import (
    MARGIN,
    MAXIMUM_BODY,
    CapturedContent,
    ContentCapture,
)

OPENAI, ANTHROPIC = WireFormat.OPENAI, WireFormat.ANTHROPIC
CUTS = st.lists(st.integers(0, 5000), max_size=10)


def secret(seed: int = 1, size: int = 60) -> str:
    source = random.Random(seed)  # noqa: S311 - a fake
    return "sk" + "-proj-" + "".join(source.choices(string.ascii_letters + string.digits, k=size))


def capture(
    *,
    request: object = None,
    answer: bytes = b"",
    cuts: list[int] | None = None,
    streamed: bool = False,
    limit: int = 65536,
    wire_format: WireFormat = OPENAI,
) -> CapturedContent:
    content = ContentCapture(wire_format, streamed=streamed, limit_bytes=limit)
    if request is not None:
        content.request(json.dumps(request).encode())
    for piece in pieces(answer, cuts or []):
        content.feed(piece)
    return content.finish()


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


# --- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (
            {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True},
            '{"messages":[{"role":"user","content":"hi"}]}',
        ),
        ({"prompt": "only text"}, "only text"),
        ({"input": ["a", "b"]}, '{"input":["a","b"]}'),
        (
            {"system": "be good", "messages": []},
            '{"system":"be good","messages":[]}',
        ),
        (
            {"messages": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]},
            '{"messages":[{"image_url":{"url":"[left out]"}}]}',
        ),
        (
            {"messages": [{"source": {"type": "base64", "format": "png", "data": "A"}}]},
            '{"messages":[{"source":{"type":"base64","format":"png","data":"[left out]"}}]}',
        ),
        ({"model": "m"}, None),
        ([], None),
        ("text", None),
    ],
)
def test_the_text_of_a_request(request_body: object, expected: str | None) -> None:
    assert capture(request=request_body).input == expected


@pytest.mark.parametrize(
    "place",
    [
        lambda s: {"messages": [{"role": "user", "content": f"key {s}\nnext"}]},
        lambda s: {"messages": [{"role": "user", "content": f"\\n{s}"}]},
        lambda s: {"messages": [{"content": [{"type": "text", "text": s}]}]},
        lambda s: {"prompt": s},
        lambda s: {"input": [{"a": {"b": [s]}}]},
        lambda s: {"messages": [{s: 1}]},
        lambda s: {"messages": [{"content": json.dumps({"k": json.dumps({"k": s})})}]},
        lambda s: {"messages": [{"content": f"{s} and {s} " * 50}]},
    ],
    ids=[f"place-{number}" for number in range(8)],
)
def test_a_secret_in_a_request_is_masked(place: object) -> None:
    value = secret()
    found = capture(request=place(value))  # type: ignore[operator]  # one of the lambdas above
    assert found.input is not None
    assert value not in found.input
    assert value[:20] not in found.input
    assert "[secret:openai]" in found.input


def test_a_value_beside_a_telling_member_is_masked() -> None:
    value = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
    found = capture(request={"tools": [], "messages": [{"mistral_api_key": value}]})
    assert found.input == '{"messages":[{"mistral_api_key":"[secret:generic]"}],"tools":[]}'


@given(st.integers(0, 300), st.integers(100, 300), st.integers(0, 50))
@settings(max_examples=200, deadline=None)
def test_no_cut_leaves_a_part_of_a_secret(before: int, limit: int, seed: int) -> None:
    value = secret(seed)
    found = capture(request={"prompt": "x " * before + value + " y" * 300}, limit=limit)
    assert found.input is not None
    assert len(found.input.encode()) <= limit
    assert value[:12] not in found.input
    assert "sk-proj" not in found.input
    assert found.truncated


def test_masking_does_not_let_in_what_lies_behind_the_limit() -> None:
    # Many masked secrets make the text shorter; what the margin cut off must not slip in.
    text = " ".join(secret(seed, 2000) for seed in range(40))
    found = capture(request={"prompt": text}, limit=8000)
    assert found.input is not None
    assert set(found.input.split()) <= {"[secret:openai]"}


def test_a_limit_in_bytes_never_breaks_a_character() -> None:
    found = capture(request={"prompt": "ä" * 100}, limit=51)
    assert found.input == "ä" * 25
    assert found.truncated


def test_a_body_that_is_too_long_is_not_recorded_and_that_is_said() -> None:
    found = capture(request={"prompt": "x" * MAXIMUM_BODY})
    assert found == CapturedContent(input=None, output=None, truncated=True)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [[]] * 200_000},
        {"messages": [{}] * 200_000},
        {"messages": [""] * 200_000},
        {"messages": list(range(200_000))},
        {"messages": {str(n): n for n in range(100_000)}},
    ],
)
def test_wide_bodies_take_little_time(body: object) -> None:
    found = capture(request=body, limit=1000)
    assert found.truncated
    assert len(found.input or "") <= 1000


def test_deep_bodies_are_survived() -> None:
    value: object = secret()
    for _ in range(400):
        value = [value]
    found = capture(request={"messages": value})
    assert secret() not in (found.input or "")
    content = ContentCapture(OPENAI, streamed=False)
    content.request(b'{"messages":' + b"[" * 100_000)
    content.request(b"\xff\xfe")
    assert content.finish() == CapturedContent()


# --- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"choices": [{"message": {"content": "hello"}}]}, "hello"),
        ({"choices": [{"text": "a"}, {"text": "b"}]}, "a\nb"),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": None,
                            "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}],
                        }
                    }
                ]
            },
            'f({"a":1})',
        ),
        (
            {
                "output": [
                    {"type": "reasoning", "summary": [{"text": "thought"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "said"}]},
                    {"type": "function_call", "name": "f", "arguments": "{}"},
                ]
            },
            "thought\nsaid\nf({})",
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "hi"},
                    {"type": "tool_use", "name": "f", "input": {"a": [1]}},
                ]
            },
            'hm\nhi\nf({"a":[1]})',
        ),
        ({"data": [{"embedding": [0.1]}]}, None),
        ({"error": {"message": "no"}}, None),
        ([1], None),
    ],
)
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_the_text_of_an_answer(answer: object, expected: str | None, cuts: list[int]) -> None:
    data = json.dumps(answer).encode()
    assert capture(answer=data, cuts=cuts).output == expected
    # A provider may answer a request for a stream with one body.
    assert capture(answer=data, cuts=cuts, streamed=True).output == expected


def chat(text: str, number: int = 0) -> dict[str, object]:
    return {"choices": [{"index": number, "delta": {"content": text}}]}


def responses(text: str, number: int = 0) -> dict[str, object]:
    return {"type": "response.output_text.delta", "output_index": number, "delta": text}


def messages(text: str, number: int = 0) -> dict[str, object]:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": number, "delta": delta}


def tool(text: str, number: int = 0) -> dict[str, object]:
    call = {"index": number, "function": {"arguments": text}}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def tool_input(text: str, number: int = 0) -> dict[str, object]:
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": number, "delta": delta}


DELTAS = [chat, responses, messages, tool, tool_input]


@pytest.mark.parametrize("delta", DELTAS)
@given(seed=st.integers(0, 99), text_cuts=CUTS, cuts=CUTS, limit=st.integers(60, 400))
@settings(max_examples=60, deadline=None)
def test_a_secret_over_many_deltas_and_chunks_is_masked(
    delta: object, seed: int, text_cuts: list[int], cuts: list[int], limit: int
) -> None:
    value = secret(seed)
    text = f"Here it is: {value}. And {value} again, {'and so on ' * 30}"
    parts = [piece.decode() for piece in pieces(text.encode(), text_cuts)]
    # Another choice talks in between, so that the pieces do not even stand together.
    events = [item for part in parts for item in (delta(part), delta("z", 1))]  # type: ignore[operator]  # one of DELTAS
    found = capture(answer=sse(*events), cuts=cuts, streamed=True, limit=limit)
    assert found.output is not None
    assert found.output.startswith("Here it is: [secret:openai]")
    assert value[:12] not in found.output
    assert "sk-proj" not in found.output
    assert len(found.output) <= limit


@pytest.mark.parametrize("delta", DELTAS)
def test_deltas_are_put_together_by_choice(delta: object) -> None:
    make = delta
    events = [make("He"), make("Wo", 1), make("llo"), make("rld", 1)]  # type: ignore[operator]  # one of DELTAS
    assert capture(answer=sse(*events), streamed=True).output == "Hello\nWorld"


@given(st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_a_stream_that_was_cut_by_its_bound_shows_no_part_of_a_secret(offset: int) -> None:
    limit = 1000
    bound = 2 * (limit + MARGIN)
    # Two choices share the bound; the first one's secret is cut by it in the middle.
    filler = "a " * ((bound - 600) // 2) + "b" * offset + " "
    events = [chat("short ", 1), chat(filler), chat(secret(3, 400)), chat(secret(4, 400), 1)]
    found = capture(answer=sse(*events), streamed=True, limit=limit)
    assert found.truncated
    assert "sk-proj" not in (found.output or "")


def test_many_choices_and_long_streams_stay_bounded() -> None:
    content = ContentCapture(OPENAI, streamed=True, limit_bytes=1000)
    for number in range(2_000):
        content.feed(sse(chat("word " * 20, number)))
    found = content.finish()
    assert found.truncated
    assert len(found.output or "") <= 1000


@given(st.binary(max_size=300), CUTS)
@settings(max_examples=200, deadline=None)
def test_anything_is_survived(data: bytes, cuts: list[int]) -> None:
    for streamed in (False, True):
        capture(answer=data, cuts=cuts, streamed=streamed)
        capture(answer=b"data: " + data + b"\n\n", cuts=cuts, streamed=streamed)


@pytest.mark.parametrize("odd", [None, 1, "x", [], {}, [1], {"a": 1}, True])
def test_odd_types_anywhere_are_survived(odd: object) -> None:
    for name in ("choices", "content", "output", "delta", "type", "content_block", "index"):
        capture(answer=sse({name: odd}, {"type": "content_block_delta", name: odd}), streamed=True)
        capture(answer=json.dumps({name: odd}).encode())
        capture(answer=json.dumps({"choices": [{"message": odd, "delta": odd}]}).encode())
