"""What tests of failing gateways share: policies in few words, calls, and starts that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.running_gateway import GatewayDidNotStart, RunningGateway, running_gateway

OPENAI_MEMBERS = {"message", "type", "param", "code"}


def credential(name: str, reference: str, upstream: str, purpose: str = "development") -> str:
    return f"""
[[credential]]
name = "{name}"
provider = "openai-compatible"
upstream = "{upstream}/v1"
reference = "{reference}"
purposes = ["{purpose}"]
environment = "local"
[[route]]
name = "{name}"
models = ["{name}"]
targets = [{{ credential = "{name}" }}]
"""


def binding(reference: str, host: str) -> str:
    return f"""
[[binding]]
reference = "{reference}"
provider = "openai-compatible"
hosts = ["{host}"]
purposes = ["development"]
"""


GRANT = """
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
environments = ["local"]
"""


def chat(gateway: RunningGateway, lease: str, model: str) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": model, "messages": [{"role": "user", "content": "Hello"}]},
        headers={"authorization": f"Bearer {lease}"},
        timeout=30,
        trust_env=False,
    )


def code_of(answer: httpx.Response) -> str:
    """The code of an error in OpenAI's shape, which says what to do and holds no internals."""
    error = answer.json()["error"]
    assert set(error) == OPENAI_MEMBERS
    assert error["code"] == answer.headers["x-keylease-error"]
    assert answer.headers["x-request-id"] in error["message"]
    for internal in ("Traceback", ".py", "Errno", "127.0.0.1", "httpx"):
        assert internal not in error["message"]
    return str(error["code"])


def put(directory: Path, name: str, secret: bytes) -> None:
    subprocess.run(
        [sys.executable, "-m", "keylease", "secret", "put", name,
         "--data-dir", str(directory / "data"), "--config-dir", str(directory / "config")],
        input=secret,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        check=True,
    )  # fmt: skip


def refused_start(directory: Path, **options: Any) -> GatewayDidNotStart:  # noqa: ANN401 - handed on
    with pytest.raises(GatewayDidNotStart) as refused, running_gateway(directory, **options):
        pass
    said = refused.value.stderr
    assert "Traceback" not in said
    assert said.count("error: ") >= 1, said
    return refused.value
