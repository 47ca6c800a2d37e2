"""Signing in through an outside issuer, and issuers that do what they should not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.oidc_issuer import DISCOVERY, LocalIssuer, local_issuer
from tests.support.plain_server import http
from tests.support.sign_in_kit import Browser, House

from keylease.platform.identity.outside.interfaces import CALLBACK
from keylease.primitives.openid_issuer import UNKNOWN_KEY_PAUSE

CLIENT = "keylease-client"


class Issuer:
    """An issuer of ours, and what it says of who signs in next."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self.issuer = issuer
        self.url = issuer.url
        self.more: dict[str, Any] = {}
        metadata: dict[str, object] = {
            "issuer": self.url,
            "jwks_uri": self.url + "/keys",
            "authorization_endpoint": self.url + "/authorize?tenant=1",
            "token_endpoint": self.url + "/token",
            "userinfo_endpoint": self.url + "/userinfo",
        }
        self.issuer.server.answers[DISCOVERY] = http(metadata)

    def says(self, expected_nonce: str, **claims: object) -> None:
        """The next code is exchanged for this."""
        told = {"aud": CLIENT, "nonce": expected_nonce, "sub": "ada", **claims}
        token = self.issuer.token(**told).decode()  # type: ignore[arg-type]  # claims of any kind
        self.issuer.server.answers["/token"] = http({"id_token": token, "access_token": "at"})

    def user_info(self, **claims: object) -> None:
        self.issuer.server.answers["/userinfo"] = http(claims)


@pytest.fixture
async def issuer(clock: ManualClock) -> AsyncIterator[Issuer]:
    async with local_issuer(clock) as running:
        yield Issuer(running)


@pytest.fixture(autouse=True)
def may_be_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """The issuers of these tests are on this machine; the server's configuration says so."""
    from tests.support import platform_kit  # noqa: PLC0415 - patched in this file alone

    from keylease.platform.server.assembly import Surroundings  # noqa: PLC0415 - as above

    def surroundings(**members: Any) -> Surroundings:  # noqa: ANN401 - what the kit gives
        return Surroundings(private_hosts=frozenset({"127.0.0.1"}), **members)

    monkeypatch.setattr(platform_kit, "Surroundings", surroundings)


VERIFIED = {"email": "eve@example.com", "email_verified": True, "name": "Eve"}


async def trusted(owner: Browser, issuer: Issuer, **more: object) -> str:
    body = {"name": "Office", "issuer": issuer.url, "client_id": CLIENT, **more}
    return str((await owner.ask("POST", "/v1/outside-issuers", body))["id"])


async def with_domain(owner: Browser, domain: str = "example.com", **more: object) -> None:
    settings = await owner.get("/v1/sign-in-settings")
    body = {**settings.json(), "domains": [domain], **more}
    del body["version"]
    await owner.ask("PUT", "/v1/sign-in-settings", body, if_match=settings.headers["etag"])


async def begin(browser: Browser, issuer_id: str, wanted: str = "") -> dict[str, str]:
    begun = await browser.ask(
        "POST", "/v1/sign-in/outside", {"issuer_id": issuer_id, "next": wanted}
    )
    parts = urlsplit(begun["url"])
    return {name: values[0] for name, values in parse_qs(parts.query).items()}


async def back(browser: Browser, query: dict[str, str], **more: str) -> httpx.Response:
    sent = {"state": query["state"], "code": "c", **more}
    return await browser.client.get(CALLBACK, params=sent)


async def signed_in(
    house: House, issuer: Issuer, issuer_id: str, **claims: object
) -> tuple[Browser, httpx.Response]:
    browser = house.browser()
    query = await begin(browser, issuer_id)
    issuer.says(query["nonce"], **{**VERIFIED, **claims})
    return browser, await back(browser, query)


async def test_a_new_address_of_the_domain_becomes_a_user(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True, client_secret="not-so-secret")
    offered = (await house.browser().get("/v1/sign-in/issuers")).json()
    assert offered == {"items": [{"id": issuer_id, "name": "Office"}]}
    browser = house.browser()
    query = await begin(browser, issuer_id, "/device?code=BCDF")
    assert query["tenant"] == "1"
    assert (query["client_id"], query["response_type"]) == (CLIENT, "code")
    issuer.says(query["nonce"], **VERIFIED)
    answer = await back(browser, query, iss=issuer.url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/device?code=BCDF")
    session = (await browser.get("/v1/session")).json()
    assert (session["email"], session["session"]["method"]) == ("eve@example.com", "outside")
    # What was sent for the code: PKCE, and the secret as a header.
    head = next(h for h in issuer.issuer.server.heads if h.startswith(b"POST /token"))
    basic = base64.b64encode(f"{CLIENT}:not-so-secret".encode())
    assert b"Basic " + basic in head
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"").digest())
    assert len(query["code_challenge"]) == len(challenge) - 1
    # The same person comes back, also with another address.
    again, _ = await signed_in(house, issuer, issuer_id, email="new@elsewhere.example")
    assert (await again.get("/v1/session")).json()["session"]["user_id"] == session["session"][
        "user_id"
    ]
    assert "not-so-secret" not in (await owner.get("/v1/outside-issuers")).text


