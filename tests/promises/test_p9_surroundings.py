"""P9: it fails closed and says so. Here: files, ports, issuers, providers and disks that fail."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.failing_gateway import (
    GRANT,
    binding,
    chat,
    code_of,
    credential,
    refused_start,
)
from tests.support.hostile_upstream import hostile_upstream
from tests.support.issuer_thread import exchange, issuer_thread
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key
from tests.support.supervised import wait_until

from keylease.errors import KeyleaseError, PolicyFileInvalid, StorageError, StorageFull

linux_root = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="mounts a file system"
)


# --- configuration -----------------------------------------------------------------------------


def test_a_broken_policy_stops_the_start_with_its_line(tmp_path: Path) -> None:
    refused = refused_start(tmp_path, policy_toml="version = 1\n\n[[grnt]]\nname = 'x'\n")
    assert refused.status == 64
    assert "keylease.toml:3" in refused.stderr
    assert "grant" in refused.stderr, "and says what was perhaps meant"


BROKEN = {
    "no TOML": "version = 1\n[[credential\n",
    "a typo": "version = 1\n[[credentail]]\nname = 'x'\n",
    "an unknown provider": (
        'version = 1\n[[credential]]\nname = "x"\nprovider = "opnai"\n'
        'reference = "sealed://x"\npurposes = ["development"]\n'
    ),
    "an unknown store": (
        'version = 1\n[[credential]]\nname = "x"\nprovider = "openai"\n'
        'reference = "valt://x"\npurposes = ["development"]\n'
    ),
    "a key in the place of a reference": (
        'version = 1\n[[credential]]\nname = "x"\nprovider = "openai"\n'
        'reference = "sk-proj-{key}"\npurposes = ["development"]\n'
    ),
    "nothing": "",
    "a newer version": "version = 2\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_policy_at_a_reload_leaves_the_old_one_in_force(
    simple: RunningGateway, broken: str
) -> None:
    key = fresh_key("").decode()
    good = simple.policy_file.read_text()
    lease = simple.lease()
    before = simple.control("policy.status")
    try:
        simple.policy_file.write_text(broken.replace("{key}", key))
        with pytest.raises(PolicyFileInvalid) as refused:
            simple.control("policy.reload")
        assert refused.value.code == "policy_file_invalid"
        status = simple.control("policy.status")
        assert status["version"] == before["version"]
        assert status["error"]
        assert key not in status["error"] + str(refused.value) + simple.stderr()
        assert chat(simple, lease, "good").status_code == 200, "calls go on under the old one"
    finally:
        simple.policy_file.write_text(good)
        simple.control("policy.reload")
    assert simple.control("policy.status")["error"] == ""


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    nobody_there = f"http://127.0.0.1:{free_port()}"
    with (
        hostile_upstream() as upstream,
        running_gateway(
            tmp_path_factory.mktemp("simple"),
            gateway_toml=binding("env://KEY", upstream.url) + binding("env://KEY", nobody_there),
            policy_toml="version = 1\n"
            + GRANT
            + credential("good", "env://KEY", upstream.url)
            + credential("unreachable", "env://KEY", nobody_there)
            + credential("absent", "env://KEY", upstream.url).replace("env://KEY", "env://ABSENT"),
            environment={"KEY": fresh_key().decode()},
        ) as gateway,
    ):
        yield gateway


# --- surroundings ------------------------------------------------------------------------------


def test_a_provider_that_is_not_there(simple: RunningGateway) -> None:
    lease = simple.lease()
    answer = chat(simple, lease, "unreachable")
    assert (answer.status_code, code_of(answer)) == (502, "upstream_unreachable")
    assert chat(simple, lease, "good").status_code == 200


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("absent", 403, "binding_missing"), ("no-such-model", 403, "model_not_allowed")],
)
def test_there_is_no_default_credential(
    simple: RunningGateway, model: str, status: int, code: str
) -> None:
    answer = chat(simple, simple.lease(), model)
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_an_error_has_the_shape_of_the_surface_that_was_called(simple: RunningGateway) -> None:
    """Anthropic's SDK raises its own types for these, as OpenAI's does for the others."""
    answer = httpx.post(
        f"{simple.url}/v1/messages",
        json={"model": "good", "max_tokens": 5, "messages": []},
        headers={"x-api-key": simple.lease(), "anthropic-version": "2023-06-01"},
        trust_env=False,
    )
    document = answer.json()
    assert answer.status_code == 403
    assert document["type"] == "error"
    assert document["error"]["type"] == "permission_error"
    assert answer.headers["x-keylease-error"] == "model_not_allowed"


def test_an_issuer_that_is_down_issues_nothing(tmp_path: Path) -> None:
    with issuer_thread() as issuer:
        token, url = issuer.token(), issuer.url
    with running_gateway(
        tmp_path,
        gateway_toml=f'[[trusted_issuer]]\nissuer = "{url}"\nallow_private_address = true\n',
        policy_toml=f"""
