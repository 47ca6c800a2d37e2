"""Spans that the Vercel AI SDK and an older OpenLLMetry sent; see tests/support/recordings."""

from pathlib import Path

import pytest
from tests.support.span_kit import rows_of, said

from keylease.platform.traces.model import Span, SpanKind, Status

RECORDINGS = Path(__file__).parents[5] / "tests" / "support" / "recordings"


@pytest.fixture(scope="module")
def vercel() -> list[Span]:
    return rows_of((RECORDINGS / "vercel-ai-6.0.326.otlp").read_bytes())


@pytest.fixture(scope="module")
def openllmetry() -> list[Span]:
    return rows_of((RECORDINGS / "openllmetry-openai-0.40.14.otlp").read_bytes())


def test_calls_of_models_lie_in_the_task_that_made_them(vercel: list[Span]) -> None:
    names = {row.span_id: row.name for row in vercel}
    tree = [(row.name, row.kind, names.get(row.parent_span_id, "")) for row in vercel]
    outer, inner = "ai.generateText", "ai.generateText.doGenerate"
    assert tree == [
        (inner, SpanKind.LLM, outer),
        (outer, SpanKind.TASK, ""),
        ("ai.streamText.doStream", SpanKind.LLM, "ai.streamText"),
        ("ai.streamText", SpanKind.TASK, ""),
        (inner, SpanKind.LLM, outer),
        ("ai.toolCall", SpanKind.TOOL, outer),
        (inner, SpanKind.LLM, outer),
        (outer, SpanKind.TASK, ""),
        ("ai.embed.doEmbed", SpanKind.EMBEDDING, "ai.embed"),
        ("ai.embed", SpanKind.TASK, ""),
        (inner, SpanKind.LLM, outer),
        (outer, SpanKind.TASK, ""),
    ]


def test_sums_of_the_ai_sdk_are_not_counted_twice(vercel: list[Span]) -> None:
    for row in vercel:
        if row.kind is SpanKind.TASK:
            assert (row.input_tokens, row.output_tokens, row.cost) == (None, None, None)
    assert sum(row.input_tokens or 0 for row in vercel) == 13 + 5 + 9 + 16 + 2
    assert vercel[7].attributes["ai.usage.inputTokens"] == "25"


def test_a_call_of_the_ai_sdk(vercel: list[Span]) -> None:
    row = vercel[0]
    assert said(row.input) == [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Say hello to Vercel."},
    ]
    assert row.output_preview.startswith("Simulated answer to: Say hello to Vercel.")
    assert (row.provider, row.model) == ("openai", "gpt-4o-mini")
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (13, 24, 0)
    assert row.cost == 16
    assert (row.session_id, row.user_id) == ("session-7", "user-3")
    assert said(row.metadata)["plan"] == "free"


def test_a_stream_of_the_ai_sdk(vercel: list[Span]) -> None:
    row = vercel[2]
    assert row.time_to_first_chunk is not None
    assert 0 < row.time_to_first_chunk < row.duration
    assert [message["role"] for message in said(row.output)] == ["assistant"]


def test_tools_of_the_ai_sdk(vercel: list[Span]) -> None:
    asked, tool, answered = vercel[4:7]
    (call,) = said(asked.output)[0]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    assert (tool.tool_name, said(tool.input)) == ("get_weather", {"city": "Oslo"})
    assert said(tool.output) == {"city": "Oslo", "sky": "rain"}
    assert [message["role"] for message in said(answered.input)] == ["user", "assistant", "tool"]
    assert said(answered.input)[1]["tool_calls"] == [call]
    assert said(answered.input)[2] == {
        "role": "tool",
        "content": '{"city":"Oslo","sky":"rain"}',
        "tool_call_id": call["id"],
    }


def test_an_embedding_of_the_ai_sdk(vercel: list[Span]) -> None:
    row = vercel[8]
    assert (said(row.input), row.output, row.input_tokens) == (["one text"], "", 2)
    assert row.price_version.startswith("genai-prices")


def test_a_failure_of_the_ai_sdk(vercel: list[Span]) -> None:
    for row in vercel[10:]:
        assert row.status is Status.ERROR
        assert row.error == "AI_APICallError: The simulator was told to fail."


def test_an_older_openllmetry(openllmetry: list[Span]) -> None:
    chat, streamed, tools, embeddings, failed, _image = openllmetry
    assert said(chat.input) == [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Say hello."},
    ]
    assert (chat.kind, chat.provider, chat.model) == (SpanKind.LLM, "openai", "gpt-4o-mini")
    assert (chat.input_tokens, chat.output_tokens, chat.cost) == (11, 24, 16)
    # It did not say what a stream used: that is unknown, not zero.
    assert (streamed.input_tokens, streamed.cost, streamed.kind) == (None, None, SpanKind.LLM)
    assert [message["role"] for message in said(tools.input)] == [
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert said(tools.output)[0]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert (embeddings.kind, said(embeddings.input)) == (
        SpanKind.EMBEDDING,
        ["one text", "another"],
    )
    assert failed.status is Status.ERROR
    assert failed.error.startswith("Error code: 429")
    assert (chat.service, chat.environment) == ("shop", "staging")
