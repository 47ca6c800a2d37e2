"""Whatever a client sends becomes a row: nothing raises, every JSON column is JSON.

Spans are made at random from names and values that the dialects know; the seed is what hypothesis
varies, because its own strategies for such trees take twenty times as long.
"""

from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.span_kit import understand
from tests.support.trace_kit import NOW, raw_span

from keylease.platform.traces.interfaces import Understood
from keylease.platform.traces.model import RawEvent, RawLink, RawSpan, Status
from keylease.platform.traces.understanding.registry import DIALECTS
from keylease.platform.traces.understanding.understander import Understander

UNDERSTANDER = Understander()


def words(text: str) -> list[str]:
    return text.split()


ENDINGS = words("""
.0 .0.role .0.content .1.content .0.message.role .0.message.content .0.message.contents.0
.0.message.contents.0.message_content.type .0.message.contents.0.message_content.image
.0.message.tool_calls.0.tool_call.function.name .0.tool_calls.1.name .0.document.metadata
.0.document.id .prompt_tokens .type .name .-1.role .x
""")
OTHERS = words("""
gen_ai.operation.name gen_ai.input.messages gen_ai.output.messages gen_ai.system_instructions
gen_ai.tool.call.arguments llm.request.type llm.invocation_parameters llm.cost.total
input.value input.mime_type openinference.span.kind metadata tag.tags ai.operationId ai.prompt
ai.prompt.messages ai.response.text ai.response.toolCalls ai.values ai.telemetry.metadata.a
braintrust.metrics braintrust.scores braintrust.input_json braintrust.tags keylease.record_format
keylease.input keylease.output traceloop.span.kind traceloop.entity.input error.type session.id
message content tool_calls exception.type exception.message
""")
TABLES = [table for dialect in DIALECTS for table in (dialect.texts, dialect.counts)]
NAMES = sorted(
    {prefix + end for dialect in DIALECTS for prefix in dialect.prefixes for end in ENDINGS}
    | {prefix for dialect in DIALECTS for prefix in dialect.prefixes}
    | {name for table in TABLES for names in table.values() for name in names}
    | {*OTHERS, "", ".", "gen_ai.", "\x00", "ключ"}
)
MEMBERS = words("""
type role parts content text tool_calls function name arguments id image image_url source data
result value message input_audio url mime_type modality toolCallId toolName input output thinking
""")
WORDS = words("""
text tool_call tool_result tool-result blob image image_url audio input_audio file reasoning chat
embeddings user assistant tool llm LLM EMBEDDING CHAIN ai.toolCall ai.generateText.doGenerate
application/json data:x https://a.example/ [ [{ {"type":"llm"} 1e999 NaN 0 -1 1.5 true null "x"
[1,2] "\\ud800"
""")
WORDS += ["", "9" * 400, "[" * 5000, "[" * 900 + "]" * 900, "x" * 70_000, "é" * 600]
EVENTS = sorted(
    {name for dialect in DIALECTS for name in dialect.events}
    | {"exception", "gen_ai.evaluation.result", "gen_ai.client.inference.operation.details"}
    | {"First Token Stream Event", "else"}
)


def value(random: Random, depth: int = 0) -> Any:  # noqa: ANN401 - any attribute value
    choice = random.randrange(10 if depth < 4 else 6)
    if choice < 3:
        return random.choice(WORDS)
    if choice == 3:
        return random.choice([None, True, False, b"\xff", 0, 7, -1, 2**63 - 1, -(2**63)])
    if choice == 4:
        return random.choice([0.0, 0.5, 3.0, -2.0, 1e300, float("nan"), float("inf")])
    if choice == 5:
        return random.choice(["a", "b"])
    if choice == 6:
        return [value(random, depth + 1) for _ in range(random.randrange(4))]
    made = {random.choice(MEMBERS): value(random, depth + 1) for _ in range(random.randrange(6))}
    return made if choice == 7 else as_text([made] if choice == 8 else made)


def as_text(made: object) -> str:
    return msgspec.json.encode(made).decode()


def attributes(random: Random, most: int) -> dict[str, Any]:
    return {random.choice(NAMES): value(random) for _ in range(random.randrange(most))}


def any_span(random: Random) -> RawSpan:
    return raw_span(
        attributes=attributes(random, 24),
        events=tuple(
            RawEvent(random.choice(EVENTS), NOW + random.randrange(-5, 5), attributes(random, 5))
            for _ in range(random.randrange(3))
        ),
        links=(RawLink("a" * 32, "b" * 16, attributes(random, 3)),),
        status=random.choice(list(Status)),
        otel_kind=random.randrange(6),
        ended_at=NOW + random.randrange(-5, 5),
    )


def check(made: Understood) -> None:
    row = made.span
    texts = [row.expected, row.metadata, row.events, row.links]
    texts += [] if row.input_payload else [row.input]
    texts += [] if row.output_payload else [row.output]
    texts = [text for text in texts if text]
    for text in (*texts, *row.attributes.values(), *row.resource.values()):
        msgspec.json.decode(text, type=msgspec.Raw)
    for count in (row.input_tokens, row.output_tokens, row.cost, row.time_to_first_chunk):
        assert count is None or 0 <= count <= 3 * 10**12
    for name in ("model", "provider", "session_id", "user_id", "error", "tool_name", "agent_name"):
        assert isinstance(getattr(row, name), str), name
    assert all(isinstance(tag, str) for tag in row.tags)
    assert all(isinstance(score, float) for score in row.scores.values())
    assert row.duration >= 0


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_any_span_becomes_a_row(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - makes test data
    for _ in range(8):
        span = any_span(random)
        made = understand(span, UNDERSTANDER)
        check(made)
        # What was remembered of other spans changes nothing.
        again = understand(span, Understander())
        assert msgspec.msgpack.encode(made) == msgspec.msgpack.encode(again)


def test_deep_nesting_is_understood_or_stays_raw() -> None:
    deep: Any = "end"
    for _ in range(3000):
        deep = [deep]
    made = understand(
        raw_span(
            attributes={
                "openinference.span.kind": "LLM",
                "gen_ai.input.messages": deep,
                "llm.input_messages." + "0." * 3000 + "role": "user",
                "braintrust.input": "[" * 3000 + "]" * 3000,
            }
        )
    )
    check(made)
