"""A whole gateway: calls, their records, the control socket, reload, revocation."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from tests.integration.coordinator.conftest import StartGateway
from tests.support.gateway_kit import MODEL, RunningGateway, running_gateway
from tests.support.simulated_provider import RunningSimulator, fresh_key

from keylease.errors import (
    AccessDenied,
    GatewayNotRunning,
    PolicyFileInvalid,
    PurposeNotAllowed,
    RequestMalformed,
)
from keylease.primitives.unix_sockets import socket_name
from keylease.sdk.control import ControlClient

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, seconds: float = 10.0) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_call_is_answered_and_recorded(
    start: StartGateway, provider: RunningSimulator, workers: int
) -> None:
    gateway = start(workers=workers)
    answer = gateway.chat(gateway.lease())
    assert answer.status_code == 200
    ended = time.monotonic()
    record = wait_for(lambda: gateway.control("calls.list"))[-1]
    assert time.monotonic() - ended < 1.0
    assert record["requested_model"] == MODEL
    assert record["status"] == 200
    assert record["principal"].startswith("user:")
    assert record["usage"]["input_tokens"] > 0
    assert len(gateway.worker_pids) == workers
    assert provider.requests[-1].key_id


def test_the_key_is_in_no_answer_and_no_file(start: StartGateway, key: bytes) -> None:
    gateway = start()
    lease = gateway.lease()
    answer = gateway.chat(lease)
    said = [gateway.control(name) for name in ("status", "posture", "credentials.check")]
    said.append(gateway.control("audit.list"))
    metrics = gateway.client.get(gateway.ready.metrics_url).text
    gateway.stop()
    assert key.decode() not in answer.text + str(answer.headers) + json.dumps(said) + metrics
    for path in (gateway.files.data, gateway.log):
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                content = file.read_bytes()
                assert key not in content, file
                assert lease.encode() not in content, file


def test_audit_entries_come_first_and_have_no_gap(start: StartGateway) -> None:
    gateway = start()
    gateway.chat(gateway.lease())
    with pytest.raises(PurposeNotAllowed):
        gateway.lease(purpose="production")
    entries = gateway.control("audit.list")
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry["action"] for entry in entries] == [
        "gateway.started",
        "policy.loaded",
        "lease.issued",
        "credential.fetched",
        "lease.refused",
    ]
    assert entries[-1]["reason"] == "purpose_not_allowed"
    assert entries[3]["details"]["reference"].startswith("file://")
    gateway.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_revocation_is_in_force_at_once_and_after_a_restart(
    start: StartGateway, workers: int
) -> None:
    gateway = start(workers=workers)
    issued = gateway.control("lease.create", purpose="development", environment="local")
    other = gateway.lease()
    assert gateway.chat(issued["token"]).status_code == 200
    began = time.monotonic()
    confirmed = gateway.control("lease.revoke", kind="lease", value=issued["lease_id"])
    assert time.monotonic() - began < 1.0
    assert confirmed["workers"] == workers
    for _ in range(6):  # every connection is new, so that both workers are asked
        assert gateway.chat_anew(issued["token"]).status_code == 401
    assert gateway.chat(other).status_code == 200
    gateway.stop()
    again = start(workers=workers)
    assert again.chat(issued["token"]).status_code == 401
    assert again.chat(other).status_code == 200
    listed = again.control("lease.revocations")
    assert [(item["kind"], item["value"]) for item in listed] == [("lease", issued["lease_id"])]


def test_revoking_a_credential_can_be_lifted(start: StartGateway) -> None:
    gateway = start()
    lease = gateway.lease()
    gateway.control("lease.revoke", kind="credential", value="upstream")
    assert gateway.chat(lease).status_code in (401, 403, 503)
    assert gateway.control("lease.lift", credential="upstream")["lifted"]
    assert gateway.chat(lease).status_code == 200


def test_revoking_a_principal_and_all(start: StartGateway) -> None:
    gateway = start()
    robot = gateway.lease(principal="service_account:robot")
    mine = gateway.lease()
    gateway.control("lease.revoke", kind="principal", value="service_account:robot")
    assert gateway.chat(robot).status_code == 401
    assert gateway.chat(mine).status_code == 200
    gateway.control("lease.revoke", kind="all")
    assert gateway.chat(mine).status_code == 401
    time.sleep(0.01)
    assert gateway.chat(gateway.lease()).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_rotated_signing_keys(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers)
    before = gateway.lease()
    kid = gateway.control("status")["signing_key"]["kid"]
    rotated = gateway.control("lease.keys.rotate")
    assert rotated["kid"] != kid
    after = gateway.lease()
    for _ in range(4):
        assert gateway.chat_anew(before).status_code == 200
        assert gateway.chat_anew(after).status_code == 200
    jwks = httpx.get(f"{gateway.url}/.well-known/jwks.json").json()
    assert [key["kid"] for key in jwks["keys"]] == [rotated["kid"], kid]


def policy_is_past(gateway: RunningGateway, version: int) -> bool:
    past: bool = gateway.control("policy.status")["version"] > version
    return past


@pytest.mark.parametrize("workers", [1, 2])
def test_policy_is_reloaded_without_dropping_a_request(start: StartGateway, workers: int) -> None:
    gateway = start(workers=workers)
    lease = gateway.lease()
    stop = threading.Event()
    statuses: list[int] = []

    def call_on() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                answer = client.post(
                    f"{gateway.url}/v1/chat/completions",
                    json={"model": MODEL, "messages": [{"role": "user", "content": "x"}]},
                    headers={"authorization": f"Bearer {lease}"},
                )
                statuses.append(answer.status_code)

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_on) for _ in range(4)]
        versions: list[int] = []
        for number in range(4):
            gateway.files.write_policy(limits=f"tokens_per_minute = {10_000_000 + number}")
            if number == 1:
                gateway.process.send_signal(signal.SIGHUP)
            elif number > 1:
                gateway.control("policy.reload")
            wait_for(partial(policy_is_past, gateway, versions[-1] if versions else 1))
            versions.append(gateway.control("policy.status")["version"])
        stop.set()
        for caller in callers:
            caller.result()
    assert versions == sorted(set(versions))
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_a_broken_policy_leaves_the_old_one_in_force_and_says_so(start: StartGateway) -> None:
    gateway = start()
    lease = gateway.lease()
    good = gateway.files.policy_file.read_text()
    gateway.files.policy_file.write_text(good + "\n[[grant]]\nnam = 1\n")
    with pytest.raises(PolicyFileInvalid, match=r"keylease\.toml"):
        gateway.control("policy.reload")
    assert gateway.chat(lease).status_code == 200
    status = gateway.control("policy.status")
    assert status["version"] == 1
    assert "keylease.toml" in status["error"]
    assert "policy.refused" in [entry["action"] for entry in gateway.control("audit.list")]
    assert "policy_refused" in [line["event"] for line in gateway.log_lines()]
    gateway.files.policy_file.write_text(good)
    assert not gateway.control("policy.reload")["changed"]
    assert gateway.control("policy.status")["error"] == ""
    gateway.files.policy_file.unlink()
    with pytest.raises(PolicyFileInvalid):
        gateway.control("policy.reload")
    assert gateway.chat(lease).status_code == 200


def test_the_policy_version_survives_a_restart(start: StartGateway) -> None:
    gateway = start()
    gateway.files.write_policy(limits="requests_per_minute = 1000")
    gateway.control("policy.reload")
    gateway.stop()
    again = start(limits="requests_per_minute = 1000")
    assert again.control("policy.status")["version"] == 2
    again.stop()
    third = start()
    assert third.control("policy.status")["version"] == 3


def test_calls_are_listed_filtered_and_followed(start: StartGateway) -> None:
    gateway = start()
    lease = gateway.lease()
    robot = gateway.lease(principal="service_account:robot")
    seen: list[dict[str, Any]] = []
    following = ControlClient(gateway.files.data)

    def follow() -> None:
        for call in following.follow("calls.follow", principal="service_account:*"):
            seen.append(call)
            if len(seen) == 2:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    time.sleep(0.1)
    gateway.chat(lease)
    gateway.chat(robot)
    gateway.chat(lease, model="gpt-4o")
    gateway.chat(robot, model="gpt-4o")
    reader.join(timeout=5)
    following.close()
    assert [call["requested_model"] for call in seen] == [MODEL, "gpt-4o"]
    wait_for(lambda: len(gateway.control("calls.list")) == 4)
    listed = gateway.control("calls.list", model="gpt-4o", limit=10)
    assert len(listed) == 2
    assert len(gateway.control("calls.list", limit=1)) == 1
    assert len(gateway.control("calls.list", status="2xx")) == 4
    assert gateway.control("calls.list", status="failed") == []
    assert gateway.control("calls.list", since=int(time.time() * 1e6) + 10**7) == []
    with pytest.raises(RequestMalformed):
        gateway.control("calls.list", limit=0)
    with pytest.raises(RequestMalformed):
        gateway.control("calls.list", status="2x")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"[]\n",
        b'{"operation": 5}\n',
        b'{"operation": "status", "version": 9}\n',
        b'{"operation": "no.such"}\n',
        b'{"operation": "status", "extra": 1}\n',
        b'{"operation": "status", "arguments": {"a": 1}}\n',
        b'{"operation": "lease.create", "arguments": {"purpose": "fun", "environment": "x"}}\n',
        b'{"operation": "lease.create"}\n',
        b'{"operation": "lease.revoke", "arguments": {"kind": "lease", "value": "x"}}\n',
        b'{"operation": "lease.revoke", "arguments": {"kind": "all", "value": "x"}}\n',
        b'{"operation": "calls.follow", "arguments": {"status": "x"}}\n',
        b'{"operation": "\xff"}\n',
    ],
)
def test_a_bad_line_gets_one_clear_error(control_gateway: RunningGateway, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        with socket_name(Path(control_gateway.ready.control_socket)) as name:
            connection.connect(name)
        connection.settimeout(5)
        connection.sendall(line + b'{"operation": "policy.status"}\n')
        lines = connection.makefile("rb")
        error = json.loads(lines.readline())["error"]
        assert error["code"] == "request_malformed"
        assert error["message"]
        assert json.loads(lines.readline())["result"]["version"] == 1


@pytest.fixture(scope="module")
def control_gateway(
    provider: RunningSimulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    home = tmp_path_factory.mktemp("control")
    with running_gateway(home, upstream=provider.openai_url, key=fresh_key()) as gateway:
        yield gateway


def test_an_endless_line_is_refused(control_gateway: RunningGateway) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        with socket_name(Path(control_gateway.ready.control_socket)) as name:
            connection.connect(name)
        connection.settimeout(5)
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            connection.sendall(b"x" * 8 * 1024 * 1024)
    assert control_gateway.control("policy.status")["version"] == 1


def test_the_control_socket_is_private(control_gateway: RunningGateway) -> None:
    mode = Path(control_gateway.ready.control_socket).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE((control_gateway.files.data / "strongroom").stat().st_mode) == 0o700


def test_nobody_is_running() -> None:
    with pytest.raises(GatewayNotRunning, match="No gateway"):
        ControlClient(Path("/nonexistent"))


def test_leases_of_others_need_a_grant(control_gateway: RunningGateway) -> None:
    with pytest.raises(AccessDenied, match="No grant names"):
        control_gateway.lease(principal="workload:elsewhere")


def test_a_dead_store_never_unreadies_the_gateway(start: StartGateway) -> None:
    gateway = start()
    gateway.files.key_file.unlink()
    lease = gateway.lease()
    failed = gateway.chat(lease)
    assert failed.status_code == 503
    ready = httpx.get(f"{gateway.url}/readyz")
    assert ready.status_code == 200
    assert ready.json()["credentials"]["upstream"]["state"] == "failed"
    (checked,) = gateway.control("credentials.check")
    assert not checked["available"]
    assert checked["error"]["code"] == "secret_not_found"
    assert gateway.control("audit.list")[-1]["action"] == "credential.fetch_failed"
    gateway.files.write_key(fresh_key())
    wait_for(lambda: gateway.control("credentials.check")[0]["available"])
    assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_a_key_file_that_changes_is_read_again(
    start: StartGateway, provider: RunningSimulator, key: bytes
) -> None:
    gateway = start()
    lease = gateway.lease()
    assert gateway.chat(lease).status_code == 200
    first = provider.requests[-1].key_id
    new = fresh_key()
    provider.accept_key(new)
    gateway.files.write_key(new)

    def uses_new_key() -> bool:
        assert gateway.chat(lease).status_code == 200
        return provider.requests[-1].key_id != first

    wait_for(uses_new_key, seconds=5)
    assert key != new


def test_metrics_count_calls_and_tokens(start: StartGateway) -> None:
    gateway = start()
    lease = gateway.lease()
    for _ in range(3):
        gateway.chat(lease)

    def counted() -> str:
        text = gateway.client.get(gateway.ready.metrics_url).text
        return text if f'model="{MODEL}",status="200"}} 3' in text else ""

    text = wait_for(counted)
    assert "keylease_call_duration_seconds_count" in text
    assert 'keylease_tokens_total{provider="openai-compatible"' in text
    assert "keylease_policy_version 1" in text
    assert 'keylease_credential_available{credential="upstream"} 1' in text
    assert gateway.client.get(f"{gateway.ready.metrics_url}/other").status_code == 404


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("audit.list", {"limit": -5}),
        ("audit.list", {"limit": 10**18}),
        ("calls.list", {"limit": 10**30}),
        ("lease.create", {"purpose": "development", "environment": "local", "project": "\x1b[31m"}),
        ("lease.create", {"purpose": "development", "environment": "local", "project": "p" * 9999}),
        (
            "lease.create",
            {
                "purpose": "development",
                "environment": "local",
                "models": [f"{number:03}" + "m" * 250 for number in range(60)],
            },
        ),
    ],
    ids=["negative", "endless", "absurd", "escape", "long-project", "long-lease"],
)
def test_what_cannot_be_meant_is_refused(
    start: StartGateway, operation: str, arguments: dict[str, object]
) -> None:
    gateway = start()
    with pytest.raises(RequestMalformed):
        gateway.control(operation, **arguments)
    assert not any("defect" in line["event"] for line in gateway.log_lines())


def test_deep_nesting_is_no_defect(start: StartGateway) -> None:
    gateway = start()
    nested = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    with (
        socket.socket(socket.AF_UNIX) as client,
        socket_name(gateway.files.data / "strongroom" / "control.sock") as name,
    ):
        client.connect(name)
        client.sendall(b'{"version":1,"operation":"status","arguments":' + nested + b"}\n")
        assert b'"request_malformed"' in client.recv(65536)
    assert not any("defect" in line["event"] for line in gateway.log_lines())


def test_workers_inherit_what_they_are_handed_and_nothing_else(start: StartGateway) -> None:
    gateway = start(workers=2)
    for pid in gateway.worker_pids:
        process = Path(f"/proc/{pid}")
        # A process closes what it opened itself when it becomes another program (O_CLOEXEC).
        inherited = {
            str(descriptor.readlink())
            for descriptor in (process / "fd").iterdir()
            if not flags_of(process / "fdinfo" / descriptor.name) & os.O_CLOEXEC
        }
        standard = {str((process / "fd" / str(number)).readlink()) for number in range(3)}
        handed = inherited - standard
        assert len(handed) == 2, handed
        assert all(name.startswith("socket:") for name in handed), "the listener and the channel"


def flags_of(information: Path) -> int:
    return int(information.read_text().partition("flags:")[2].split()[0], 8)


def test_nobody_fills_the_audit_by_asking_for_leases(start: StartGateway) -> None:
    gateway = start()
    answers = [
        gateway.client.post(
            f"{gateway.url}/oauth/token",
            content=b"x=1",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        for _ in range(200)
    ]
    assert {answer.status_code for answer in answers} == {400, 429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert gateway.control("status")["audit"]["next_sequence"] < 40
    gateway.stop()
    again = start()
    counted = [e for e in again.control("audit.list") if e["action"] == "lease.refusals_counted"]
    assert [int(entry["details"]["limited"]) for entry in counted] == [
        sum(answer.status_code == 429 for answer in answers)
    ]
