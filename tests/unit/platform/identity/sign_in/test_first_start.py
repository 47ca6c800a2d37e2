"""The owner's one-time link, and what it opens."""

from __future__ import annotations

from tests.support.sign_in_kit import EMAIL, PASSWORD, House
from tests.support.software_passkey import SoftwarePasskey

from keylease.platform.identity.sign_in.links import SECONDS


async def test_the_first_link_leads_to_an_owner_who_can_sign_in(house: House) -> None:
    browser = house.browser()
    link = await house.identity.first_start.sign_in_link()
    assert link.startswith("http://localhost:4140/sign-in/link#")
    arrived = await browser.ask("POST", "/v1/sign-in/link", {"link": link.partition("#")[2]})
    assert arrived["state"] == "set_up_wanted"
    assert arrived["next"] == "/sign-in/set-up"
    await browser.ask("POST", "/v1/sign-in-methods/introduction", {"name": "Ada", "email": EMAIL})
    changed = await browser.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD})
    assert not changed["session"]["limited"]
    assert (await browser.get("/v1/projects")).status_code == 200
    assert (await house.browser().with_password()).json()["state"] == "signed_in"


async def test_a_link_opens_once(house: House) -> None:
    link = await house.link()
    assert (await house.browser().post("/v1/sign-in/link", {"link": link})).status_code == 200
    again = await house.browser().post("/v1/sign-in/link", {"link": link})
    assert (again.status_code, again.json()["code"]) == (401, "sign_in_refused")


async def test_a_link_opens_for_an_hour(house: House) -> None:
    link = await house.link()
    house.clock.advance(SECONDS)
    assert (await house.browser().post("/v1/sign-in/link", {"link": link})).status_code == 401


async def test_a_link_is_made_at_every_start_until_the_owner_is_set_up(house: House) -> None:
    first = await house.link()
    await house.browser().post("/v1/sign-in/link", {"link": first})
    second = await house.link()
    third = await house.link()
    assert len({first, second, third}) == 3
    # Only the last one opens anything.
    assert (await house.browser().post("/v1/sign-in/link", {"link": second})).status_code == 401
    browser = house.browser()
    await browser.ask("POST", "/v1/sign-in/link", {"link": third})
    assert (await browser.add_passkey(SoftwarePasskey())).status_code == 201
    assert await house.identity.first_start.sign_in_link() == ""


async def test_a_session_by_link_is_for_setting_up_and_nothing_else(house: House) -> None:
    browser = house.browser()
    await browser.ask("POST", "/v1/sign-in/link", {"link": await house.link()})
    for method, path, body in (
        ("GET", "/v1/projects", None),
        ("GET", "/v1/api-keys", None),
        ("POST", "/v1/projects", {"name": "mine"}),
        ("POST", "/v1/identity-token", {"gateway_group": "default"}),
        ("POST", "/v1/api-keys", {"name": "k", "permissions": ["project:read"]}),
        ("POST", "/v1/devices/decision", {"user_code": "BCDF-GHJK", "approve": True}),
    ):
        answer = await browser.send(method, path, body)
        assert answer.status_code == 403, (path, answer.text)
    assert (await browser.get("/v1/sign-in-methods")).status_code == 200


async def test_nothing_of_the_link_is_stored_or_recorded(house: House) -> None:
    link = await house.link()
    await house.browser().post("/v1/sign-in/link", {"link": link})
    assert link not in str(await house.entries())
    actions = [entry["action"] for entry in await house.entries()]
    assert {"sign_in_link.made", "sign_in_link.used", "session.started"} <= set(actions)


async def test_an_owner_makes_a_link_for_somebody_who_has_lost_every_way_in(
    house: House,
) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "admin")
    session = (await bob.get("/v1/session")).json()["session"]
    path = f"/v1/users/{session['user_id']}/sign-in-links"
    # An Admin, who could become anybody by this, may not.
    denied = await bob.post(path)
    assert denied.status_code == 403
    made = await owner.ask("POST", path, {})
    answer = await house.browser().post(
        "/v1/sign-in/link", {"link": made["link"].partition("#")[2]}
    )
    assert answer.json()["session"]["user_id"] == session["user_id"]
    assert answer.json()["session"]["limited"]
