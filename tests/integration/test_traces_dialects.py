"""Spans of the real instrumentation packages, whose calls go to the simulator, are understood.

One process makes the calls under each package in turn; see tests/support/instrumented_program.py.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.instrumented_program import PIXEL
from tests.support.simulated_provider import fresh_key, running_simulator
from tests.support.span_kit import rows_of, said

from keylease.platform.traces.model import Span, SpanKind, Status

NAMES = ("openinference", "traceloop", "genai")
OPENAI = ("chat", "streamed", "tools", "embeddings", "failed", "image", "responses")
ANTHROPIC = ("chat", "streamed", "tools", "failed")
Rows = dict[tuple[str, str, str], Span]
"""Instrumentation, provider and call -> row."""
CALLS = [
    *((name, "openai", call) for name in NAMES for call in OPENAI),
    *((name, "anthropic", call) for name in NAMES[:2] for call in ANTHROPIC),
]


@pytest.fixture(scope="module")
def rows() -> Rows:
    with running_simulator() as simulator:
        secret = fresh_key()
        simulator.accept_key(secret)
        places = [simulator.openai_url, simulator.anthropic_url, secret.decode()]
        made = subprocess.run(
            [sys.executable, "-m", "tests.support.instrumented_program", *places, *NAMES],
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=100,
        )
    found: Rows = {}
    for line in made.stdout.splitlines():
        spans = json.loads(line)
        all_rows = rows_of(base64.b64decode(spans["spans"]))
        openai, anthropic = all_rows[: len(OPENAI)], all_rows[len(OPENAI) :]
        found |= {
            (spans["name"], "openai", call): row for call, row in zip(OPENAI, openai, strict=True)
        }
        found |= {
            (spans["name"], "anthropic", call): row
            for call, row in zip(ANTHROPIC, anthropic, strict=False)
        }
    assert sorted(found) == sorted(CALLS)
    return found


def of(call: str, *, provider: str = "") -> pytest.MarkDecorator:
    chosen = [one for one in CALLS if one[2] == call and provider in {"", one[1]}]
    return pytest.mark.parametrize("which", chosen, ids="-".join)


@of("chat")
def test_a_chat(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    assert row.kind is SpanKind.LLM
    assert said(row.input) == [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Say hello."},
    ]
    (answer,) = said(row.output)
    assert answer["role"] == "assistant"
    assert answer["content"].startswith("Simulated answer to: Say hello.")
    assert (row.input_preview, row.output_preview) == ("Say hello.", answer["content"])
    assert row.provider == which[1]
    assert (row.service, row.environment) == ("shop", "staging")
    assert row.status is not Status.ERROR
    assert row.error == ""


@of("chat")
def test_tokens_and_cost_of_a_chat(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    model, price_in, price_out = {
        "openai": ("gpt-4o-mini", 150, 600),
        "anthropic": ("claude-sonnet-4-6", 3000, 15000),
    }[which[1]]
    assert (row.model, row.requested_model) == (model, model)
    assert row.input_tokens is not None
    assert row.output_tokens == 24
    nano_usd = row.input_tokens * price_in + 24 * price_out
    assert row.cost == (nano_usd + 500) // 1000
    assert row.price_version.startswith("genai-prices ")


@of("streamed")
def test_a_stream(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    assert said(row.input) == [{"role": "user", "content": "Stream something."}]
    assert said(row.output)[0]["content"].startswith("Simulated answer to: Stream something.")
    assert row.input_tokens is not None
    # This Traceloop counts one more of Anthropic's stream.
    assert row.output_tokens in {24, 25}


@pytest.mark.parametrize("name", ["openinference", "genai"])
def test_a_stream_says_when_its_first_chunk_came(rows: Rows, name: str) -> None:
    row = rows[name, "openai", "streamed"]
    assert row.time_to_first_chunk is not None
    assert 0 < row.time_to_first_chunk <= row.duration


@of("tools")
def test_tool_calls_and_their_results(rows: Rows, which: tuple[str, str, str]) -> None:
    messages = said(rows[which].input)
    asked, called, result = messages[:3]
    assert asked == {"role": "user", "content": "What is the weather in Oslo?"}
    (call,) = called["tool_calls"]
    assert (called["role"], called["content"]) == ("assistant", None)
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert result == {"role": "tool", "content": "Rain.", "tool_call_id": call["id"]}


@of("tools", provider="openai")
def test_an_answer_that_is_a_tool_call(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    (answer,) = said(row.output)
    (call,) = answer["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert "city" in json.loads(call["function"]["arguments"])
    assert row.output_preview.startswith("get_weather(")


@of("embeddings")
def test_an_embedding(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    assert (row.kind, row.model) == (SpanKind.EMBEDDING, "text-embedding-3-small")
    assert (row.input_tokens, row.output) == (3, "")
    assert row.price_version
    if which[0] != "genai":  # which does not say what it embedded
        assert said(row.input) == ["one text", "another"]


@of("failed")
def test_a_failure(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    assert row.status is Status.ERROR
    kind = "RateLimitError" if which[1] == "openai" else "OverloadedError"
    assert kind in row.error
    assert "told to fail" in row.error
    assert row.model.startswith("sim-fail-")
    assert (row.kind, row.cost, row.output) == (SpanKind.LLM, None, "")


@pytest.mark.parametrize("name", ["openinference", "genai"])
def test_an_image(rows: Rows, name: str) -> None:
    (message,) = said(rows[name, "openai", "image"].input)
    text, image = message["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert image == {"type": "image_url", "image_url": {"url": PIXEL}}


@of("responses")
def test_openai_s_responses(rows: Rows, which: tuple[str, str, str]) -> None:
    row = rows[which]
    assert said(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Respond."},
    ]
    assert said(row.output)[0]["content"].startswith("Simulated answer to: Respond.")
    assert (row.kind, row.output_tokens) == (SpanKind.LLM, 24)


def test_attributes_are_kept_as_they_were_sent(rows: Rows) -> None:
    row = rows["openinference", "openai", "chat"]
    assert said(row.attributes["llm.token_count.completion"]) == 24
    assert said(row.attributes["llm.input_messages.0.message.role"]) == "system"
    assert said(row.resource["service.name"]) == "shop"
    assert row.scope == "openinference.instrumentation.openai"
