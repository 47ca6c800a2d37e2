"""Signing in to a real server: by its first link, a real issuer, a real command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, identity_provider
from tests.support.platform_process import RunningPlatform, running_platform
from tests.support.ports import free_port

EMAIL = "ada@example.com"
PASSWORD = "four words that fit well"


_open: list[httpx.Client] = []


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


class Person:
    """A browser over real HTTP."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=60)
        _open.append(self.client)
        self.csrf = ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        sent = {"x-csrf-token": self.csrf, **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = self.client.request(method, path, json=body, headers=sent)
        assert answer.is_success, answer.text
        if answer.content and isinstance(answer.json(), dict):
            self.csrf = answer.json().get("csrf_token") or self.csrf
        return answer


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RunningPlatform]:
    port = free_port()
    with running_platform(tmp_path / "platform", port=port, private_hosts=("127.0.0.1",)) as made:
        assert made.url == f"http://localhost:{port}"
        yield made


def owner_of(platform: RunningPlatform) -> Person:
    owner = Person(platform.url)
    link = platform.ready.sign_in_link
    assert link.startswith(f"{platform.url}/sign-in/link#")
    owner.ask("POST", "/v1/sign-in/link", {"link": link.partition("#")[2]})
    owner.ask("POST", "/v1/sign-in-methods/introduction", {"name": "Ada", "email": EMAIL})
    owner.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD})
    return owner


def test_people_sign_in_through_a_real_issuer(platform: RunningPlatform, tmp_path: Path) -> None:
    owner = owner_of(platform)
    callback = f"{platform.url}/sign-in/outside/callback"
    settings = owner.ask("GET", "/v1/sign-in-settings")
    body = {**settings.json(), "domains": ["example.com"]}
    del body["version"]
    owner.ask("PUT", "/v1/sign-in-settings", body, if_match=settings.headers["etag"])
    group = owner.ask("POST", "/v1/groups", {"name": "engineers"}).json()["id"]
    with identity_provider(tmp_path / "idp", redirect_uri=callback) as provider:
        issuer = {
            "name": "Office",
            "issuer": provider.url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "groups_claim": "groups",
            "groups": {"engineers": group},
            "adds_users": True,
        }
        issuer_id = owner.ask("POST", "/v1/outside-issuers", issuer).json()["id"]

        def sign_in(username: str, wanted: str = "") -> tuple[Person, httpx.Response]:
            person = Person(platform.url)
            asked = {"issuer_id": issuer_id, **({"next": wanted} if wanted else {})}
            begun = person.ask("POST", "/v1/sign-in/outside", asked).json()
            back = urlsplit(provider.sign_in(begun["url"], username=username))
            query = {name: values[0] for name, values in parse_qs(back.query).items()}
            return person, person.client.get(back.path, params=query)

        eve, answer = sign_in("eve")
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert eve.ask("GET", "/v1/session").json()["email"] == "eve@example.com"
        members = owner.ask("GET", f"/v1/groups/{group}/members").json()["items"]
        assert len(members) == 1
        # Somebody of another domain is not let in, whatever the issuer says of them.
        _, answer = sign_in("mallory")
        assert answer.status_code == 401
        again, answer = sign_in("eve")
        assert answer.status_code == 303
        session = again.ask("GET", "/v1/session").json()["session"]
        assert session["user_id"] == eve.ask("GET", "/v1/session").json()["session"]["user_id"]
        # Where somebody is sent afterwards is on this server, as a header on the wire says it.
        _, answer = sign_in("eve", "/device?code=BCDF-GHJK")
        assert answer.headers["location"] == "/device?code=BCDF-GHJK"
        for elsewhere in ("//evil.example", "https://evil.example/", "/\\evil.example"):
            _, answer = sign_in("eve", elsewhere)
            assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        # Nor by a path that looks like a host, nor under another name.
        for path in ("//evil.example/", "//evil.example/v1/projects/", "/v1/projects/"):
            answer = httpx.get(f"{platform.url}{path}")
            where = urlsplit(answer.headers.get("location", ""))
            assert where.netloc in {"", urlsplit(platform.url).netloc}, answer.headers


def test_a_command_line_signs_in_says_who_it_is_and_signs_out(
    platform: RunningPlatform, tmp_path: Path
) -> None:
    owner = owner_of(platform)
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "NO_COLOR": "1"}

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "keylease", *arguments],
            env={**environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    status, _, said = run("whoami", "--server", platform.url)
    assert status == 77
    assert "keylease login" in said
    login = start("login", "--server", platform.url, "--no-browser")
    assert login.stderr is not None
    shown = login.stderr.readline()
    code = re.search(r"code ([A-Z]{4}-[A-Z]{4})", shown)
    assert code is not None, shown
    assert f"{platform.url}/device" in shown
    owner.ask("POST", "/v1/devices/decision", {"user_code": code[1], "approve": True})
    out, err = login.communicate(timeout=60)
    assert login.returncode == 0, err
    assert "Signed in" in err
    assert out == ""
    file = home / ".config" / "keylease" / "sign-in.json"
    assert file.stat().st_mode & 0o777 == 0o600
    text = json.loads(file.read_text())["text"]
    assert text not in err
    # From now on the server need not be named.
    status, out, err = run("whoami", "--json")
    assert status == 0, err
    assert json.loads(out)["email"] == EMAIL
    # An API key goes before the sign-in.
    key = owner.ask("POST", "/v1/api-keys", {"name": "k", "permissions": ["project:read"]}).json()
    status, out, err = run("whoami", "--json", KEYLEASE_API_KEY=key["text"])
    assert json.loads(out)["api_key_id"] == key["key"]["id"]
    status, out, _ = run("config", "show", KEYLEASE_API_KEY=key["text"])
    assert status == 0
    assert key["text"] not in out
    status, _, err = run("logout")
    assert status == 0, err
    assert not file.exists()
    bearer = {"authorization": f"Bearer {text}"}
    ended = httpx.get(f"{platform.url}/v1/caller", headers=bearer, trust_env=False)
    assert ended.status_code == 401
    assert run("logout")[0] == 0
