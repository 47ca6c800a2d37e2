"""`keylease lease`, `calls` and `gateway` against a real gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.gateway_kit import GatewayFiles, RunningGateway, running_gateway
from tests.support.ports import free_port
from tests.support.simulated_provider import RunningSimulator, fresh_key

from keylease.sdk.control import ControlClient


@pytest.fixture(scope="module")
def gateway(
    provider: RunningSimulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    home = tmp_path_factory.mktemp("cli")
    secret = fresh_key()
    provider.accept_key(secret)
    with running_gateway(home, upstream=provider.openai_url, key=secret) as running:
        yield running


def keylease(*arguments: str, files: GatewayFiles) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "keylease.cli.main", *arguments,
            "--data-dir", str(files.data), "--config-dir", str(files.config),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip


def test_a_lease_goes_to_stdout_and_talk_to_stderr(gateway: RunningGateway) -> None:
    done = keylease("lease", "create", "--model", "gpt-*", "--ttl", "5m", files=gateway.files)
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    assert token.startswith("kll_")
    assert "user:" in done.stderr
    assert "kll_" not in done.stderr
    assert gateway.chat(token).status_code == 200
    quiet = keylease("lease", "create", "--quiet", files=gateway.files)
    assert quiet.stderr == ""
    assert quiet.stdout.startswith("kll_")


def test_a_lease_is_asked_for_by_its_options(gateway: RunningGateway) -> None:
    done = keylease(
        "lease", "create", "--purpose", "eval", "--environment", "local", "--model", "gpt-4o",
        "--ttl", "1h", "--as", "service_account:nightly", "--json", files=gateway.files,
    )  # fmt: skip
    lease = json.loads(done.stdout)
    assert lease["principal"] == "service_account:nightly"
    assert lease["models"] == ["gpt-4o"]
    assert lease["note"]
    assert gateway.chat(lease["token"], model="gpt-4o-mini").status_code in (403, 404)
    revoked = keylease("lease", "revoke", "lease", lease["lease_id"], files=gateway.files)
    assert "In force in 1 worker" in revoked.stderr
    assert gateway.chat(lease["token"], model="gpt-4o").status_code == 401
    listed = keylease("lease", "list-revocations", "--json", files=gateway.files)
    assert lease["lease_id"] in [item["value"] for item in json.loads(listed.stdout)]
    assert lease["lease_id"] in keylease("lease", "list-revocations", files=gateway.files).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("lease", "create", "--purpose", "production"), 1, "No grant of user:"),
        (("lease", "create", "--purpose", "fun"), 2, "fun"),
        (("lease", "create", "--ttl", "soon"), 64, "no length of time"),
        (("lease", "create", "--as", "nobody"), 1, "kind:name"),
        (("lease", "revoke", "lease"), 64, "needs to know which"),
        (("lease", "revoke", "lease", "x"), 1, "no UUID"),
        (("lease", "revoke", "credential", "x"), 1, "no such credential"),
        (("calls", "--since", "yesterday"), 64, "is no time"),
        (("calls", "--since", "2026-11-30T08:00"), 64, "no time zone"),
        (("calls", "--status", "teapot"), 1, "is none"),
    ],
)
def test_mistakes_get_one_clear_error(
    gateway: RunningGateway, arguments: tuple[str, ...], status: int, says: str
) -> None:
    done = keylease(*arguments, files=gateway.files)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_nothing_is_running(tmp_path: Path, gateway: RunningGateway) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keylease.cli.main", "calls", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert "hint: Start it with `keylease up`" in done.stderr
    assert gateway.process.poll() is None


def test_calls_are_shown_as_a_table_and_as_lines(gateway: RunningGateway) -> None:
    lease = gateway.lease()
    gateway.chat(lease)
    time.sleep(0.2)
    table = keylease("calls", "--limit", "5", files=gateway.files)
    assert table.stdout.splitlines()[0].startswith("TIME")
    assert "gpt-4o-mini" in table.stdout
    lines = keylease("calls", "--json", "--since", "1h", "--status", "ok", files=gateway.files)
    assert all(json.loads(line)["status"] == 200 for line in lines.stdout.splitlines())
    nothing = keylease("calls", "--model", "no-such-*", files=gateway.files)
    assert nothing.stdout == ""
    assert "No call matches." in nothing.stderr


def test_calls_are_followed(gateway: RunningGateway) -> None:
    lease = gateway.lease(principal="service_account:followed")
    with subprocess.Popen(
        [
            sys.executable, "-m", "keylease.cli.main", "calls", "--follow", "--json",
            "--principal", "service_account:followed", "--data-dir", str(gateway.files.data),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as following:  # fmt: skip
        assert following.stdout is not None
        time.sleep(1.0)
        gateway.chat(lease)
        assert json.loads(following.stdout.readline())["principal"] == "service_account:followed"
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=10) == 130


def test_the_policy_in_force_and_why_the_file_is_not(gateway: RunningGateway) -> None:
    policy = gateway.files.config / "keylease.toml"
    good = policy.read_text()
    try:
        said = keylease("policy", "status", files=gateway.files)
        assert "is in force at this gateway: version " in said.stdout, said.stderr
        assert "refused" not in said.stdout
        policy.write_text(good + "\n[[grnt]]\n")
        assert keylease("policy", "reload", files=gateway.files).returncode == 64
        said = keylease("policy", "status", files=gateway.files)
        assert said.returncode == 0
        assert "is in force at this gateway: version " in said.stdout
        assert "What is there now is refused since" in said.stdout
        assert "grnt" in said.stdout
        shown = json.loads(keylease("policy", "status", "--json", files=gateway.files).stdout)
        assert shown["gateway"]["error"]
    finally:
        policy.write_text(good)
        keylease("policy", "reload", files=gateway.files)


def test_signing_keys_are_rotated(gateway: RunningGateway) -> None:
    lease = gateway.lease()
    done = keylease("lease", "keys", "rotate", "--json", files=gateway.files)
    assert json.loads(done.stdout)["kid"] == gateway.control("status")["signing_key"]["kid"]
    assert gateway.chat(lease).status_code == 200


def test_a_credential_is_stopped_and_used_again(gateway: RunningGateway) -> None:
    lease = gateway.lease()
    assert (
        keylease("lease", "revoke", "credential", "upstream", files=gateway.files).returncode == 0
    )
    assert gateway.chat(lease).status_code != 200
    assert "is used again" in keylease("lease", "lift", "upstream", files=gateway.files).stderr
    assert gateway.chat(lease).status_code == 200


@pytest.mark.parametrize(
    ("log_format", "beginning"),
    [("json", lambda line: json.loads(line)["event"]), ("text", lambda line: line.split()[2])],
)
def test_the_gateway_runs_alone_in_the_foreground(
    files: GatewayFiles, log_format: str, beginning: Callable[[str], str]
) -> None:
    port = free_port()
    with subprocess.Popen(
        [
            sys.executable, "-m", "keylease.cli.main", "gateway", "--port", str(port),
            "--data-dir", str(files.data), "--config-dir", str(files.config),
        ],
        env={**os.environ, "KEYLEASE_LOG_FORMAT": log_format},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        assert beginning(line) == "gateway_ready"
        with ControlClient(files.data) as control:
            assert control.call("status")["pid"] == process.pid
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_gateway_that_does_not_run_has_no_policy_in_force(files: GatewayFiles) -> None:
    done = keylease("policy", "status", files=files)
    assert done.returncode == 69
    assert "No gateway is running" in done.stderr


def test_a_gateway_without_files_says_what_to_do(tmp_path: Path) -> None:
    done = keylease("gateway", files=GatewayFilesNowhere(tmp_path))
    assert done.returncode == 64
    assert "keylease up" in done.stderr


class GatewayFilesNowhere(GatewayFiles):
    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        self.config = home / "config"
