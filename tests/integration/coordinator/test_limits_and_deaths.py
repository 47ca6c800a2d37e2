"""Limits over one and two workers, and what is left of them when processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.integration.coordinator.conftest import StartGateway
from tests.support.gateway_kit import MODEL, GatewayFiles, RunningGateway, start_gateway
from tests.support.simulated_provider import RunningSimulator

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def eventually(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a zombie is not alive
        return file.read().rpartition(")")[2].split()[0] != "Z"


def hammer(
    gateway: RunningGateway, lease: str, calls: int, *, max_tokens: int = 50
) -> Counter[int]:
    """Calls from eight clients, each on new connections."""
    with ThreadPoolExecutor(8) as pool:
        answers = [
            pool.submit(gateway.chat_anew, lease, max_tokens=max_tokens) for _ in range(calls)
        ]
        return Counter(answer.result().status_code for answer in answers)


@WORKERS
def test_requests_per_minute_are_exact_under_concurrency(
    start: StartGateway, provider: RunningSimulator, workers: int
) -> None:
    gateway = start(workers=workers, limits="requests_per_minute = 20")
    before = len(provider.requests)
    statuses = hammer(gateway, gateway.lease(), 50)
    assert statuses == {200: 20, 429: 30}
    assert len(provider.requests) - before == 20


@WORKERS
def test_a_refusal_says_when_to_come_back(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers, limits="requests_per_minute = 2")
    lease = gateway.lease()
    hammer(gateway, lease, 4)
    refused = gateway.chat_anew(lease)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert "limit" in refused.json()["error"]["message"]


@WORKERS
def test_tokens_per_minute_are_never_exceeded(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers, limits="tokens_per_minute = 700")
    statuses = hammer(gateway, gateway.lease(), 60, max_tokens=100)
    assert set(statuses) == {200, 429}
    calls = gateway.control("calls.list", limit=1000, status="ok")
    eventually(lambda: len(gateway.control("calls.list", limit=1000, status="ok")) == statuses[200])
    calls = gateway.control("calls.list", limit=1000, status="ok")
    used = sum(call["usage"]["input_tokens"] + call["usage"]["output_tokens"] for call in calls)
    assert 0 < used <= 700


@WORKERS
def test_what_was_set_aside_and_not_used_comes_back(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers, limits="tokens_per_minute = 1000")
    lease = gateway.lease()
    # Each call reserves about 400 tokens and uses far fewer: in sequence more than two fit.
    statuses = [gateway.chat_anew(lease, max_tokens=400).status_code for _ in range(6)]
    assert statuses.count(200) >= 5


@WORKERS
def test_a_limit_survives_a_restart_and_a_kill(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers, limits="requests_per_minute = 6")
    lease = gateway.lease()
    assert hammer(gateway, lease, 3) == {200: 3}
    gateway.stop()
    again = start(workers=workers, limits="requests_per_minute = 6")
    assert again.chat_anew(lease).status_code == 200
    again.kill()
    third = start(workers=workers, limits="requests_per_minute = 6")
    statuses = hammer(third, lease, 6)
    # Four were used; what the killed processes held counts as used too.
    assert statuses[200] <= 2
    assert statuses[429] >= 4


@WORKERS
def test_a_killed_worker_is_replaced_and_gives_nothing_away(
    start: StartGateway, provider: RunningSimulator, workers: int
) -> None:
    gateway = start(workers=workers, limits="requests_per_minute = 30")
    lease = gateway.lease()
    before = len(provider.requests)
    assert hammer(gateway, lease, 10) == {200: 10}
    victim = gateway.worker_pids[0]
    os.kill(victim, signal.SIGKILL)
    # Connections wait in the socket's queue while the worker is replaced.
    assert gateway.chat_anew(lease).status_code == 200
    eventually(lambda: len(gateway.worker_pids) == workers and victim not in gateway.worker_pids)
    hammer(gateway, lease, 60)
    assert len(provider.requests) - before <= 30
    assert gateway.control("status")["worker_restarts"] == 1
    assert "worker_died" in [line["event"] for line in gateway.log_lines()]


@WORKERS
def test_records_of_answered_calls_survive_a_kill(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers)
    lease = gateway.lease()
    assert hammer(gateway, lease, 40) == {200: 40}
    time.sleep(0.1)  # twice what the promise allows
    gateway.kill()
    again = start(workers=workers)
    assert len(again.control("calls.list", limit=1000)) == 40


@WORKERS
def test_workers_end_with_their_coordinator(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers)
    pids = gateway.worker_pids
    gateway.kill()
    eventually(lambda: not any(map(alive, pids)), seconds=5)


@WORKERS
def test_a_call_under_way_is_finished_when_the_gateway_stops(
    start: StartGateway, provider: RunningSimulator, workers: int
) -> None:
    gateway = start(workers=workers)
    lease = gateway.lease()
    provider.set_pace(latency=1.0)
    try:
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(gateway.chat_anew, lease)
            time.sleep(0.4)
            assert gateway.stop() == 0
            assert calling.result().status_code == 200
    finally:
        provider.set_pace()
    again = start(workers=workers)
    assert len(again.control("calls.list")) == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(gateway.url)


def test_a_second_start_is_refused(start: StartGateway, files: GatewayFiles) -> None:
    gateway = start()
    same_data = run_to_the_end(gateway.files)
    assert same_data.returncode == 75
    assert "is in use by process" in same_data.stderr
    port = gateway.url.rpartition(":")[2]
    same_port = run_to_the_end(files, "--port", port)
    assert same_port.returncode == 75
    assert f"port {port}" in same_port.stderr
    assert "hint:" in same_port.stderr
    assert gateway.chat(gateway.lease()).status_code == 200


def run_to_the_end(files: GatewayFiles, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "keylease.strongroom", "gateway",
         "--gateway-file", str(files.gateway_file), "--data-dir", str(files.data), *more],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "status", "says"),
    [
        ("gateway.toml", "version = 1\n[gatway]\n", 64, "gatway"),
        ("keylease.toml", "version = 1\n[[grants]]\n", 64, "grants"),
        ("keylease.toml", "version = ", 64, "keylease.toml"),
    ],
)
def test_bad_configuration_stops_the_start(
    files: GatewayFiles, file: str, text: str, status: int, says: str
) -> None:
    (files.config / file).write_text(text)
    ended = run_to_the_end(files)
    assert ended.returncode == status
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_damaged_ledger_stops_the_start(files: GatewayFiles) -> None:
    gateway = start_gateway(files)
    gateway.client.close()
    assert gateway.stop() == 0
    (segment,) = (files.data / "strongroom" / "ledger").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[10] ^= 0xFF
    segment.write_bytes(data)
    ended = run_to_the_end(files)
    assert ended.returncode == 1
    assert "ledger of limits" in ended.stderr
    assert "hint: Budgets would start again" in ended.stderr


def test_a_worker_imports_nothing_heavy() -> None:
    code = (
        "import sys; import keylease.strongroom.gateway.worker.process;"
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules}))); "
        "print('google.protobuf' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    loaded, protobuf = done.stdout.splitlines()
    heavy = {"boto3", "botocore", "httpx", "httpcore", "pydantic", "genai_prices", "joserfc",
             "opentelemetry", "structlog", "sqlite3", "rich", "typer", "anyio"}  # fmt: skip
    assert heavy.isdisjoint(loaded.split())
    assert protobuf == "False"


def test_a_running_worker_stays_light(start: StartGateway) -> None:
    gateway = start()
    lease = gateway.lease()
    for _ in range(20):
        assert gateway.chat(lease).status_code == 200
    (pid,) = gateway.worker_pids
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - proc
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2
    assert resident < 90, f"{resident:.0f} MB for {MODEL}"
