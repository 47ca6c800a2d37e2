"""A real gateway with two workers that gives leases, for the tests of promise P3.

Import the fixtures ``connections``, ``gateway``, ``issuer`` and ``simulator``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.issuer_thread import IssuerThread, issuer_thread
from tests.support.kept_connections import (
    KeptConnection,
    Said,
    connections_to_each,
)
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import RunningSimulator, fresh_key, running_simulator

__all__ = [
    "ALL_GOOD",
    "MODEL",
    "REVOKED",
    "claims_of",
    "connections",
    "environment",
    "gateway",
    "gateway_toml",
    "issuer",
    "policy_toml",
    "port_of",
    "simulator",
]

MODEL = "gpt-4o-mini"
ALL_GOOD = Said(200, "")
REVOKED = Said(401, "lease_revoked")


def gateway_toml(simulator: RunningSimulator, issuer: str, *, group: str = "local") -> str:
    return f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
workers = 2
group = "{group}"
[[trusted_issuer]]
issuer = "{issuer}"
allow_private_address = true
[[binding]]
reference = "env://*"
provider = "openai-compatible"
hosts = ["{simulator.openai_url.removesuffix("/v1")}"]
purposes = ["development", "eval", "production"]
"""


def policy_toml(simulator: RunningSimulator, issuer: str) -> str:
    credentials = "".join(
        f"""
[[credential]]
name = "{name}"
provider = "openai-compatible"
upstream = "{simulator.openai_url}"
reference = "env://{variable}"
purposes = ["{purpose}"]
environment = "local"
[[route]]
name = "{name}"
models = ["{model}"]
targets = [{{ credential = "{name}", model = "{MODEL}" }}]
"""
        for name, variable, purpose, model in (
            ("development", "KEY_DEV", "development", MODEL),
            ("second", "KEY_SECOND", "development", "gpt-second"),
            ("evals", "KEY_EVAL", "eval", "gpt-evals"),
        )
    )
    return f"""
version = 1
{credentials}
[[grant]]
name = "everybody"
principals = ["user:*", "workload:*"]
models = ["gpt-*"]
purposes = ["development", "eval"]
environments = ["*"]
maximum_lease = "24h"
[[grant]]
name = "few"
principals = ["service_account:few"]
models = ["*"]
purposes = ["development"]
environments = ["local"]
requests_per_minute = 5
[[trust]]
name = "jobs"
issuer = "{issuer}"
audience = "keylease"
principal = "workload:job"
purposes = ["development"]
environments = ["local"]
models = ["gpt-*"]
maximum_lease = "24h"
subject_once = true
[trust.claims]
sub = "job"
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerThread]:
    with issuer_thread() as running:
        yield running


def environment(simulator: RunningSimulator) -> dict[str, str]:
    values = {name: fresh_key() for name in ("KEY_DEV", "KEY_SECOND", "KEY_EVAL")}
    for secret in values.values():
        simulator.accept_key(secret)
    return {name: secret.decode() for name, secret in values.items()}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: RunningSimulator, issuer: IssuerThread
) -> Iterator[RunningGateway]:
    with running_gateway(
        tmp_path_factory.mktemp("p3"),
        gateway_toml=gateway_toml(simulator, issuer.url),
        policy_toml=policy_toml(simulator, issuer.url),
        environment=environment(simulator),
    ) as running:
        yield running


def port_of(gateway: RunningGateway) -> int:
    port = urlsplit(gateway.url).port
    assert port is not None
    return port


@pytest.fixture
def connections(gateway: RunningGateway) -> Iterator[list[KeptConnection]]:
    """Connections that both workers serve."""
    with connections_to_each(gateway.workers, port_of(gateway), lease=gateway.lease()) as opened:
        yield opened


def claims_of(lease: str) -> dict[str, Any]:
    payload = lease.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
    return claims
