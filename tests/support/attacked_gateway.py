"""A real gateway between callers and a provider, each of which may be hostile.

Import the fixtures ``attacked`` and ``running_attacked``.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.support.hostile_upstream import (
    HostileUpstream,
    chat_answer,
    hostile_upstream,
    json_answer,
)
from tests.support.running_gateway import RunningGateway, running_gateway

__all__ = ["Attacked", "attacked", "running_attacked"]

SECONDS = 10


class Attacked(NamedTuple):
    gateway: RunningGateway
    bound: HostileUpstream
    trap: HostileUpstream
    key: bytes

    @property
    def port(self) -> int:
        return int(self.gateway.url.rpartition(":")[2])

    def raw(self, data: bytes) -> bytes:
        """Send bytes; everything that comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    received += piece
            return received

    def request(
        self,
        *fields: bytes,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        body: dict[str, object] | bytes | None = None,
        lease: str | None = None,
        host: bytes = b"gateway.example",
    ) -> bytes:
        """One request on a connection of its own, written by hand; the raw answer."""
        document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
        content = body if isinstance(body, bytes) else json.dumps({**document, **(body or {})})
        data = content if isinstance(content, bytes) else content.encode()
        token = self.gateway.lease() if lease is None else lease
        lines = [
            f"{method} {path} HTTP/1.1".encode(),
            b"host: " + host,
            b"authorization: Bearer " + token.encode(),
            b"connection: close",
            *fields,
        ]
        if method == "POST":
            lines += [b"content-type: application/json", b"content-length: %d" % len(data)]
        else:
            data = b""
        return self.raw(b"\r\n".join(lines) + b"\r\n\r\n" + data)


@pytest.fixture(scope="module")
def running_attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("p2")
    # All in lower case: header names lose their case on the way.
    key = f"sk-test-{secrets.token_hex(20)}".encode()
    with hostile_upstream() as bound, hostile_upstream() as trap:
        credentials = "".join(
            f"""
[[credential]]
name = "{name}"
provider = "{provider}"
upstream = "{bound.url}{path}"
reference = "env://KEY"
purposes = ["development"]
environment = "local"
[[route]]
name = "{name}"
models = ["{models}"]
targets = [{{ credential = "{name}" }}]
"""
            for name, provider, path, models in (
                ("claude", "anthropic-compatible", "", "claude-*"),
                ("openai", "openai-compatible", "/v1", "*"),
            )
        )
        bindings = "".join(
            f"""
[[binding]]
reference = "env://KEY"
provider = "{provider}"
hosts = ["{bound.url}"]
purposes = ["development"]
"""
            for provider in ("openai-compatible", "anthropic-compatible")
        )
        with running_gateway(
            directory,
            gateway_toml=bindings,
            policy_toml=f"""
version = 1
{credentials}
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
environments = ["*"]
""",
            environment={"KEY": key.decode()},
        ) as gateway:
            yield Attacked(gateway, bound, trap, key)


@pytest.fixture
def attacked(running_attacked: Attacked) -> Iterator[Attacked]:
    """After each attack: the trap is empty, and what the provider got is a request of ours."""
    running_attacked.bound.received.clear()
    running_attacked.bound.answer = lambda _: [json_answer(chat_answer())]
    yield running_attacked
    assert running_attacked.trap.connections == 0
    for received in running_attacked.bound.received:
        assert received.key == running_attacked.key
        assert received.field("host") == f"127.0.0.1:{running_attacked.bound.port}"
        assert b"kll_" not in received.head, "no lease goes to a provider"
    running_attacked.bound.received.clear()
    running_attacked.bound.answer = lambda _: [json_answer(chat_answer())]
    assert b"200 OK" in running_attacked.request(), "it still works"
