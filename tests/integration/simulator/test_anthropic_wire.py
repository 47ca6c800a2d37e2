"""The official Anthropic client against the simulator: what it parses, and what it raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import anthropic
import httpx2
import pytest
from anthropic.types import MessageParam, ToolParam
from tests.support.simulated_provider import (
    RunningSimulator,
    fresh_key,
    running_simulator,
    simulator,
)

from keylease.simulator import SimulatorOptions

__all__ = ["simulator"]

HELLO: list[MessageParam] = [{"role": "user", "content": "hello there"}]
WEATHER: ToolParam = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[anthropic.Anthropic]:
    secret = fresh_key("sk-ant-test-")
    simulator.accept_key(secret)
    base = simulator.anthropic_url
    with anthropic.Anthropic(api_key=secret.decode(), base_url=base, max_retries=0) as made:
        yield made


def test_a_plain_message(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model="c", max_tokens=99, messages=HELLO)
    message = raw.parse()
    block = message.content[0]
    assert block.type == "text"
    assert block.text.startswith("Simulated answer to: hello there")
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (
        5,
        len(block.text.split()),
    )
    assert raw.headers["request-id"].startswith("req_")


def test_a_streamed_message_says_what_the_plain_one_says(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(model="c", max_tokens=99, messages=HELLO)
    with client.messages.stream(model="c", max_tokens=99, messages=HELLO) as stream:
        final = stream.get_final_message()
    assert final.content[0].to_dict() == plain.content[0].to_dict()
    assert final.usage.output_tokens == plain.usage.output_tokens
    assert final.stop_reason == "end_turn"


def test_the_events_of_a_stream_come_in_order(client: anthropic.Anthropic) -> None:
    with client.messages.with_streaming_response.create(
        model="c", max_tokens=4, messages=HELLO, stream=True
    ) as raw:
        body = raw.read().decode()
    names = [line.removeprefix("event: ") for line in body.splitlines() if line.startswith("event")]
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert '"stop_reason":"max_tokens"' in body


def test_a_tool_is_used_and_its_result_answered(client: anthropic.Anthropic) -> None:
    question: MessageParam = {"role": "user", "content": "What is the weather in Paris?"}
    with client.messages.stream(
        model="c", max_tokens=99, messages=[question], tools=[WEATHER]
    ) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    use = message.content[0]
    assert use.type == "tool_use"
    assert use.input == {"city": "Paris"}
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Sunny"}],
    }
    turn: MessageParam = {"role": "assistant", "content": message.content}
    after = client.messages.create(
        model="c", max_tokens=99, messages=[question, turn, result], tools=[WEATHER]
    )
    assert after.stop_reason == "end_turn"


def test_counting_agrees_with_billing_and_costs_nothing(
    simulator: RunningSimulator, client: anthropic.Anthropic
) -> None:
    counted = client.messages.count_tokens(model="c", messages=HELLO, system="be brief")
    assert counted.input_tokens == 7
    assert simulator.usage()["data"] == []
    message = client.messages.create(model="c", max_tokens=9, messages=HELLO, system="be brief")
    assert message.usage.input_tokens == 7


def test_batches_have_results_at_once_and_are_billed(
    simulator: RunningSimulator, client: anthropic.Anthropic
) -> None:
    batch = client.messages.batches.create(
        requests=[
            {"custom_id": "a", "params": {"model": "c", "max_tokens": 9, "messages": HELLO}},
            {"custom_id": "b", "params": {"model": "c", "max_tokens": 0, "messages": HELLO}},
        ]
    )
    assert batch.processing_status == "ended"
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (1, 1)
    results = {r.custom_id: r.result for r in client.messages.batches.results(batch.id)}
    assert {name: r.type for name, r in results.items()} == {"a": "succeeded", "b": "errored"}
    good = results["a"]
    assert good.type == "succeeded"
    [billed] = simulator.usage()["data"][0]["results"]
    assert billed["num_model_requests"] == 1
    assert billed["input_tokens"] == good.message.usage.input_tokens
    assert billed["output_tokens"] == good.message.usage.output_tokens == 9
    assert [found.id for found in client.messages.batches.list()] == [batch.id]
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.cancel(batch.id)
    client.messages.batches.delete(batch.id)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_failures_raise_the_clients_own_types(
    client: anthropic.Anthropic,
    status: int,
    expected: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    with pytest.raises(expected) as raised:
        client.messages.create(model=f"sim-fail-{status}", max_tokens=9, messages=HELLO)
    body = raised.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert raised.value.request_id == body["request_id"]


def test_the_key_may_come_as_a_bearer_and_the_version_is_required(
    simulator: RunningSimulator, client: anthropic.Anthropic
) -> None:
    secret = fresh_key("sk-ant-oat01-test-")
    simulator.accept_key(secret)
    with anthropic.Anthropic(
        auth_token=secret.decode(), base_url=simulator.anthropic_url, max_retries=0
    ) as by_bearer:
        assert by_bearer.models.list().data
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key=fresh_key().decode()).models.list()
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(extra_headers={"anthropic-version": anthropic.omit})


def test_an_unknown_model_and_bad_bodies(client: anthropic.Anthropic) -> None:
    robots = cast("list[MessageParam]", [{"role": "robot", "content": "x"}])
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="sim-no-such-model", max_tokens=9, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="c", max_tokens=9, messages=[])
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="c", max_tokens=9, messages=robots)


def test_a_break_in_mid_stream_is_no_clean_end(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.messages.stream(model="sim-reset-midstream", max_tokens=9, messages=HELLO) as stream,
    ):
        stream.get_final_message()


def test_a_rate_limit_tells_when_to_come_back() -> None:
    with running_simulator(SimulatorOptions(requests_per_minute=2)) as limited:
        secret = fresh_key()
        limited.accept_key(secret)
        with anthropic.Anthropic(
            api_key=secret.decode(), base_url=limited.anthropic_url, max_retries=0
        ) as client:
            raw = client.models.with_raw_response.list()
            assert raw.headers["anthropic-ratelimit-requests-remaining"] == "1"
            client.models.list()
            with pytest.raises(anthropic.RateLimitError) as refused:
                client.models.list()
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
