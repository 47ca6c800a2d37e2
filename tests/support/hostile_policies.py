"""A real gateway with an honest gateway.toml, which gets one hostile policy after another.

Import the fixtures ``attacked`` and ``nothing_leaked``; the latter looks after each attack.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.support.hostile_upstream import HostileUpstream, hostile_upstream
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key

from keylease.errors import PolicyFileInvalid

__all__ = [
    "Attacked",
    "Secrets",
    "attacked",
    "gateway_toml",
    "nothing_leaked",
]


class Secrets(NamedTuple):
    """Which key may go where."""

    good: bytes
    production: bytes
    staging: bytes
    outside: bytes
    recorded: bytes
    unbound: bytes


class Attacked(NamedTuple):
    gateway: RunningGateway
    bound: HostileUpstream
    """Where keys for development may go."""
    trap: HostileUpstream
    """Where nothing may go."""
    keys: Path
    secrets: Secrets

    def policy(self, credential: str = "", more: str = "") -> str:
        return f"""
version = 1
[[credential]]
name = "good"
provider = "openai-compatible"
upstream = "{self.bound.url}/v1"
reference = "file://{self.keys}/good"
purposes = ["development"]
environment = "local"
{credential and f'[[credential]]{chr(10)}name = "evil"{chr(10)}{credential}'}
[[route]]
name = "good"
models = ["good"]
targets = [{{ credential = "good" }}]
{credential and EVIL_ROUTE}
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development", "eval", "production"]
environments = ["*"]
{more}
"""

    def put(self, text: str) -> None:
        draft = self.gateway.config_dir / ".draft"
        draft.write_text(text)
        draft.chmod(0o600)
        draft.rename(self.gateway.policy_file)

    def reload(self, text: str) -> bool:
        """Whether the policy was taken; the one in force stays when it was not."""
        self.put(text)
        before = self.gateway.control("policy.status")["version"]
        try:
            self.gateway.control("policy.reload")
        except PolicyFileInvalid:
            assert self.gateway.control("policy.status")["version"] == before
            return False
        return True

    def call(self, model: str = "evil", **wish: str) -> tuple[int, str]:
        """On both surfaces; gives the answer of the one that fits better."""
        lease = self.gateway.lease(**wish)
        answers = []
        for path, fields in (
            ("/v1/chat/completions", {"authorization": f"Bearer {lease}"}),
            ("/v1/messages", {"x-api-key": lease, "anthropic-version": "2023-06-01"}),
        ):
            body = {
                "model": model,
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "Hello"}],
            }
            answer = httpx.post(
                self.gateway.url + path, json=body, headers=fields, trust_env=False, timeout=30
            )
            code = answer.headers.get("x-keylease-error", "")
            answers.append((answer.status_code, code))
        return max(answers, key=lambda said: (said[0] == 200, said[1] != "model_not_allowed"))


EVIL_ROUTE = """
[[route]]
name = "evil"
models = ["*"]
targets = [{ credential = "evil" }]
"""


def gateway_toml(bound: str, keys: Path) -> str:
    """What the owner wrote: careful about files, careless about the sealed store."""
    return f"""
[stores]
file_directories = ["{keys}"]
timeout = "1s"
[[binding]]
reference = "file://{keys}/*"
provider = "openai-compatible"
hosts = ["{bound}"]
purposes = ["development"]
environments = ["local"]
[[binding]]
reference = "file://{keys}/production/*"
provider = "openai-compatible"
hosts = ["{bound}"]
purposes = ["production"]
[[binding]]
reference = "file://{keys}/staging/*"
provider = "openai-compatible"
hosts = ["{bound}"]
purposes = ["development"]
environments = ["staging"]
[[binding]]
reference = "sealed://**"
provider = "openai-compatible"
hosts = ["{bound}", "{bound.replace("127.0.0.1", "localhost")}"]
purposes = ["development"]
[[binding]]
reference = "env://BOUND"
provider = "openai"
purposes = ["development"]
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("p2")
    keys = directory / "keys"
    values = Secrets(*(fresh_key() for _ in Secrets._fields))
    for place, value in (
        ("keys/good", values.good),
        ("keys/production/key", values.production),
        ("keys/staging/key", values.staging),
        ("outside/key", values.outside),
    ):
        path = directory / place
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(value)
        path.chmod(0o600)
    (keys / "link").symlink_to(directory / "outside" / "key")
    (keys / "linked").symlink_to(directory / "outside")
    with hostile_upstream() as bound, hostile_upstream() as trap:
        write_gateway_file(directory, gateway_toml(bound.url, keys))
        put(directory, "recorded", values.recorded, "--provider=anthropic")
        put(directory, "for-here", values.good, "--provider=openai-compatible", "--host=127.0.0.1")
        with running_gateway(
            directory,
            gateway_toml=gateway_toml(bound.url, keys),
            policy_toml="version = 1\n",
            environment={"BOUND": fresh_key().decode(), "UNBOUND": values.unbound.decode()},
        ) as gateway:
            yield Attacked(gateway, bound, trap, keys, values)


def write_gateway_file(directory: Path, text: str) -> None:
    config = directory / "config"
    config.mkdir(mode=0o700)
    (config / "gateway.toml").write_text(f"version = 1\n{text}")


def put(directory: Path, name: str, secret: bytes, *options: str) -> None:
    """Seal a secret as its owner does, and record what it is for."""
    subprocess.run(
        [sys.executable, "-m", "keylease", "secret", "put", name, *options,
         "--data-dir", str(directory / "data"), "--config-dir", str(directory / "config")],
        input=secret,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        check=True,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_leaked(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each attack: the trap is empty, and the bound host saw the one key that is its own."""
    yield
    if "attacked" not in request.fixturenames:
        return
    attacked: Attacked = request.getfixturevalue("attacked")
    assert attacked.trap.connections == 0
    for received in attacked.bound.received:
        everything = received.head + received.body
        for name, value in attacked.secrets._asdict().items():
            assert value not in everything or name == "good", name
        assert b"root:" not in everything
        assert b'"keys"' not in everything
    # And it still works for honest policies.
    assert attacked.reload(attacked.policy())
    assert attacked.call("good") == (200, "")
    attacked.bound.received.clear()
