"""Connections that stay open, served by the worker processes that a test chooses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Said(NamedTuple):
    """What the gateway answered."""

    status: int
    code: str
    """Our stable code, or empty."""


class KeptConnection:
    """One connection; it is never opened again by itself."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        self._connection.auto_open = 0
        self._connection.connect()

    def models(self, lease: str, **headers: str) -> Said:
        """GET /v1/models: asks no provider."""
        return self.request("GET", "/v1/models", lease, None, headers)

    def chat(self, lease: str, model: str = "gpt-4o-mini") -> Said:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        return self.request("POST", "/v1/chat/completions", lease, body, {})

    def request(
        self, method: str, path: str, lease: str, body: object, headers: dict[str, str]
    ) -> Said:
        fields = {"Authorization": f"Bearer {lease}", **headers}
        if body is not None:
            fields["Content-Type"] = "application/json"
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, path, body=data, headers=fields)
        answer = self._connection.getresponse()
        document = json.loads(answer.read() or b"{}")
        error = document.get("error") if isinstance(document, dict) else None
        return Said(answer.status, error.get("code", "") if isinstance(error, dict) else "")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def kept_connections(port: int, count: int) -> Iterator[list[KeptConnection]]:
    """Open so many connections for the block."""
    connections: list[KeptConnection] = []
    try:
        connections.extend(KeptConnection(port) for _ in range(count))
        yield connections
    finally:
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def connections_to_each(
    pids: Sequence[int], port: int, *, lease: str, each: int = 6
) -> Iterator[list[KeptConnection]]:
    """Connections of which every worker process serves some: the others are stopped meanwhile."""
    with contextlib.ExitStack() as stack:
        opened: list[KeptConnection] = []
        for pid in pids:
            others = [other for other in pids if other != pid]
            try:
                for other in others:
                    os.kill(other, signal.SIGSTOP)
                mine = stack.enter_context(kept_connections(port, each))
                # An answer says that the connection was accepted, and by the one that runs.
                assert {connection.models(lease).status for connection in mine} == {200}
                opened += mine
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
        yield opened
