"""Sessions: how long they live, how their texts change, and whom they keep out."""

from __future__ import annotations

from sqlalchemy import text
from tests.support.sign_in_kit import Browser, House

from keylease.platform.identity.sessions.interfaces import LIFETIMES, RENEW_AFTER, SessionKind

BROWSER = LIFETIMES[SessionKind.BROWSER]


def with_text(house: House, text: str) -> Browser:
    """A browser that has this cookie, however it came by it."""
    browser = house.browser()
    browser.client.cookies.set("keylease_session", text, domain="localhost.local")
    return browser


async def test_a_session_ends_when_it_is_not_used_and_at_its_absolute_end(
    house: House,
) -> None:
    owner = await house.owner()
    house.clock.advance(BROWSER.idle - 1)
    assert (await owner.get("/v1/session")).status_code == 200
    house.clock.advance(BROWSER.idle)
    assert (await owner.get("/v1/session")).status_code == 401
    await owner.with_password()
    for _ in range(BROWSER.absolute // (BROWSER.idle // 2)):
        house.clock.advance(BROWSER.idle // 2)
        last = (await owner.get("/v1/session")).status_code
    assert last == 401


async def test_a_text_is_exchanged_in_the_course_of_time(house: House) -> None:
    owner = await house.owner()
    first = owner.session
    await owner.get("/v1/session")
    assert owner.session == first
    house.clock.advance(RENEW_AFTER)
    await owner.get("/v1/session")
    second = owner.session
    assert second != first
    # Requests under way still have the first one; a minute after the second was used, it is over.
    assert (await with_text(house, first).get("/v1/session")).status_code == 200
    assert (await owner.get("/v1/session")).status_code == 200
    house.clock.advance(59)
    assert (await with_text(house, first).get("/v1/sessions")).status_code == 200
    assert (await owner.get("/v1/sessions")).status_code == 200


async def test_an_old_text_that_comes_back_ends_the_session(house: House) -> None:
    owner = await house.owner()
    stolen = owner.session
    await owner.ask("POST", "/v1/session/exchange", {})
    assert (await owner.get("/v1/session")).status_code == 200
    house.clock.advance(61)
    assert (await with_text(house, stolen).get("/v1/session")).status_code == 401
    # The thief and the owner cannot be told apart, so it ends for both, and the log says so.
    assert (await owner.get("/v1/session")).status_code == 401
    assert "session.replayed" in {entry["action"] for entry in await house.entries()}


async def test_a_text_that_nobody_exchanges_ends_after_a_day(house: House) -> None:
    owner = await house.owner()
    for _ in range(3):
        house.clock.advance(BROWSER.idle - 60)
        status = (await owner.get("/v1/sessions")).status_code  # a path that exchanges nothing
    assert status == 401


async def test_a_cookie_that_was_planted_is_not_the_session_afterwards(house: House) -> None:
    await house.owner()
    attacker = house.browser()
    await attacker.with_password()
    planted = attacker.session
    victim = with_text(house, planted)
    await victim.with_password()
    assert victim.session not in ("", planted)
    # And the planted one has ended.
    assert (await attacker.get("/v1/session")).status_code == 401


async def test_after_signing_out_a_copied_cookie_opens_nothing(house: House) -> None:
    owner = await house.owner()
    copied = owner.session
    signed_out = await owner.send("DELETE", "/v1/session")
    assert signed_out.status_code == 204
    assert "Max-Age=0" in signed_out.headers["set-cookie"]
    assert (await with_text(house, copied).get("/v1/session")).status_code == 401


async def test_a_cookie_alone_changes_nothing(house: House) -> None:
    owner = await house.owner()
    good = owner.csrf
    for wrong in ("", "x" * 43, good[:-1] + ("A" if good[-1] != "A" else "B")):
        owner.csrf = ""
        answer = await owner.post("/v1/session/exchange", x_csrf_token=wrong)
        assert answer.status_code == 403, wrong
    other = house.browser()
    await other.with_password()
    # The text of another session of the same person is not good here.
    answer = await owner.post("/v1/session/exchange", x_csrf_token=other.csrf)
    assert answer.status_code == 403
    assert (await owner.post("/v1/session/exchange", x_csrf_token=good)).status_code == 200


async def test_sessions_are_listed_and_ended_one_by_one(house: House) -> None:
    owner = await house.owner()
    phone = house.browser(user_agent="Mozilla/5.0 (iPhone) Safari/605")
    await phone.with_password()
    listed = (await owner.get("/v1/sessions")).json()["items"]
    assert {each["device"] for each in listed} == {"A browser", "Safari on iPhone"}
    other = next(each for each in listed if each["device"] == "Safari on iPhone")
    assert "digest" not in str(listed)
    assert (await owner.send("DELETE", f"/v1/sessions/{other['id']}")).status_code == 204
    assert (await phone.get("/v1/session")).status_code == 401
    assert (await owner.send("DELETE", f"/v1/sessions/{other['id']}")).status_code == 404


async def test_whoever_may_not_sees_and_ends_nobody_elses(house: House) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "viewer")
    mine = (await owner.get("/v1/session")).json()["session"]["id"]
    assert (await bob.get("/v1/organization/sessions")).status_code == 403
    assert (await bob.send("DELETE", f"/v1/sessions/{mine}")).status_code == 403
    everybody = (await owner.get("/v1/organization/sessions")).json()["items"]
    his = [each for each in everybody if each["id"] != mine]
    assert len(his) == 1
    assert (await owner.send("DELETE", f"/v1/sessions/{his[0]['id']}")).status_code == 204
    assert (await bob.get("/v1/session")).status_code == 401


async def test_a_suspended_user_is_out_at_once(house: House) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "viewer")
    key = await bob.ask("POST", "/v1/api-keys", {"name": "k", "permissions": ["project:read"]})
    robot = house.browser(authorization=f"Bearer {key['text']}")
    assert (await robot.get("/v1/projects")).status_code == 200
    user = (await bob.get("/v1/session")).json()["session"]["user_id"]
    etag = (await owner.get(f"/v1/users/{user}")).headers["etag"]
    await owner.ask("POST", f"/v1/users/{user}/suspend", {}, if_match=etag)
    assert (await bob.get("/v1/session")).status_code == 401
    assert (await robot.get("/v1/projects")).status_code == 401
    assert (await bob.with_password(email="bob@example.com")).status_code == 401


async def test_what_is_no_session_and_no_key_is_nobody(house: House) -> None:
    owner = await house.owner()
    for header in (
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRhOng=",
        f"Bearer {owner.session}",  # a browser's text is no bearer
        "Bearer kls_" + "A" * 43,
        "Bearer kl_" + "A" * 39,
        "Bearer " + "x" * 5000,
        "Bearer kl_\x00",
    ):
        browser = house.browser(**({"authorization": header} if header else {}))
        answer = await browser.get("/v1/caller")
        assert answer.status_code == 401, header[:40]
        assert answer.headers["www-authenticate"] == "Bearer"
    both = await owner.get("/v1/caller", authorization="Bearer kls_" + "A" * 43)
    assert both.status_code == 401


async def test_only_the_digest_of_a_text_is_stored(house: House) -> None:
    owner = await house.owner()
    async with house.database.reading() as tx:
        rows = (await tx.execute(text("SELECT * FROM sessions"))).all()
    assert rows
    assert owner.session not in str(rows)
    assert owner.csrf not in str(rows)
