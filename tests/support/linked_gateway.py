"""Real gateways that take their policy from a platform (a fake one, a hostile one, or ours).

with fake_platform() as platform, hostile_upstream() as upstream:
    place = LinkedPlace(tmp_path, platform.url, upstream.url)
    place.enroll(platform.code())
    with place.running() as gateway:
        platform.publish(platform.bundle(**place.policy()))
        ...
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key

from keylease.contracts.policy import Credential, Grant, Route, Target
from keylease.contracts.purposes import Purpose
from keylease.primitives.clock import SystemClock
from keylease.primitives.identifiers import uuid7

CHAT = "/v1/chat/completions"


def new_id() -> str:
    return uuid7(SystemClock())


def credential(**parts: Any) -> Credential:  # noqa: ANN401 - parts of a credential
    base: dict[str, Any] = {
        "id": new_id(),
        "name": "upstream",
        "provider": "openai-compatible",
        "purposes": (Purpose.DEVELOPMENT,),
        "environment": "local",
    }
    return Credential(**{**base, **parts})


def route(credential_id: str, **parts: Any) -> Route:  # noqa: ANN401 - parts of a route
    base: dict[str, Any] = {"id": new_id(), "name": "all", "models": ("*",)}
    return Route(**{**base, "targets": (Target(credential_id=credential_id),), **parts})


def grant(**parts: Any) -> Grant:  # noqa: ANN401 - parts of a grant
    base: dict[str, Any] = {
        "id": new_id(),
        "name": "everybody",
        "principals": ("*",),
        "models": ("*",),
        "purposes": tuple(Purpose),
        "environments": ("*",),
    }
    return Grant(**{**base, **parts})


def wait_for(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Poll from a thread of its own kind of test: these have no event loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class LinkedPlace:
    """The files of one gateway: gateway.toml with [platform], one key that may go to one host."""

    def __init__(
        self, directory: Path, platform_url: str, upstream: str, *, top: str = "", more: str = ""
    ) -> None:
        self.directory = directory
        self.upstream = upstream
        self.key = fresh_key()
        self.keys = directory / "keys"
        self.keys.mkdir(mode=0o700, parents=True)
        self.config = directory / "config"
        self.config.mkdir(mode=0o700)
        self.data = directory / "data"
        key_file = self.keys / "good"
        key_file.write_bytes(self.key)
        key_file.chmod(0o600)
        self.reference = f"file://{key_file}"
        self.text = f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
{top}
[platform]
url = "{platform_url}"
[limits]
drain_timeout = "3s"
[stores]
file_directories = ["{self.keys}"]
timeout = "1s"
[[binding]]
reference = "file://{self.keys}/*"
provider = "openai-compatible"
hosts = ["{upstream}"]
purposes = ["development", "eval"]
environments = ["local"]
{more}
"""
        (self.config / "gateway.toml").write_text(self.text)
        self._credential = credential(reference=self.reference, upstream=f"{upstream}/v1")

    def enroll(self, code: str) -> subprocess.CompletedProcess[str]:
        """As a person does it."""
        return subprocess.run(
            [sys.executable, "-m", "keylease", "gateway", "enroll", code,
             "--data-dir", str(self.data), "--config-dir", str(self.config)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self, *, workers: int = 1) -> Iterator[RunningGateway]:
        text = self.text.replace("[gateway]", f"[gateway]\nworkers = {workers}", 1)
        with running_gateway(self.directory, gateway_toml=text) as gateway:
            yield gateway

    def policy(self, **parts: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a bundle
        """The parts of a bundle by which calls succeed."""
        return {
            "credentials": (self._credential,),
            "routes": (route(self._credential.id),),
            "grants": (grant(),),
            **parts,
        }


def call(gateway: RunningGateway, lease: str, model: str = "any") -> tuple[int, str]:
    """One model call; status and our code, if it was refused."""
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {lease}"}
    answer = httpx.post(gateway.url + CHAT, json=body, headers=headers, trust_env=False, timeout=30)
    return answer.status_code, answer.headers.get("x-keylease-error", "")


def all_at_once(work: list[Callable[[], None]]) -> None:
    """Run each in a thread; raises what the first of them raised."""
    errors: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
