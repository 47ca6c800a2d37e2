"""Budgets in USD with real prices: never exceeded, over workers, restarts and kills."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.gateway_kit import GatewayFiles, RunningGateway, start_gateway

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
