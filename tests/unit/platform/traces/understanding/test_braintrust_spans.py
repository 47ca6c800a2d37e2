"""``braintrust.*`` attributes."""

import json

import pytest
from tests.support.span_kit import row_of, said

from keylease.platform.traces.model import SpanKind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llm", SpanKind.LLM),
        ("score", SpanKind.SCORER),
        ("eval", SpanKind.EVAL),
        ("task", SpanKind.TASK),
        ("tool", SpanKind.TOOL),
        ("function", SpanKind.FUNCTION),
        ("review", SpanKind.REVIEW),
        ("log", SpanKind.OTHER),
    ],
)
def test_kinds(name: str, expected: SpanKind) -> None:
    as_json = {"braintrust.span_attributes": json.dumps({"type": name})}
    assert row_of(as_json).kind is expected
    assert row_of({"braintrust.span_attributes.type": name}).kind is expected


def test_a_model_call_with_every_field() -> None:
    row = row_of(
        {
            "braintrust.parent": "project_name:shop",
            "braintrust.span_attributes": '{"type":"llm","name":"chat"}',
            "braintrust.input_json": '[{"role":"user","content":"Hi."}]',
            "braintrust.output_json": (
                '[{"index":0,"message":{"role":"assistant","content":"Hello."}}]'
            ),
            "braintrust.expected": '"Hello!"',
            "braintrust.metadata": '{"model":"gpt-4o-mini","provider":"openai"}',
            "braintrust.metadata.plan": "free",
            "braintrust.metrics": '{"prompt_tokens":1000,"completion_tokens":100,"tokens":1100}',
            "braintrust.metrics.prompt_cached_tokens": 0,
            "braintrust.metrics.time_to_first_token": 0.5,
            "braintrust.scores": '{"exact":1,"close":0.25,"unset":null}',
            "braintrust.tags": ["a"],
        }
    )
    assert row.kind is SpanKind.LLM
    assert said(row.input) == [{"role": "user", "content": "Hi."}]
    assert said(row.output) == [{"role": "assistant", "content": "Hello."}]
    assert said(row.expected) == "Hello!"
    assert (row.model, row.provider, row.cost) == ("gpt-4o-mini", "openai", 210)
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (1000, 100, 0)
    assert row.time_to_first_chunk == 500_000
    assert (row.scores, row.tags) == ({"exact": 1.0, "close": 0.25}, ["a"])
    assert said(row.metadata) == {"model": "gpt-4o-mini", "provider": "openai", "plan": "free"}


def test_an_input_that_is_no_conversation_stays_as_it_is() -> None:
    row = row_of({"braintrust.input": '{"city":"Oslo"}', "braintrust.output": "Rain."})
    assert (said(row.input), said(row.output)) == ({"city": "Oslo"}, "Rain.")


def test_what_was_set_by_hand_comes_before_what_was_instrumented() -> None:
    row = row_of(
        {
            "braintrust.input": '"by hand"',
            "braintrust.metrics.prompt_tokens": 3,
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            "gen_ai.input.messages": '[{"role":"user","parts":[]}]',
        }
    )
    assert (said(row.input), row.input_tokens, row.output_tokens) == ("by hand", 3, 100)
    assert row.kind is SpanKind.LLM
