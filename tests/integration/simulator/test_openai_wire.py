"""The official OpenAI client against the simulator: what it parses, and what it raises."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel
from tests.support.simulated_provider import RunningSimulator, fresh_key, simulator

from keylease.simulator import Failure, FailureKind

__all__ = ["simulator"]

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello there"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[openai.OpenAI]:
    secret = fresh_key()
    simulator.accept_key(secret)
    base = simulator.openai_url
    with openai.OpenAI(api_key=secret.decode(), base_url=base, max_retries=0) as made:
        yield made


def test_a_plain_chat(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-5", messages=HELLO)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-5"
    assert answer.choices[0].finish_reason == "stop"
    text = answer.choices[0].message.content
    assert text
    assert text.startswith("Simulated answer to: hello there")
    assert answer.usage
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.completion_tokens == len(text.split())
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-processing-ms"].isdigit()


def test_the_same_chat_gets_the_same_text_with_another_identifier(client: openai.OpenAI) -> None:
    one, two = (client.chat.completions.create(model="m", messages=HELLO) for _ in range(2))
    assert one.choices == two.choices
    assert one.id != two.id


def test_a_chat_cut_at_the_limit_and_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=4, n=3)
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 3
    assert answer.usage
    assert answer.usage.completion_tokens == 12


def test_a_streamed_chat_says_what_the_plain_one_says(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model="m", messages=HELLO)
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_in_a_last_chunk_when_asked_for(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model="m", messages=HELLO)
    chunks = list(
        client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage == plain.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_tool_is_called_and_its_result_answered(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the weather in Paris?"}
    ]
    answer = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
    result: ChatCompletionMessageParam = {
        "role": "tool",
        "tool_call_id": calls[0].id,
        "content": "Sunny",
    }
    after = client.chat.completions.create(model="m", messages=[*messages, result], tools=[WEATHER])
    assert after.choices[0].finish_reason == "stop"
    none = client.chat.completions.create(
        model="m", messages=messages, tools=[WEATHER], tool_choice="none"
    )
    assert none.choices[0].finish_reason == "stop"


def test_a_tool_call_is_streamed_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER], stream=True)
    )
    first = chunks[0].choices[0].delta.tool_calls
    assert first
    assert first[0].function
    assert first[0].function.name == "weather"
    arguments = ""
    for chunk in chunks[1:]:
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments += (call.function.arguments or "") if call.function else ""
    assert json.loads(arguments) == {"city": "there"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


class Weather(BaseModel):
    city: str
    days: int


def test_structured_output_fits_its_schema(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model="m", messages=HELLO, response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(city="there", days=1)
    answer = client.responses.parse(model="m", input="hello there", text_format=Weather)
    assert answer.output_parsed == Weather(city="there", days=1)


def test_the_older_completions(client: openai.OpenAI) -> None:
    plain = client.completions.create(model="m", prompt="one two", max_tokens=8)
    assert plain.usage
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (2, 8)
    pieces = client.completions.create(model="m", prompt="one two", max_tokens=8, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == plain.choices[0].text


def test_responses_are_answered_stored_and_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(model="m", input="hello there")
    assert made.status == "completed"
    assert made.output_text.startswith("Simulated answer to: hello there")
    assert client.responses.retrieve(made.id).output_text == made.output_text
    items = client.responses.input_items.list(made.id)
    assert len(items.data) == 1
    follow = client.responses.create(model="m", input="go on", previous_response_id=made.id)
    assert follow.usage
    assert made.usage
    assert follow.usage.input_tokens > made.usage.input_tokens
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    unstored = client.responses.create(model="m", input="hello", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unstored.id)


def test_responses_are_streamed_as_events_in_order(client: openai.OpenAI) -> None:
    plain = client.responses.create(model="m", input="hello there")
    events = list(client.responses.create(model="m", input="hello there", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == plain.output_text
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage == plain.usage


def test_responses_call_functions(client: openai.OpenAI) -> None:
    tool: FunctionToolParam = {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
    with client.responses.stream(model="m", input="weather in Paris", tools=[tool]) as stream:
        answer = stream.get_final_response()
    call = answer.output[0]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Paris"}


def test_embeddings_as_numbers_and_as_base64_are_the_same(client: openai.OpenAI) -> None:
    numbers = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=64, encoding_format="float"
    )
    encoded = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=64
    )
    assert len(numbers.data) == 2
    assert numbers.data[0].embedding == pytest.approx(encoded.data[0].embedding, abs=1e-6)
    assert numbers.data[0].embedding != numbers.data[1].embedding
    assert numbers.usage.prompt_tokens == 2


def test_models_and_moderations(client: openai.OpenAI) -> None:
    assert "gpt-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-5").id == "gpt-5"
    results = client.moderations.create(input=["kind words", "violence"]).results
    assert [result.flagged for result in results] == [False, True]


def test_images_and_audio(client: openai.OpenAI) -> None:
    made = client.images.generate(model="gpt-image-1", prompt="a lease", n=2)
    assert made.data
    assert len(made.data) == 2
    edited = client.images.edit(
        model="gpt-image-1", image=("a.png", b"\x89PNG"), prompt="a longer lease"
    )
    assert edited.data
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="hi").content[:3] == (
        b"ID3"
    )
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"\x00" * 2000))
    assert heard.text.startswith("Simulated answer to: 2000 bytes")


def test_files_and_batches(client: openai.OpenAI) -> None:
    body = {"model": "m", "messages": HELLO}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
    content = (json.dumps(line) + "\nnot json\n").encode()
    uploaded = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    assert uploaded.bytes == len(content)
    assert client.files.content(uploaded.id).content == content
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert batch.status == "completed"
    assert batch.request_counts
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
    assert client.batches.retrieve(batch.id).id == batch.id
    assert [found.id for found in client.batches.list()] == [batch.id]
    assert batch.output_file_id
    first = json.loads(client.files.content(batch.output_file_id).content.splitlines()[0])
    assert first["custom_id"] == "one"
    assert first["response"]["body"]["object"] == "chat.completion"
    assert batch.usage
    usage = first["response"]["body"]["usage"]
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert batch.error_file_id
    [failed] = client.files.content(batch.error_file_id).content.splitlines()
    assert json.loads(failed)["response"]["status_code"] == 400
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)
    assert client.files.delete(uploaded.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(uploaded.id)
    assert uploaded.id not in [found.id for found in client.files.list()]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_failures_raise_the_clients_own_types(
    client: openai.OpenAI, status: int, expected: type[openai.APIStatusError]
) -> None:
    with pytest.raises(expected) as raised:
        client.chat.completions.create(model=f"sim-fail-{status}", messages=HELLO)
    assert raised.value.request_id
    assert isinstance(raised.value.body, dict)
    assert set(raised.value.body) == {"message", "type", "param", "code"}
    assert ("retry-after" in raised.value.response.headers) == (status in (429, 503))


def test_an_unknown_model_path_and_bad_body(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="sim-no-such-model", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing", cast_to=object)
    with pytest.raises(openai.BadRequestError) as missing:
        client.post("/chat/completions", body={"model": "m"}, cast_to=object)
    assert missing.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body={"model": "m", "messages": []}, cast_to=object)
    with pytest.raises(openai.APIStatusError) as method:
        client.delete("/chat/completions", cast_to=object)
    assert method.value.status_code == 405


def test_a_wrong_or_revoked_key_is_refused(
    simulator: RunningSimulator, client: openai.OpenAI
) -> None:
    wrong = client.with_options(api_key=fresh_key().decode())
    with pytest.raises(openai.AuthenticationError) as refused:
        wrong.models.list()
    assert refused.value.code == "invalid_api_key"
    client.models.list()
    key_id = simulator.requests[-1].key_id
    assert key_id
    simulator.revoke(key_id)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_break_in_mid_stream_is_an_error_and_what_was_sent_is_billed(
    simulator: RunningSimulator, client: openai.OpenAI
) -> None:
    pieces: list[object] = []
    with pytest.raises((openai.APIConnectionError, openai.APIError)):
        pieces.extend(
            client.chat.completions.create(model="sim-reset-midstream", messages=HELLO, stream=True)
        )
    assert simulator.requests[-1].outcome == "broken"
    row = simulator.usage()["data"][0]["results"][0]
    assert row["output_tokens"] == 2  # three pieces: the role, then two tokens


def test_a_break_before_and_inside_a_plain_answer(client: openai.OpenAI) -> None:
    for model in ("sim-reset", "sim-reset-midstream"):
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model=model, messages=HELLO)


def test_the_key_comes_back_when_asked_for(client: openai.OpenAI) -> None:
    key = client.api_key.encode()
    for model in ("sim-echo-key", "sim-echo-key-split"):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        assert key in raw.content
        assert ("x-simulator-authorization" in raw.headers) == (model == "sim-echo-key")
        with client.chat.completions.with_streaming_response.create(
            model=model, messages=HELLO, stream=True
        ) as streamed:
            assert key in b"".join(streamed.iter_bytes())


def test_redirects_garbage_encoding_and_missing_usage(
    simulator: RunningSimulator, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response
    assert raw.create(model="sim-encoded", messages=HELLO).headers["content-encoding"] == "gzip"
    assert raw.create(model="sim-no-usage", messages=HELLO).parse().usage is None
    with pytest.raises(ValueError, match=r"codec|JSON"):
        json.loads(raw.create(model="sim-garbage", messages=HELLO).content)
    with pytest.raises(openai.APIError):
        client.chat.completions.create(model="sim-redirect", messages=HELLO)
    assert simulator.requests[-1].path == "/redirected"  # this client follows redirects


def test_one_401_and_then_an_answer(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="sim-401-once", messages=HELLO)
    assert client.chat.completions.create(model="sim-401-once", messages=HELLO).id


def test_an_injected_failure(simulator: RunningSimulator, client: openai.OpenAI) -> None:
    simulator.inject(Failure(kind=FailureKind.STATUS, status=500, model="gpt-*", times=1))
    client.chat.completions.create(model="other", messages=HELLO)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    client.chat.completions.create(model="gpt-5", messages=HELLO)


def test_a_client_that_leaves_is_noticed(
    simulator: RunningSimulator, client: openai.OpenAI
) -> None:
    simulator.set_pace(chunk_delay=0.05)
    stream = client.chat.completions.create(model="sim-tokens-999", messages=HELLO, stream=True)
    for _ in range(3):
        next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while simulator.requests[-1].outcome == "pending" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert simulator.requests[-1].outcome == "client_gone"
    billed = simulator.usage()["data"][0]["results"][0]["output_tokens"]
    assert 0 < billed < 999
