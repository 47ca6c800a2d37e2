"""The pages, their policy, where they may lead, and the cookies behind TLS."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.sign_in_kit import EMAIL, PASSWORD, House

from keylease.platform.db.database import Database
from keylease.platform.server.app import create_server
from keylease.platform.server.assembly import Surroundings, assembled
from keylease.platform.server.cookies import HOME, local_path

PAGES = ("/sign-in", "/sign-in/link", "/invitation", "/sign-in/set-up", "/account", "/device")
ELSEWHERE = (
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "evil.example",
    "/\tevil.example",
    "/ok\r\nLocation: https://evil.example",
    "/ok\x00",
    "",
    "/" + "a" * 600,
    " /account",
    "/\u2025/evil.example",
)


class Elements(HTMLParser):
    """What a reader of the page, or its screen reader, has to go by."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def test_every_page_stands_alone_and_lets_no_script_in(house: House) -> None:
    browser = house.browser()
    nonces = set()
    for path in PAGES:
        answer = await browser.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
        nonces.add(nonce)
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"(src|href)=\"https?:", answer.text)
        elements = Elements()
        elements.feed(answer.text)
        assert not [a for _, a in elements.found for name in a if name.startswith("on")]
        assert {a["nonce"] for tag, a in elements.found if tag in {"script", "style"}} == {nonce}
        # Every field has its label, and the page its language, title and main part.
        labels = {a.get("for") for tag, a in elements.found if tag == "label"}
        assert {a["id"] for tag, a in elements.found if tag == "input"} <= labels
        assert {"main", "title", "h1", "header"} <= {tag for tag, _ in elements.found}
        assert 'lang="en"' in answer.text
    assert len(nonces) == len(PAGES)


async def test_the_script_finds_what_the_pages_have(house: House) -> None:
    script = (await house.browser().get("/account")).text
    named = set(re.findall(r"(?:byId|show|on)\(\"([a-z-]+)\"", script))
    ids: set[str] = set()
    for path in PAGES:
        elements = Elements()
        elements.feed((await house.browser().get(path)).text)
        ids |= {a["id"] or "" for _, a in elements.found if "id" in a}
    assert named <= ids
    assert "innerHTML" not in script
    assert "eval(" not in script


@pytest.mark.parametrize("path", ELSEWHERE)
def test_what_leads_elsewhere_leads_home(path: str) -> None:
    assert local_path(path) == HOME


@pytest.mark.parametrize("path", ["/device?code=BCDF-GHJK", "/account", "/a/b?c=//d#e"])
def test_local_paths_are_kept(path: str) -> None:
    assert local_path(path) == path


async def test_nobody_is_sent_elsewhere_after_a_sign_in(house: House) -> None:
    await house.owner()
    for path in ELSEWHERE[:6]:
        answer = await house.browser().with_password(next=path)
        assert answer.json()["next"] == HOME


async def test_pages_of_other_sites_begin_no_sign_in(house: House) -> None:
    await house.owner()
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:4141"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        browser = house.browser(**headers)
        assert (await browser.with_password()).status_code == 403, headers
        assert (await browser.post("/v1/sign-in/passkey/challenge")).status_code == 403
        assert not browser.session
    for headers in ({"origin": "http://localhost:4140", "sec-fetch-site": "same-origin"}, {}):
        assert (await house.browser(**headers).with_password()).status_code == 200
    # A form of another site cannot even be read.
    form = await house.browser().client.post(
        "/v1/sign-in/password",
        content=f'{{"email":"{EMAIL}","password":"{PASSWORD}"}}',
        headers={"content-type": "text/plain"},
    )
    assert form.status_code == 422


async def test_who_comes_by_another_name_is_sent_to_the_one_that_passkeys_know(
    house: House,
) -> None:
    app = create_server(house.services, hosts=["localhost", "127.0.0.1"])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4140") as client:
        answer = await client.get("/device?code=BCDF-GHJK")
        assert answer.status_code == 307
        assert answer.headers["location"] == "http://localhost:4140/device?code=BCDF-GHJK"
        evil = await client.get("/device", headers={"host": "evil.example"})
        assert evil.status_code == 421
    home = await house.browser().get("/")
    assert (home.status_code, home.headers["location"]) == (307, "/account")


async def test_a_failed_return_from_an_issuer_repeats_nothing_of_the_request(
    house: House,
) -> None:
    script = "<script>alert(1)</script>"
    answer = await house.browser().client.get(
        "/sign-in/outside/callback", params={"state": script, "code": script, "error": script}
    )
    assert answer.status_code == 401
    assert "alert" not in answer.text
    assert "The sign-in did not work" in answer.text


async def test_with_tls_cookies_are_bound_to_this_host(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    surroundings = Surroundings(
        data_directory=tmp_path / "platform", public_url="https://keylease.example.com"
    )
    async with assembled(database, clock=clock, surroundings=surroundings) as services:
        app = create_server(services, hosts=["keylease.example.com"], secure=True)
        transport = httpx.ASGITransport(app=app)
        base = "https://keylease.example.com"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            link = (await services.identity.first_start.sign_in_link()).partition("#")[2]
            answer = await client.post("/v1/sign-in/link", json={"link": link})
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-keylease_session=kls_")
            assert "; Secure" in cookie
            assert "Domain" not in cookie
            assert answer.headers["strict-transport-security"]
            text = cookie.partition("=")[2].partition(";")[0]
            assert (await client.get("/v1/session")).status_code == 200
            # The plain name, which another host of the domain could set, is not read.
            client.cookies.clear()
            planted = {"cookie": f"keylease_session={text}"}
            assert (await client.get("/v1/session", headers=planted)).status_code == 401