version = 1
{GRANT}
[[trust]]
name = "jobs"
issuer = "{url}"
audience = "keylease"
principal = "workload:job"
purposes = ["development"]
environments = ["local"]
models = ["*"]
[trust.claims]
sub = "job"
""",
    ) as gateway:
        answer = exchange(gateway.url, token)
        assert answer.status_code == 503
        assert answer.json()["error"] == "temporarily_unavailable"
        assert answer.json()["code"] == "issuer_unavailable"
        assert "retry-after" in answer.headers
        assert "access_token" not in answer.json()
        forged = f"{token.rpartition('.')[0]}.{'A' * 86}"
        assert "access_token" not in exchange(gateway.url, forged).json()


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f'version = 1\n[gateway]\nlisten = "127.0.0.1:{port}"\nmetrics = false\n'
        refused = refused_start(tmp_path, gateway_toml=text)
    assert refused.status == 75
    assert str(port) in refused.stderr


def test_a_data_directory_in_use(simple: RunningGateway) -> None:
    refused = refused_start(simple.data_dir.parent)
    assert refused.status == 75
    assert f"process {simple.pid}" in refused.stderr
    assert httpx.get(f"{simple.url}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize(("content", "status"), [("2\n", 65), ("999\n", 65), ("new\n", 1)])
def test_a_data_directory_of_a_newer_version_is_left_alone(
    tmp_path: Path, content: str, status: int
) -> None:
    with running_gateway(tmp_path):
        pass
    data = tmp_path / "data"
    (data / "format").write_text(content)
    before = contents_of(data)
    assert refused_start(tmp_path).status == status
    assert contents_of(data) == before


def contents_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("name", ["audit", "calls", "ledger", "objects"])
def test_a_file_in_the_place_of_a_directory_stops_the_start(tmp_path: Path, name: str) -> None:
    """What cannot be recorded does not happen, from the first call on."""
    (tmp_path / "data" / "strongroom").mkdir(mode=0o700, parents=True)
    (tmp_path / "data").chmod(0o700)
    (tmp_path / "data" / "strongroom" / name).write_text("in the way")
    assert refused_start(tmp_path).status not in {0, None}


# --- a full disk -------------------------------------------------------------------------------


class Disk:
    """A small file system of its own under the data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "keylease-test", str(data)],  # noqa: S607 - the system's own
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        yield Disk(data)
    finally:
        subprocess.run(["umount", str(data)], check=True)  # noqa: S607 - as above


def repeat(act: Callable[[], object]) -> None:
    for _ in range(100):
        act()


@linux_root
def test_on_a_full_disk_nothing_happens_that_cannot_be_written_down(
    tmp_path: Path, disk: Disk
) -> None:
    with (
        issuer_thread() as issuer,
        hostile_upstream() as upstream,
        running_gateway(
            tmp_path,
            gateway_toml=f"""
[[trusted_issuer]]
issuer = "{issuer.url}"
allow_private_address = true
{binding("env://*", upstream.url)}
""",
            policy_toml=f"""
version = 1
{GRANT}
{credential("used", "env://USED", upstream.url)}
{credential("fresh", "env://FRESH", upstream.url)}
[[trust]]
name = "jobs"
issuer = "{issuer.url}"
audience = "keylease"
principal = "workload:job"
purposes = ["development"]
environments = ["local"]
models = ["*"]
[trust.claims]
sub = "job"
""",
            environment={"USED": fresh_key().decode(), "FRESH": fresh_key().decode()},
        ) as gateway,
    ):
        lease = gateway.lease()
        assert chat(gateway, lease, "used").status_code == 200
        made = gateway.control("lease.create", purpose="development", environment="local")
        disk.fill()
        # 1. No lease without its audit entry. (The last page of a file takes a few more.)
        with pytest.raises(StorageFull):
            repeat(gateway.lease)
        answer = exchange(gateway.url, issuer.token())
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert "access_token" not in answer.json()
        # 2. No key is fetched without its audit entry, and none is used.
        count = len(upstream.received)
        answer = chat(gateway, lease, "fresh")
        assert answer.status_code == 503
        assert code_of(answer) in {"storage_full", "calls_not_accepted"}
        assert len(upstream.received) == count
        # 3. No call without its record, as soon as the disk is known to be full.
        wait_until(lambda: chat(gateway, lease, "used").status_code == 503)
        assert code_of(chat(gateway, lease, "used")) == "calls_not_accepted"
        # 4. What cannot be kept is not claimed.
        with pytest.raises(StorageError):
            repeat(lambda: gateway.control("lease.revoke", kind="lease", value=str(uuid.uuid4())))
        good = gateway.policy_file.read_text()
        gateway.policy_file.write_text(good.replace('name = "all"', 'name = "everybody"'))
        with pytest.raises(KeyleaseError):
            gateway.control("policy.reload")
        gateway.policy_file.write_text(good)
        # 5. It passes by itself.
        disk.free()
        wait_until(lambda: chat(gateway, lease, "used").status_code == 200)
        wait_until(lambda: chat(gateway, lease, "fresh").status_code == 200)
        gateway.lease()
        gateway.control("lease.revoke", kind="lease", value=made["lease_id"])
        assert chat(gateway, made["token"], "used").status_code == 401
        sequence = [entry["sequence"] for entry in gateway.control("audit.list", limit=10_000)]
        assert sequence == list(range(1, len(sequence) + 1)), "no gap"


@linux_root
def test_a_gateway_does_not_start_on_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    with running_gateway(tmp_path):
        pass
    disk.fill()
    refused = refused_start(tmp_path)
    assert refused.status not in {0, None}
    disk.free()
    with running_gateway(tmp_path) as gateway:
        assert httpx.get(f"{gateway.url}/healthz", trust_env=False).status_code == 200
