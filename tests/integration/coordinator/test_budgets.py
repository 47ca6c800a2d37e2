"""Budgets in USD with real prices: never exceeded, over workers, restarts and kills."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from tests.support.gateway_kit import MODEL, GatewayFiles, RunningGateway, start_gateway

BUDGET = 300
"""Micro-USD: enough for some twenty calls of the model."""


class Priced:
    """A gateway whose upstream counts as OpenAI's, so that its models have prices."""

    def __init__(self, files: GatewayFiles, workers: int) -> None:
        self.files = files
        files.write_policy(limits='budget_usd = "0.0003"\nbudget_period = "day"')
        for file in (files.gateway_file, files.policy_file):
            text = file.read_text().replace('"openai-compatible"', '"openai"')
            file.write_text(text.replace("workers = 1", f"workers = {workers}"))
        self.gateway = start_gateway(files)

    def restart(self, *, kill: bool) -> None:
        self.gateway.client.close()
        if kill:
            self.gateway.kill()
        else:
            self.gateway.stop()
        self.gateway = start_gateway(self.files)

    def costs(self) -> list[int]:
        """Of the calls that were answered, as their records have it."""
        calls = self.gateway.control("calls.list", limit=1000, status="ok")
        return [call["cost"] for call in calls]

    def wait_for_records(self, calls: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.costs()) != calls:
            assert time.monotonic() < deadline, f"{len(self.costs())} records for {calls} calls"
            time.sleep(0.02)


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def priced(files: GatewayFiles, request: pytest.FixtureRequest) -> Iterator[Priced]:
    made = Priced(files, request.param)
    yield made
    made.gateway.client.close()
    made.gateway.stop()


def hammer(gateway: RunningGateway, calls: int) -> Counter[int]:
    lease = gateway.lease()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(gateway.chat_anew, lease, max_tokens=50) for _ in range(calls)]
        return Counter(answer.result().status_code for answer in answers)


def test_concurrent_calls_never_exceed_a_budget(priced: Priced) -> None:
    statuses = hammer(priced.gateway, 60)
    assert set(statuses) == {200, 429}
    priced.wait_for_records(statuses[200])
    assert 0 < sum(priced.costs()) <= BUDGET


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_budget_survives_a_restart(priced: Priced, *, kill: bool) -> None:
    before = hammer(priced.gateway, 60)[200]
    priced.wait_for_records(before)
    priced.restart(kill=kill)
    hammer(priced.gateway, 40)
    assert sum(priced.costs()) <= BUDGET


def test_a_refusal_by_budget_says_so(priced: Priced) -> None:
    hammer(priced.gateway, 60)
    refused = priced.gateway.chat_anew(priced.gateway.lease(), max_tokens=400)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "limit_reached"


def test_a_model_without_a_price_is_refused_under_a_budget(priced: Priced) -> None:
    answer = priced.gateway.chat(priced.gateway.lease(), model="a-model-nobody-sells")
    assert answer.status_code == 403
    assert "price" in answer.json()["error"]["message"]


def batch_file(answers: int, **members: object) -> io.BytesIO:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **members}
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    lines = [json.dumps({"custom_id": str(n), **line}) for n in range(answers)]
    return io.BytesIO("\n".join(lines).encode())


def start_batch(client: openai.OpenAI, file_id: str) -> str:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def test_a_batch_gives_back_what_it_did_not_use_also_over_a_kill(priced: Priced) -> None:
    """One open answer of the model may cost $0.0098304, so two batches do not fit at once."""
    priced.files.write_policy(limits='budget_usd = "0.015"\nbudget_period = "total"')
    file = priced.files.policy_file
    file.write_text(file.read_text().replace('"openai-compatible"', '"openai"'))
    assert priced.gateway.control("policy.reload")
    lease = priced.gateway.lease()

    def client() -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{priced.gateway.url}/v1", api_key=lease, max_retries=0)

    with client() as first:
        made = first.files.create(file=("a.jsonl", batch_file(1)), purpose="batch")
        many = first.files.create(file=("a.jsonl", batch_file(20)), purpose="batch")
        batch_id = start_batch(first, made.id)
        with pytest.raises(openai.RateLimitError) as for_now:
            start_batch(first, made.id)
        assert "x-should-retry" not in for_now.value.response.headers
        with pytest.raises(openai.RateLimitError) as refused:
            start_batch(first, many.id)
        assert refused.value.response.headers["x-should-retry"] == "false", "it never fits"
        assert "Answers without a bound of their own: 20" in str(refused.value)
        assert "at most $0.19" in str(refused.value)
        assert "Set max_tokens" in str(refused.value)
    priced.restart(kill=True)
    with client() as second:
        with pytest.raises(openai.RateLimitError):
            start_batch(second, made.id)
        usage = second.batches.retrieve(batch_id).usage
        assert usage is not None
        again = start_batch(second, made.id)
        second.batches.retrieve(batch_id)
        with pytest.raises(openai.RateLimitError):
            start_batch(second, made.id)
    priced.restart(kill=True)
    with client() as third:
        third.batches.retrieve(batch_id)
        with pytest.raises(openai.RateLimitError):
            start_batch(third, made.id)
        third.batches.retrieve(again)
        start_batch(third, made.id)
    settled = [line for line in priced.gateway.log_lines() if line["event"] == "batch_settled"]
    assert [line["batch"] for line in settled] == [batch_id, again]
    assert all(line["cost_usd"] < line["charged_usd"] / 100 for line in settled)
