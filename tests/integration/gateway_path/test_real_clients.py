"""The real SDKs, through the real server and pools, against the simulator."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from tests.integration.gateway_path.running import QUOTE, Running, running
from tests.support.call_rig import bundle, grant, route
from tests.support.eventually import eventually
from tests.support.simulated_provider import RunningSimulator, fresh_key, simulator

from keylease.contracts.policy import (
    ContentRecording,
    Limits,
    ObjectAccess,
    PolicyBundle,
    Revocation,
    RevocationKind,
)
from keylease.simulator import Failure, FailureKind

__all__ = ["simulator"]

POLICY = bundle(
    routes=(
        route(
            models=(
                "gpt-*",
                "sim-*",
                "text-embedding-*",
                "omni-*",
                "dall-e-*",
                "whisper-*",
                "tts-*",
            )
        ),
        bundle().routes[1],
    )
)
HELLO: Any = [{"role": "user", "content": "Say hello"}]
"""Plain dictionaries, which both SDKs take."""


class Clients:
    """A gateway in front of the simulator, and the SDKs that point at it."""

    def __init__(self, gateway: Running, simulator: RunningSimulator) -> None:
        self.gateway = gateway
        self.simulator = simulator
        self.secrets: dict[str, bytes] = {}
        self.key_ids: dict[str, str] = {}
        for provider in ("openai", "anthropic"):
            self.accept(f"cred-{provider}", fresh_key(), version="1")
        self.lease = gateway.make_lease()

    def accept(self, credential_id: str, secret: bytes, *, version: str) -> None:
        self.key_ids[credential_id] = self.simulator.accept_key(secret)
        self.secrets[credential_id] = secret
        self.gateway.link.store(credential_id, secret, version=version)

    def openai(self, lease: str = "", *, retries: int = 0) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.gateway.url}/v1", api_key=lease or self.lease, max_retries=retries
        )

    def anthropic(self, lease: str = "") -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            base_url=f"{self.gateway.url}/anthropic", api_key=lease or self.lease, max_retries=0
        )


def priced(gateway: Running) -> None:
    for model in ("gpt-4o-mini", "gpt-4o", "sim-401-once"):
        gateway.link.prices["openai", model] = QUOTE
    gateway.link.prices["anthropic", "claude-test-1"] = QUOTE


async def clients_of(simulator: RunningSimulator, policy: PolicyBundle) -> AsyncIterator[Clients]:
    async with running(simulator.openai_url, simulator.anthropic_url, policy=policy) as gateway:
        priced(gateway)
        yield Clients(gateway, simulator)


@pytest.fixture
async def clients(simulator: RunningSimulator) -> AsyncIterator[Clients]:
    async for made in clients_of(simulator, POLICY):
        yield made


@pytest.fixture
async def recording(simulator: RunningSimulator) -> AsyncIterator[Clients]:
    policy = bundle(grants=(grant(content=ContentRecording.MASKED, objects=ObjectAccess.ALL),))
    async for made in clients_of(simulator, policy):
        yield made


@pytest.fixture
async def budgeted(simulator: RunningSimulator) -> AsyncIterator[Clients]:
    policy = bundle(grants=(grant(limits=Limits(budget_micro_usd=10**9)),))
    async for made in clients_of(simulator, policy):
        yield made


@pytest.fixture
async def tight(simulator: RunningSimulator) -> AsyncIterator[Clients]:
    policy = bundle(grants=(grant(limits=Limits(requests_per_minute=2)),))
    async for made in clients_of(simulator, policy):
        yield made


async def test_openai_chat(clients: Clients) -> None:
    async with clients.openai() as client:
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        assert answer.choices[0].message.content
        [record] = clients.gateway.link.records
        assert answer.usage is not None
        assert record.usage is not None
        assert record.usage.input_tokens == answer.usage.prompt_tokens
        assert record.usage.output_tokens == answer.usage.completion_tokens
        expected = answer.usage.prompt_tokens + 2 * answer.usage.completion_tokens
        assert (record.cost, record.estimated) == (expected, False)
        assert record.provider_request_id
        assert answer._request_id == record.id
    [seen] = clients.simulator.requests
    assert seen.key_id == clients.key_ids["cred-openai"]


async def test_openai_stream_with_and_without_usage(clients: Clients) -> None:
    async with clients.openai() as client:
        seen = []
        for asked in (False, True):
            options: Any = {"stream_options": {"include_usage": True}} if asked else {}
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=HELLO, stream=True, **options
            )
            chunks = [chunk async for chunk in stream]
            seen.append(
                (
                    "".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
                    any(chunk.usage for chunk in chunks),
                    any(not chunk.choices for chunk in chunks),
                )
            )
    assert seen[0][0] == seen[1][0] != ""
    assert [entry[1:] for entry in seen] == [(False, False), (True, True)]
    await eventually(lambda: len(clients.gateway.link.records) == 2)
    first, second = clients.gateway.link.records
    assert first.streamed
    assert first.usage == second.usage is not None
    assert first.time_to_first_chunk is not None


async def test_openai_responses_are_the_callers_own(clients: Clients) -> None:
    async with clients.openai() as client:
        first = await client.responses.create(model="gpt-4o-mini", input="hi")
        second = await client.responses.create(
            model="gpt-4o-mini", input="more", previous_response_id=first.id
        )
        assert (await client.responses.retrieve(second.id)).id == second.id
        stream = await client.responses.create(model="gpt-4o-mini", input="hi", stream=True)
        events = [event async for event in stream]
        assert events[-1].type == "response.completed"
        assert events[-1].response.id in clients.gateway.link.objects
    async with clients.openai(clients.gateway.make_lease(sub="user:eve")) as eve:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await eve.responses.retrieve(first.id)
        assert refused.value.code == "object_not_allowed"
        with pytest.raises(openai.PermissionDeniedError):
            await eve.responses.create(
                model="gpt-4o-mini", input="x", previous_response_id=first.id
            )


async def test_openai_files_stream_through(clients: Clients) -> None:
    content = b'{"a":1}\n' * 40_000
    async with clients.openai() as client:
        made = await client.files.create(file=("a.jsonl", io.BytesIO(content)), purpose="user_data")
        assert clients.gateway.link.objects[made.id].principal == "user:ada"
        assert (await client.files.content(made.id)).content == content
        with pytest.raises(openai.PermissionDeniedError):
            await client.files.list()
        assert (await client.files.delete(made.id)).deleted


async def test_openai_batches_are_checked_line_by_line(clients: Clients) -> None:
    def lines(model: str) -> io.BytesIO:
        body = {"model": model, "messages": [{"role": "user", "content": "hi: there"}]}
        one = {"custom_id": "a:1", "method": "POST", "url": "/v1/chat/completions", "body": body}
        return io.BytesIO(json.dumps(one).encode() + b"\n")

    async with clients.openai() as client:
        made = await client.files.create(file=("a.jsonl", lines("gpt-4o-mini")), purpose="batch")
        assert clients.gateway.link.objects[made.id].batch_models == ("gpt-4o-mini",)
        batch = await client.batches.create(
            input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await client.batches.retrieve(batch.id)).id == batch.id
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.files.create(file=("a.jsonl", lines("o1")), purpose="batch")
        assert refused.value.code == "model_not_allowed"
        with pytest.raises(openai.BadRequestError, match="Line 1"):
            await client.files.create(file=("a.jsonl", io.BytesIO(b"{}")), purpose="batch")


async def test_openai_small_surfaces(clients: Clients) -> None:
    async with clients.openai() as client:
        embeddings = await client.embeddings.create(model="text-embedding-3-small", input="hi")
        assert embeddings.data[0].embedding
        names = {model.id async for model in client.models.list()}
        assert {"gpt-4o-mini", "text-embedding-3-small"} <= names
        assert "o1" not in names
        assert (await client.models.retrieve("gpt-4o-mini")).id == "gpt-4o-mini"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("o1")


async def test_anthropic_messages(clients: Clients) -> None:
    async with clients.anthropic() as client:
        answer = await client.messages.create(
            model="claude-test-1",
            max_tokens=64,
            messages=HELLO,
        )
        assert answer.content
        async with client.messages.stream(
            model="claude-test-1",
            max_tokens=64,
            messages=HELLO,
        ) as stream:
            streamed = await stream.get_final_message()
        counted = await client.messages.count_tokens(
            model="claude-test-1",
            messages=HELLO,
        )
        assert counted.input_tokens
    await eventually(lambda: len(clients.gateway.link.records) == 3)
    plain, stream_record, count = clients.gateway.link.records
    assert plain.usage is not None
    assert plain.usage.output_tokens == answer.usage.output_tokens
    assert stream_record.usage is not None
    assert stream_record.usage.output_tokens == streamed.usage.output_tokens
    assert stream_record.streamed
    assert (count.usage, count.estimated) == (None, False)
    assert {seen.key_id for seen in clients.simulator.requests} == {
        clients.key_ids["cred-anthropic"]
    }


async def test_the_results_of_an_anthropic_batch_settle_its_charge(budgeted: Clients) -> None:
    link = budgeted.gateway.link
    request: Any = {"model": "claude-test-1", "max_tokens": 64, "messages": HELLO}
    async with budgeted.anthropic() as client:
        batch = await client.messages.batches.create(
            requests=[{"custom_id": "a", "params": request}]
        )
        assert (await client.messages.batches.retrieve(batch.id)).processing_status == "ended"
        assert not link.batches_settled, "it does not say what was used"
        results = [one async for one in await client.messages.batches.results(batch.id)]
    assert results[0].result.type == "succeeded"
    usage = results[0].result.message.usage
    assert link.batches_settled == [(batch.id, usage.input_tokens + 2 * usage.output_tokens)]


async def test_sdks_raise_their_own_errors(clients: Clients) -> None:
    messages = HELLO
    async with clients.openai("kll_nonsense") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        assert unknown.value.code == "lease_malformed"
        assert unknown.value.request_id
    async with clients.openai() as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(model="o1", messages=messages)
        assert denied.value.code == "model_not_allowed"
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.list()
        with pytest.raises(openai.NotFoundError):
            await client.post("/organization/admin_api_keys", cast_to=object, body={"name": "x"})
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(messages=messages, model="")
    async with clients.anthropic("kll_nonsense") as other:
        with pytest.raises(anthropic.AuthenticationError):
            await other.messages.create(
                model="claude-test-1",
                max_tokens=5,
                messages=messages,
            )
    async with clients.anthropic() as other:
        with pytest.raises(anthropic.PermissionDeniedError):
            await other.messages.create(
                model="gpt-4o-mini",
                max_tokens=5,
                messages=messages,
            )
    assert not clients.simulator.requests


async def test_limits_are_rate_limit_errors(tight: Clients) -> None:
    async with tight.openai() as client:
        for _ in range(2):
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        assert limited.value.response.headers["retry-after"] == "7"
    assert len(tight.simulator.requests) == 2


async def test_rotation_under_load_loses_no_call(clients: Clients) -> None:
    async with clients.openai() as client:

        async def call() -> None:
            for _ in range(5):
                await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(call())
            await eventually(lambda: len(clients.simulator.requests) > 5)
            old = clients.key_ids["cred-openai"]
            clients.accept("cred-openai", fresh_key(), version="2")
            clients.simulator.revoke(old)
    records = clients.gateway.link.records
    assert len(records) == 40
    assert {record.status for record in records} == {200}
    assert {record.credential_version for record in records} == {"1", "2"}
    assert 0 < len(clients.gateway.link.fetches) < 20
    assert max(record.retries for record in records) == 1


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FailureKind.ECHO_KEY, "credential_echoed"),
        (FailureKind.REDIRECT, "upstream_broken"),
        (FailureKind.ENCODED, "upstream_broken"),
        (FailureKind.RESET, "upstream_broken"),
    ],
)
async def test_a_bad_upstream_is_a_clear_error(
    clients: Clients, kind: FailureKind, code: str
) -> None:
    clients.simulator.inject(Failure(kind=kind))
    async with clients.openai() as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert (failed.value.status_code, failed.value.code) == (502, code)
    assert clients.secrets["cred-openai"].decode() not in failed.value.response.text
    assert len(clients.simulator.requests) == 1, "not sent again, and no redirect followed"
    assert bool(clients.gateway.link.echoes) is (kind is FailureKind.ECHO_KEY)


async def test_an_answer_that_nobody_understands_is_charged_by_estimate(clients: Clients) -> None:
    clients.simulator.inject(Failure(kind=FailureKind.GARBAGE))
    async with clients.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini",
            messages=HELLO,
        )
        assert b"neither JSON" in raw.http_response.content
    [record] = clients.gateway.link.records
    assert record.estimated
    assert record.cost


@pytest.mark.parametrize(
    "kind", [FailureKind.ECHO_KEY, FailureKind.ECHO_KEY_SPLIT, FailureKind.RESET_MIDSTREAM]
)
async def test_a_stream_that_goes_wrong_breaks(clients: Clients, kind: FailureKind) -> None:
    clients.simulator.inject(Failure(kind=kind))
    received = b""
    async with clients.openai() as client:
        with pytest.raises((openai.APIError, Exception)) as failed:  # noqa: PT012 - the SDK wraps what its HTTP client raises
            async with client.chat.completions.with_streaming_response.create(
                model="gpt-4o-mini",
                messages=HELLO,
                stream=True,
            ) as response:
                async for piece in response.iter_bytes():
                    received += piece
    assert not isinstance(failed.value, AssertionError)
    assert clients.secrets["cred-openai"] not in received
    assert b"[DONE]" not in received
    await eventually(lambda: clients.gateway.link.records)
    assert clients.gateway.link.records[0].error in {"credential_echoed", "upstream_broken"}


async def test_a_client_that_leaves_stops_the_upstream(clients: Clients) -> None:
    clients.simulator.set_pace(chunk_delay=0.05)
    async with clients.openai() as client:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=HELLO, stream=True
        )
        await anext(aiter(stream))
        await stream.close()
    await eventually(lambda: clients.gateway.link.records)
    [record] = clients.gateway.link.records
    assert (record.client_gone, record.estimated) == (True, True)
    assert record.usage is not None
    assert record.usage.output_tokens > 0


async def test_a_revoked_lease_is_dead_at_once(clients: Clients) -> None:
    async with clients.openai() as client:
        await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        jti = clients.gateway.link.records[0].lease_id
        clients.gateway.revocations.apply(Revocation(kind=RevocationKind.LEASE, value=jti, at=1))
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            await client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)


async def test_text_is_recorded_masked_when_the_policy_says_so(recording: Clients) -> None:
    planted = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8" * 3
    async with recording.openai() as client:
        await client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": f"my key is {planted}"}]
        )
    [record] = recording.gateway.link.records
    assert record.input is not None
    assert "my key is" in record.input
    assert record.output
    assert planted not in record.input + record.output