async def test_whoever_nobody_knows_is_refused(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    for wrong in (
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": "eve@example.com.evil.example"},
        {"email": "eve@evil.example"},
        {"email": "@example.com"},
        {"email": ["eve@example.com"]},
    ):
        browser, answer = await signed_in(house, issuer, issuer_id, **wrong)
        assert answer.status_code in {401, 422}, wrong
        assert not browser.session
        assert "evil" not in answer.text


async def test_an_account_with_a_way_in_of_its_own_is_not_taken_over(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    _, answer = await signed_in(house, issuer, issuer_id, email="ada@example.com")
    assert answer.status_code == 401
    # Its owner links it, signed in.
    linking = await owner.ask("POST", "/v1/sign-in-methods/outside", {"issuer_id": issuer_id})
    query = {name: v[0] for name, v in parse_qs(urlsplit(linking["url"]).query).items()}
    issuer.says(query["nonce"], email="whatever@elsewhere.example", email_verified=True)
    assert (await back(owner, query)).status_code == 303
    browser, answer = await signed_in(house, issuer, issuer_id, email="x@elsewhere.example")
    assert answer.status_code == 303
    assert (await browser.get("/v1/session")).json()["email"] == "ada@example.com"
    # And nobody else links the same identity.
    await owner.get("/v1/session")  # its CSRF text: coming back began another session
    bob = await house.invited(owner, "bob@example.com")
    linking = await bob.ask("POST", "/v1/sign-in-methods/outside", {"issuer_id": issuer_id})
    query = {name: v[0] for name, v in parse_qs(urlsplit(linking["url"]).query).items()}
    issuer.says(query["nonce"])
    issuer.user_info(sub="ada")
    assert (await back(bob, query)).status_code == 403


async def test_an_invitation_is_accepted_by_a_verified_address(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    issuer_id = await trusted(owner, issuer)
    body = {"email": "eve@outside.example", "name": "Eve", "role_id": "viewer"}
    await owner.ask("POST", "/v1/invitations", body)
    browser, answer = await signed_in(house, issuer, issuer_id, email="Eve@Outside.example")
    assert answer.status_code == 303
    assert (await browser.get("/v1/projects")).status_code == 200


async def test_groups_follow_the_issuer(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    await with_domain(owner)
    group = await owner.ask("POST", "/v1/groups", {"name": "engineers"})
    issuer_id = await trusted(
        owner, issuer, adds_users=True, groups_claim="groups", groups={"eng": group["id"]}
    )
    path = f"/v1/groups/{group['id']}/members"
    issuer.user_info(sub="ada", groups=["eng", "unmapped"])
    await signed_in(house, issuer, issuer_id)
    assert len((await owner.get(path)).json()["items"]) == 1
    await signed_in(house, issuer, issuer_id, groups=["other"])
    assert (await owner.get(path)).json()["items"] == []


async def test_a_mapping_names_groups_that_are_there(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    group = await owner.ask("POST", "/v1/groups", {"name": "engineers"})
    for wrong in ("engineers", "x" * 36, "00000000-0000-7000-8000-000000000000"):
        body = {
            "name": "Directory",
            "issuer": issuer.url,
            "client_id": "keylease",
            "groups_claim": "groups",
            "groups": {"eng": wrong},
        }
        refused = await owner.post("/v1/outside-issuers", body)
        assert refused.status_code == 422, refused.text
        assert wrong not in refused.text
    body["groups"] = {"eng": group["id"]}
    made = await owner.post("/v1/outside-issuers", body)
    assert made.status_code == 201, made.text
    # A group that is archived later keeps nobody from changing the rest.
    home = f"/v1/groups/{group['id']}"
    etag = (await owner.get(home)).headers["etag"]
    await owner.ask("DELETE", home, if_match=etag)
    changed = await owner.send(
        "PUT",
        f"/v1/outside-issuers/{made.json()['id']}",
        body | {"name": "Other"},
        if_match=made.headers["etag"],
    )
    assert changed.status_code == 200, changed.text


async def test_a_sign_in_belongs_to_the_browser_that_began_it(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    attacker, victim = house.browser(), house.browser()
    query = await begin(attacker, issuer_id)
    issuer.says(query["nonce"], **VERIFIED)
    stolen = await back(victim, query)
    assert stolen.status_code == 401
    assert not victim.session
    other = await begin(victim, issuer_id)
    assert (await back(victim, query)).status_code == 401
    assert other["state"] != query["state"]
    # The right browser still finishes, once.
    issuer.says(query["nonce"], **VERIFIED)
    assert (await back(attacker, query)).status_code == 303
    assert (await back(attacker, query)).status_code == 401


async def test_tokens_that_are_not_for_this_sign_in_are_refused(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    now = issuer.issuer.now
    for wrong in (
        {"nonce": "another"},
        {"nonce": ...},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"exp": now - 61},
        {"iat": now + 120},
        {"iat": now - 3600},
        {"exp": ...},
        {"sub": ""},
        {"sub": ...},
        {"sub": 5},
        {"header": {"typ": "at+jwt"}},
        {"alg": "ES256", "header": {"alg": "none"}},
        {"header": {"kid": "unknown"}},
    ):
        browser, answer = await signed_in(house, issuer, issuer_id, **wrong)
        assert answer.status_code == 401, wrong
        assert not browser.session
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    # Enough for the limits on this address; and the right one works.
    house.clock.advance(3600)
    issuer.issuer.server.answers["/token"] = http({"error": "x"}, status="400 Bad Request")
    _, answer = await signed_in(house, issuer, issuer_id)
    assert answer.status_code == 303


async def test_an_issuers_next_key_is_asked_for_when_it_is_needed(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    assert (await signed_in(house, issuer, issuer_id))[1].status_code == 303
    assert issuer.issuer.server.requests["/keys"] == 1
    metadata = issuer.issuer.server.answers[DISCOVERY]
    issuer.issuer.add_key("k2", "RS256")
    issuer.issuer.server.answers[DISCOVERY] = metadata
    house.clock.advance(UNKNOWN_KEY_PAUSE)
    _, answer = await signed_in(house, issuer, issuer_id, kid="k2", alg="RS256")
    assert answer.status_code == 303
    assert issuer.issuer.server.requests["/keys"] == 2


async def test_user_info_of_somebody_else_is_refused(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    await with_domain(owner)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    browser = house.browser()
    query = await begin(browser, issuer_id)
    issuer.says(query["nonce"])  # without an address, so that the user info is asked for
    issuer.user_info(sub="somebody else", **VERIFIED)
    assert (await back(browser, query)).status_code == 401


async def test_a_mix_up_of_issuers_is_noticed(house: House, issuer: Issuer) -> None:
    owner = await house.owner()
    issuer_id = await trusted(owner, issuer)
    browser = house.browser()
    query = await begin(browser, issuer_id)
    assert (await back(browser, query, iss="https://evil.example")).status_code == 401


async def test_an_issuer_that_is_down_is_said_and_nothing_is_signed_in(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    issuer_id = await trusted(owner, issuer)
    browser = house.browser()
    query = await begin(browser, issuer_id)
    issuer.issuer.server.answers["/token"] = http(b"<html>", status="500 No")
    assert (await back(browser, query)).status_code == 401
    gone = await owner.ask(
        "POST",
        "/v1/outside-issuers",
        {"name": "Gone", "issuer": "http://127.0.0.1:9", "client_id": "c"},
    )
    answer = await browser.post("/v1/sign-in/outside", {"issuer_id": gone["id"]})
    assert answer.status_code == 503


async def test_a_required_second_factor_is_asked_for_unless_the_issuer_sees_to_it(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    await with_domain(owner, second_factor_required=True)
    issuer_id = await trusted(owner, issuer, adds_users=True)
    browser, answer = await signed_in(house, issuer, issuer_id)
    assert answer.headers["location"] == "/sign-in/set-up"
    assert (await browser.get("/v1/session")).json()["session"]["limited"]
    browser, answer = await signed_in(house, issuer, issuer_id, amr=["pwd", "mfa"])
    assert answer.headers["location"] == "/account"
    assert not (await browser.get("/v1/session")).json()["session"]["limited"]


async def test_issuers_are_the_owners_and_never_on_a_private_address_unless_configured(
    house: House, issuer: Issuer
) -> None:
    owner = await house.owner()
    admin = await house.invited(owner, "bob@example.com", "admin")
    body = {"name": "Office", "issuer": issuer.url, "client_id": CLIENT}
    assert (await admin.post("/v1/outside-issuers", body)).status_code == 403
    for wrong in (
        "http://10.0.0.1",
        "http://idp.example.com",
        "ftp://idp.example.com",
        "https://",
        "javascript:alert(1)",
        "https://idp.example.com?x=1",
    ):
        answer = await owner.post("/v1/outside-issuers", {**body, "issuer": wrong})
        assert answer.status_code == 422, wrong
    issuer_id = await trusted(owner, issuer)
    path = f"/v1/outside-issuers/{issuer_id}"
    moved = await owner.send(
        "PUT", path, {**body, "issuer": "https://other.example"}, if_match='"1"'
    )
    assert moved.status_code == 422
    changed = await owner.ask("PUT", path, {**body, "name": "New"}, if_match='"1"')
    assert (changed["name"], changed["version"]) == ("New", 2)
    assert (await owner.send("DELETE", path, if_match='"1"')).status_code == 412
    assert (await owner.send("DELETE", path, if_match='"2"')).status_code == 204
    assert json.loads((await owner.get("/v1/outside-issuers")).content)["items"] == []
