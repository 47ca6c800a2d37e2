"""Spans of the current GenAI conventions."""

import json

import pytest
from tests.support.span_kit import row_of, said
from tests.support.trace_kit import NOW

from keylease.platform.traces.model import RawEvent, SpanKind, Status

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def test_a_chat_has_its_model_tokens_and_cost() -> None:
    row = row_of(
        {
            **CHAT,
            "gen_ai.usage.cache_read.input_tokens": 400,
            "gen_ai.usage.cache_creation.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 20,
            "gen_ai.conversation.id": "c-1",
            "gen_ai.prompt.name": "greeting",
            "gen_ai.prompt.version": "7",
            "gen_ai.response.time_to_first_chunk": 0.25,
        }
    )
    assert (row.kind, row.provider) == (SpanKind.LLM, "openai")
    assert (row.model, row.requested_model) == ("gpt-4o-mini-2024-07-18", "gpt-4o-mini")
    assert (row.input_tokens, row.output_tokens) == (1000, 100)
    assert (row.cache_read_tokens, row.cache_write_tokens, row.reasoning_tokens) == (400, 0, 20)
    # 600 at 0.15, 400 at 0.075 and 100 at 0.60 USD for a million
    assert row.cost == 180
    assert row.price_version.startswith("genai-prices ")
    assert (row.session_id, row.prompt_name, row.prompt_version) == ("c-1", "greeting", "7")
    assert row.time_to_first_chunk == 250_000


def test_messages_become_openai_chat_messages() -> None:
    row = row_of(
        {
            **CHAT,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": json.dumps(
                [
                    {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
                    {
                        "role": "assistant",
                        "parts": [
                            {"type": "reasoning", "content": "Ask the tool."},
                            {
                                "type": "tool_call",
                                "id": "c1",
                                "name": "weather",
                                "arguments": {"city": "Oslo"},
                            },
                        ],
                    },
                    {
                        "role": "tool",
                        "parts": [{"type": "tool_call_response", "id": "c1", "response": {"c": 3}}],
                    },
                    {
                        "role": "user",
                        "parts": [
                            {"type": "text", "content": "And this?"},
                            {"type": "uri", "modality": "image", "uri": "https://a.example/x.png"},
                            {
                                "type": "blob",
                                "modality": "image",
                                "mime_type": "image/png",
                                "content": "iVBO",
                            },
                            {"type": "file", "modality": "video", "file_id": "f-1"},
                        ],
                    },
                ]
            ),
            "gen_ai.output.messages": json.dumps(
                [
                    {
                        "role": "assistant",
                        "parts": [{"type": "text", "content": "Rain."}],
                        "finish_reason": "stop",
                    }
                ]
            ),
        }
    )
    assert said(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Ask the tool.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"c":3}', "tool_call_id": "c1"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And this?"},
                {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                {"type": "file", "file": {"file_id": "f-1"}},
            ],
        },
    ]
    assert said(row.output) == [{"role": "assistant", "content": "Rain."}]
    assert (row.input_preview, row.output_preview) == ("And this?", "Rain.")


def test_messages_may_be_values_instead_of_json_texts() -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "Hi."}]}]
    assert said(row_of({**CHAT, "gen_ai.input.messages": messages}).input) == [
        {"role": "user", "content": "Hi."}
    ]


def test_messages_that_were_cut_stay_as_they_are() -> None:
    cut = '[{"role":"user","parts":[{"type":"te'
    row = row_of({**CHAT, "gen_ai.input.messages": cut})
    assert said(row.input) == cut
    assert row.kind is SpanKind.LLM


def test_messages_may_lie_in_an_event() -> None:
    event = RawEvent(
        "gen_ai.client.inference.operation.details",
        NOW,
        {"gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hi."}]}]'},
    )
    assert said(row_of(CHAT, events=(event,)).input) == [{"role": "user", "content": "Hi."}]


def test_evaluation_results_become_scores() -> None:
    events = tuple(
        RawEvent(
            "gen_ai.evaluation.result",
            NOW,
            {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value},
        )
        for name, value in (("relevance", 0.75), ("toxic", 0), ("broken", "good"))
    )
    assert row_of(CHAT, events=events).scores == {"relevance": 0.75, "toxic": 0.0}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("text_completion", SpanKind.LLM),
        ("embeddings", SpanKind.EMBEDDING),
        ("execute_tool", SpanKind.TOOL),
        ("invoke_agent", SpanKind.AGENT),
        ("retrieval", SpanKind.RETRIEVAL),
        ("unheard_of", SpanKind.OTHER),
    ],
)
def test_operations_have_their_kind(operation: str, kind: SpanKind) -> None:
    assert row_of({"gen_ai.operation.name": operation}).kind is kind


def test_a_tool_has_its_arguments_and_result() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.arguments": '{"city":"Oslo"}',
            "gen_ai.tool.call.result": "Rain.",
        }
    )
    assert (row.tool_name, said(row.input), said(row.output)) == (
        "weather",
        {"city": "Oslo"},
        "Rain.",
    )


def test_a_retrieval_has_its_query_and_documents() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.retrieval.query.text": "rain",
            "gen_ai.retrieval.documents": '[{"id":"d1","score":0.5}]',
        }
    )
    assert (said(row.input), said(row.output)) == ("rain", [{"id": "d1", "score": 0.5}])


@pytest.mark.parametrize(("otel_kind", "tokens"), [(1, None), (3, 1000)])
def test_an_agent_in_this_program_only_adds_up_what_its_calls_say(
    otel_kind: int, tokens: int | None
) -> None:
    row = row_of({**CHAT, "gen_ai.operation.name": "invoke_agent"}, otel_kind=otel_kind)
    assert (row.kind, row.input_tokens, row.cost) == (SpanKind.AGENT, tokens, None)


def test_input_that_was_counted_without_its_cached_part_is_put_right() -> None:
    row = row_of({**CHAT, "gen_ai.usage.cache_read.input_tokens": 5000})
    assert (row.input_tokens, row.cache_read_tokens) == (6000, 5000)


def test_wrong_types_are_not_understood_and_stay_raw() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": ["chat"],
            "gen_ai.request.model": {"a": 1},
            "gen_ai.usage.input_tokens": -3,
            "gen_ai.usage.output_tokens": "many",
            "gen_ai.input.messages": 17,
        }
    )
    assert (row.kind, row.model, row.input_tokens, row.output_tokens) == (
        SpanKind.OTHER,
        "",
        None,
        None,
    )
    assert row.attributes == {
        "gen_ai.operation.name": '["chat"]',
        "gen_ai.request.model": '{"a":1}',
        "gen_ai.usage.input_tokens": "-3",
        "gen_ai.usage.output_tokens": '"many"',
        "gen_ai.input.messages": "17",
    }


def test_an_error_has_its_type_and_message() -> None:
    exception = RawEvent(
        "exception", NOW, {"exception.type": "ValueError", "exception.message": "no such city"}
    )
    failed = {"status": Status.ERROR, "status_message": "failed"}
    assert row_of({}, events=(exception,), **failed).error == "ValueError: no such city"
    assert row_of({"error.type": "timeout"}, **failed).error == "timeout: failed"
    assert row_of({}, status=Status.ERROR).error == "error"


def test_an_exception_that_was_handled_is_no_error() -> None:
    exception = RawEvent("exception", NOW, {"exception.type": "ValueError"})
    assert row_of({}, events=(exception,)).error == ""
