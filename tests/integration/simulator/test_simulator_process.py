"""``keylease simulator`` as a process, and its control surface."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.simulated_provider import SimulatorProcess, fresh_key, simulator_process

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture
def running() -> Iterator[SimulatorProcess]:
    with simulator_process() as process:
        yield process


@pytest.fixture
def control(running: SimulatorProcess) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {running.control_token}"}
    with httpx.Client(base_url=running.control_url, headers=headers, trust_env=False) as client:
        yield client


def chat(running: SimulatorProcess, secret: bytes, **changes: str) -> httpx.Response:
    return httpx.post(
        f"{running.openai_url}/chat/completions",
        json=CHAT | changes,
        headers={"authorization": f"Bearer {secret.decode()}"},
        trust_env=False,
    )


def test_a_key_lives_from_its_registration_to_its_revocation(
    running: SimulatorProcess, control: httpx.Client
) -> None:
    secret = fresh_key()
    assert chat(running, secret).status_code == 401
    made = control.post("/keys", json={"sha256": hashlib.sha256(secret).hexdigest()}).json()
    assert chat(running, secret).status_code == 200
    usage = control.get("/usage").json()
    row = usage["data"][0]["results"][0]
    assert (row["api_key_id"], row["model"], row["num_model_requests"]) == (made["id"], "gpt-5", 1)
    assert (row["input_tokens"], row["output_tokens"]) == (5, 24)
    assert control.delete(f"/keys/{made['id']}").json()["revoked"]
    assert chat(running, secret).status_code == 401
    listed = control.get("/keys").json()["data"]
    assert [(key["id"], key["revoked"]) for key in listed] == [(made["id"], True)]


def test_requests_are_shown_without_the_key(
    running: SimulatorProcess, control: httpx.Client
) -> None:
    secret = fresh_key()
    control.post("/keys", json={"secret": secret.decode()})
    chat(running, secret)
    shown = control.get("/requests")
    assert secret.decode() not in shown.text
    request = shown.json()["data"][0]
    assert request["path"] == "/v1/chat/completions"
    assert request["outcome"] == "answered"
    control.delete("/requests")
    assert control.get("/requests").json() == {"total": 1, "data": []}


def test_failures_and_pace_are_set_while_it_runs(
    running: SimulatorProcess, control: httpx.Client
) -> None:
    secret = fresh_key()
    control.post("/keys", json={"secret": secret.decode()})
    injected = control.post("/failures", json={"kind": "status", "status": 503, "times": 1})
    assert injected.status_code == 200
    assert chat(running, secret).status_code == 503
    assert chat(running, secret).status_code == 200
    control.post("/failures", json={"kind": "status", "status": 500})
    control.delete("/failures")
    assert chat(running, secret).status_code == 200
    pace = control.post("/pace", json={"latency": 0.2, "requests_per_minute": 3}).json()
    assert pace == {"latency": 0.2, "chunk_delay": 0.0, "requests_per_minute": 3}
    assert chat(running, secret).elapsed.total_seconds() >= 0.2
    assert chat(running, secret).headers["x-ratelimit-remaining-requests"] == "1"
    chat(running, secret)
    limited = chat(running, secret)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("POST", "/keys", {}, 400),
        ("POST", "/keys", {"sha256": "xyz"}, 400),
        ("POST", "/keys", {"unknown": 1}, 400),
        ("POST", "/failures", {"kind": "none"}, 400),
        ("DELETE", "/keys/key_none", None, 404),
        ("GET", "/usage?start_time=noon", None, 400),
    ],
)
def test_control_requests_that_make_no_sense(
    control: httpx.Client, method: str, path: str, body: object, status: int
) -> None:
    answer = control.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_the_control_surface_is_guarded(running: SimulatorProcess) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": running.control_token}):
        answer = httpx.get(f"{running.control_url}/keys", headers=headers, trust_env=False)
        assert answer.status_code == 401


def start(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keylease.cli.main", "simulator", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_stops_cleanly_on_a_signal() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with simulator_process() as running:
            running.process.send_signal(number)
            assert running.process.wait(timeout=10) == 0


def test_flags_inject_failures_and_accept_keys(tmp_path: Path) -> None:
    secret = fresh_key()
    token = tmp_path / "token"
    token.write_text("a control token of the test\n")
    digest = hashlib.sha256(secret).hexdigest()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keylease.cli.main",
            "simulator",
            "--port=0",
            "--fail=500:2",
            f"--key-sha256={digest}",
            f"--control-token-file={token}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        places = dict(process.stdout.readline().split() for _ in range(3))
        assert set(places) == {"openai_url", "anthropic_url", "control_url"}
        headers = {"authorization": f"Bearer {secret.decode()}"}
        seen = [
            httpx.get(
                f"{places['openai_url']}/models", headers=headers, trust_env=False
            ).status_code
            for _ in range(4)
        ]
        assert seen == [200, 500, 200, 500]
        control = httpx.get(
            f"{places['control_url']}/keys",
            headers={"authorization": "Bearer a control token of the test"},
            trust_env=False,
        )
        assert control.status_code == 200
    finally:
        process.terminate()
        _, talk = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "a control token" not in talk


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--fail=nonsense"], "", "There is no failure `nonsense`"),
        (["--fail=500:0"], "", "There is no failure"),
        (["--key-sha256=abc"], "", "64 hex digits"),
        (["--control-token-file=/nonexistent/token"], "", "cannot be read"),
        (["--control-token-file=-"], "short\n", "fewer than 16"),
    ],
)
def test_bad_flags_stop_the_start(arguments: list[str], stdin: str, said: str) -> None:
    done = start("--port=0", *arguments, stdin=stdin)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start(f"--port={port}")
    assert done.returncode == 75
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
