"""Spans of the older GenAI names, and messages as events."""

from tests.support.span_kit import row_of, said
from tests.support.trace_kit import NOW

from keylease.platform.traces.model import RawEvent, SpanKind


def test_messages_as_numbered_attributes_are_put_in_order() -> None:
    row = row_of(
        {
            "gen_ai.system": "OpenAI",
            "llm.request.type": "chat",
            "gen_ai.prompt.10.content": "Eleventh.",
            "gen_ai.prompt.10.role": "user",
            "gen_ai.prompt.2.role": "assistant",
            "gen_ai.prompt.2.tool_calls.0.id": "c1",
            "gen_ai.prompt.2.tool_calls.0.name": "weather",
            "gen_ai.prompt.2.tool_calls.0.arguments": "{}",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": '[{"type":"text","text":"Be brief."}]',
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "Rain.",
            "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": 2,
            "gen_ai.usage.cost": 0.002,
        }
    )
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert said(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": "Eleventh."},
    ]
    assert said(row.output) == [{"role": "assistant", "content": "Rain."}]
    assert (row.kind, row.provider, row.input_tokens) == (SpanKind.LLM, "openai", 7)
    assert (row.cost, row.price_version) == (2000, "reported")


def test_a_prompt_may_be_one_text() -> None:
    row = row_of({"gen_ai.prompt": "Say hello.", "gen_ai.completion": "Hello."})
    assert (said(row.input), said(row.output)) == ("Say hello.", "Hello.")


def test_events_of_messages_and_choices_are_read() -> None:
    events = (
        RawEvent("gen_ai.system.message", NOW, {"content": "Be brief."}),
        RawEvent("gen_ai.user.message", NOW, {"content": "Weather?", "gen_ai.system": "openai"}),
        RawEvent("gen_ai.tool.message", NOW, {"content": "Rain.", "id": "c1"}),
        RawEvent(
            "gen_ai.choice",
            NOW,
            {"index": 0, "finish_reason": "stop", "message": '{"content":"It rains."}'},
        ),
    )
    row = row_of({}, events=events)
    assert said(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "tool", "content": "Rain.", "tool_call_id": "c1"},
    ]
    assert said(row.output) == [{"role": "assistant", "content": "It rains."}]


def test_events_of_whole_prompts_are_read() -> None:
    events = (
        RawEvent(
            "gen_ai.content.prompt", NOW, {"gen_ai.prompt": '[{"role":"user","content":"Hi."}]'}
        ),
        RawEvent(
            "gen_ai.content.completion",
            NOW,
            {"gen_ai.completion": '[{"role":"assistant","content":"Hello."}]'},
        ),
    )
    row = row_of({"gen_ai.system": "openai"}, events=events)
    assert said(row.input) == [{"role": "user", "content": "Hi."}]
    assert said(row.output) == [{"role": "assistant", "content": "Hello."}]


def test_a_model_call_without_a_kind_is_known_by_its_model_and_answer() -> None:
    spoken = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o-mini"}
    assert row_of(spoken).kind is SpanKind.OTHER
    assert row_of({**spoken, "gen_ai.usage.completion_tokens": 1}).kind is SpanKind.LLM
