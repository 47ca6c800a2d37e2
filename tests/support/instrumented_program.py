"""A program with OpenTelemetry instrumentation, as users write it; a process of its own.

``python -m tests.support.instrumented_program OPENAI_URL ANTHROPIC_URL KEY NAME...`` makes the same
calls under each named instrumentation in turn and prints one line of JSON for each: its name and
the spans of its calls, an OTLP request in base64. The calls go to the simulator.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALLS = ("chat", "streamed", "tools", "embeddings", "failed", "image", "responses")
"""What is asked of OpenAI, in this order; of Anthropic the first three and a failure."""
GENAI_ENVIRONMENT = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
INSTRUMENTORS = {
    "openinference": (
        ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
        ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    ),
    "traceloop": (
        ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
        ("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
    ),
    "genai": (("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),),
    "traceloop-openai": (("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),),
}


def call_openai(url: str, key: str) -> None:
    openai: Any = importlib.import_module("openai")
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    chat = client.chat.completions.create
    chat(
        model="gpt-4o-mini",
        temperature=0.5,
        messages=[
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "Say hello."},
        ],
    )
    for _ in chat(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Stream something."}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        pass
    chat(
        model="gpt-4o-mini",
        messages=[
            {"role": "user", "content": "What is the weather in Oslo?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            {"role": "user", "content": "And in Rome?"},
        ],
        tools=[{"type": "function", "function": {"name": "get_weather", "parameters": CITY}}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    client.embeddings.create(
        model="text-embedding-3-small", input=["one text", "another"], dimensions=4
    )
    with contextlib.suppress(openai.APIError):
        chat(model="sim-fail-429", messages=[{"role": "user", "content": "Fail."}])
    chat(
        model="gpt-4o-mini",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ],
            }
        ],
    )
    client.responses.create(model="gpt-4o-mini", instructions="Be brief.", input="Respond.")


def call_anthropic(url: str, key: str) -> None:
    anthropic: Any = importlib.import_module("anthropic")
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
    asked = {"model": "claude-sonnet-4-6", "max_tokens": 64}
    client.messages.create(
        **asked,
        system="You are terse.",
        messages=[{"role": "user", "content": "Say hello."}],
    )
    with client.messages.stream(
        **asked, messages=[{"role": "user", "content": "Stream something."}]
    ) as stream:
        for _ in stream:
            pass
    used = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."}
    client.messages.create(
        **asked,
        messages=[
            {"role": "user", "content": "What is the weather in Oslo?"},
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ],
        tools=[{"name": "get_weather", "input_schema": CITY}],
    )
    with contextlib.suppress(anthropic.APIError):
        client.messages.create(
            model="sim-fail-529", max_tokens=8, messages=[{"role": "user", "content": "Fail."}]
        )


def recorded(name: str, work: Callable[[], None]) -> str:
    """The spans of some work as an OTLP request in base64."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "shop", "deployment.environment.name": "staging"})
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentors = [
        getattr(importlib.import_module(module), member)() for module, member in INSTRUMENTORS[name]
    ]
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=provider)
    work()
    for instrumentor in instrumentors:
        instrumentor.uninstrument()
    request = encode_spans(exporter.get_finished_spans())
    return base64.b64encode(request.SerializeToString()).decode()


def main(openai_url: str, anthropic_url: str, key: str, *names: str) -> None:
    os.environ.update(GENAI_ENVIRONMENT)
    for name in names:

        def work(packages: int = len(INSTRUMENTORS[name])) -> None:
            call_openai(openai_url, key)
            if packages > 1:
                call_anthropic(anthropic_url, key)

        sys.stdout.write(json.dumps({"name": name, "spans": recorded(name, work)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
