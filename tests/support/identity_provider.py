"""A real OpenID Connect provider (nanoidp) in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.support.ports import free_port, terminated

CLIENT_ID = "keylease"
CLIENT_SECRET = "not-much-of-a-secret"
_START_SECONDS = 60


class IdentityProvider:
    """What tests need of it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def sign_in(self, authorization_url: str, *, username: str) -> str:
        """Sign in as a person would, and give the address the browser is sent back to."""
        with httpx.Client(trust_env=False, timeout=30) as browser:
            page = browser.get(authorization_url)
            assert page.status_code == 200, page.text
            answer = browser.post(
                authorization_url, data={"username": username, "password": "fake-word"}
            )
        assert answer.status_code in {302, 303}, answer.text
        return answer.headers["location"]


@contextmanager
def identity_provider(folder: Path, *, redirect_uri: str) -> Iterator[IdentityProvider]:
    """Run one until the block ends: eve and mallory may sign in, and eve is an engineer."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "users.yaml").write_text(
        "config_version: 1\nusers:\n"
        '  eve:\n    password: "fake-word"\n    email: "eve@example.com"\n'
        '    groups: ["engineers"]\n    roles: ["USER"]\n    tenant: "default"\n'
        '  mallory:\n    password: "fake-word"\n    email: "mallory@elsewhere.example"\n'
        '    roles: ["USER"]\n    tenant: "default"\n'
    )
    (folder / "settings.yaml").write_text(
        f'config_version: 1\nserver:\n  host: "127.0.0.1"\n  port: {port}\n'
        f'oauth:\n  issuer: "{url}"\n  audience: "somebody"\n  require_pkce: true\n'
        f'  clients:\n    - client_id: "{CLIENT_ID}"\n      client_secret: "{CLIENT_SECRET}"\n'
        f'      redirect_uris: ["{redirect_uri}"]\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "nanoidp", "--config", str(folder), "--port", str(port)],
        cwd=folder,  # it writes its keys where it stands
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with terminated(process):
        ends = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False, timeout=5)
                break
            except httpx.TransportError:
                assert process.poll() is None, "the identity provider ended"
                assert time.monotonic() < ends, "the identity provider did not start"
                time.sleep(0.05)
        yield IdentityProvider(url)
