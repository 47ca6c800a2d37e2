"""moto's stand-in for AWS, as a server of its own, for the tests of a session."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from tests.support.ports import free_port, terminated

REGION = "eu-central-1"


class Aws:
    """The server's address, and a client of its own."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def secrets_manager(self, region: str = REGION) -> Any:  # noqa: ANN401 - boto3 has no types
        return boto3.client(
            "secretsmanager",
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    port = free_port()
    log_path = tmp_path_factory.mktemp("moto") / "log"
    server = Path(sys.executable).parent / "moto_server"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [str(server), "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with terminated(process):
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{endpoint}/moto-api/", timeout=5, trust_env=False)
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(log_path.read_text()[-2000:]) from None
                time.sleep(0.1)
        yield Aws(endpoint)
