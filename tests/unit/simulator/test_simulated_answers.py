from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.simulator.answers import (
    choose_tool,
    count_messages,
    count_tokens,
    embedding,
    fill,
    reply,
    split_tokens,
    structured,
)


@given(st.text(), st.text(), st.integers(1, 60))
def test_the_same_request_gets_the_same_answer(model: str, prompt: str, maximum: int) -> None:
    first = reply(model, prompt, maximum=maximum)
    assert first == reply(model, prompt, maximum=maximum)
    assert len(first.pieces) <= maximum
    assert count_tokens(first.text) == len(first.pieces)


@given(st.text())
def test_tokens_are_runs_of_visible_characters(text: str) -> None:
    assert count_tokens(text) == len(text.split())
    assert "".join(split_tokens(text)) == text.rstrip()


def test_a_message_costs_three_tokens_more_than_its_text() -> None:
    parts = [{"type": "text", "text": "four five"}, {"type": "image_url", "image_url": {}}]
    assert count_messages([{"content": "one two three"}, {"content": parts}]) == 3 + 3 + 2 + 3


def test_another_prompt_or_choice_gets_another_answer() -> None:
    assert reply("m", "one") != reply("m", "two")
    assert reply("m", "one") != reply("m", "one", variant=1)


def test_a_model_name_sets_the_length() -> None:
    assert len(reply("sim-tokens-500", "x").pieces) == 500
    assert reply("sim-tokens-500", "x", maximum=10).cut


def test_the_answer_repeats_the_beginning_of_the_prompt() -> None:
    assert reply("m", "what is a lease").text.startswith("Simulated answer to: what is a lease")


def test_a_schema_is_filled() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "kelvin"]},
            "days": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "kind": {"const": "weather"},
        },
    }
    assert fill(schema, "weather in Paris?") == {
        "city": "Paris",
        "unit": "celsius",
        "days": 1,
        "tags": [True, True],
        "note": None,
        "kind": "weather",
    }
    assert isinstance(json.loads(structured(schema, "Paris")), dict)
    assert isinstance(json.loads(structured(None, "Paris")), dict)


@pytest.mark.parametrize(
    ("prompt", "named", "answered", "expected"),
    [
        ("hello", "", False, "first"),
        ("use second please", "", False, "second"),
        ("use second please", "first", False, "first"),
        ("hello", "", True, None),
    ],
)
def test_which_tool_is_called(
    *, prompt: str, named: str, answered: bool, expected: str | None
) -> None:
    tools: list[tuple[str, object]] = [("first", None), ("second", {"type": "object"})]
    chosen = choose_tool(tools, prompt=prompt, named=named, answered=answered)
    assert (chosen.name if chosen else None) == expected


def test_an_embedding_is_a_repeatable_unit_vector() -> None:
    vector = embedding("text", 256)
    assert vector == embedding("text", 256)
    assert vector != embedding("other", 256)
    assert len(vector) == 256
    assert math.isclose(sum(value * value for value in vector), 1.0)
