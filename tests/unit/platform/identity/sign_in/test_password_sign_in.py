"""Signing in by password, and what somebody gets who guesses."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.sign_in_kit import EMAIL, PASSWORD, House

from keylease.platform.db.database import Database
from keylease.platform.identity.sign_in import attempts
from keylease.platform.identity.sign_in.passwords import PasswordHasher


async def test_a_sign_in_gives_a_cookie_that_no_script_reads(house: House) -> None:
    await house.owner()
    answer = await house.browser(user_agent="Mozilla Firefox/140.0 (X11; Linux)").with_password(
        next="/device?code=BCDF-GHJK"
    )
    assert answer.json()["state"] == "signed_in"
    assert answer.json()["next"] == "/device?code=BCDF-GHJK"
    assert answer.json()["session"]["device"] == "Firefox on Linux"
    cookies = {line.split("=")[0]: line for line in answer.headers.get_list("set-cookie")}
    for name in ("keylease_session", "keylease_browser"):
        assert "HttpOnly" in cookies[name]
        assert "SameSite=lax" in cookies[name]
        assert "Path=/" in cookies[name]
    assert cookies["keylease_session"].split("=")[1].split(";")[0] not in answer.text


async def test_whether_there_is_an_account_cannot_be_told(house: House) -> None:
    await house.owner()
    wrong = await house.browser().with_password(password="four other words here")
    unknown = await house.browser().with_password(email="nobody@example.com")
    assert wrong.status_code == unknown.status_code == 401
    different = {"request_id"}
    assert {k: v for k, v in wrong.json().items() if k not in different} == {
        k: v for k, v in unknown.json().items() if k not in different
    }
    refusals = [e for e in await house.entries() if e["action"] == "sign_in.refused"]
    assert [entry["object"] == "unknown" for entry in refusals] == [False, True]
    assert "nobody@example.com" not in str(refusals)


async def test_an_unknown_account_is_looked_at_as_long_as_a_known_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.owner()
    derived: list[int] = []
    real = PasswordHasher._derive

    async def counted(self: PasswordHasher, *arguments: object) -> bytes:
        derived.append(1)
        return await real(self, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(PasswordHasher, "_derive", counted)
    for email in (EMAIL, "nobody@example.com", "no address at all@"):
        derived.clear()
        await house.browser().with_password(email=email, password="four other words here")
        assert len(derived) == (0 if email.endswith("@") else 1)  # what is no address is a 422


async def test_guesses_at_one_account_are_slowed_and_the_owner_is_not_locked_out(
    house: House,
) -> None:
    owner = await house.owner()
    await owner.with_password()  # now this browser is known
    guesser = house.browser()
    for _ in range(attempts.ACCOUNT.at_once):
        assert (await guesser.with_password(password="four guessed words!")).status_code == 401
    slowed = await guesser.with_password(password=PASSWORD)
    assert slowed.status_code == 429
    assert 0 < int(slowed.headers["retry-after"]) <= attempts.ACCOUNT.seconds
    # A browser in which the owner signed in before is counted apart.
    assert (await owner.with_password()).status_code == 200
    # And with time one guess comes back, for everybody.
    house.clock.advance(attempts.ACCOUNT.seconds)
    assert (await guesser.with_password(password="four guessed words!")).status_code == 401
    assert (await guesser.with_password(password="four guessed words!")).status_code == 429


async def test_unknown_accounts_are_slowed_alike(house: House) -> None:
    guesser = house.browser()
    statuses = [
        (await guesser.with_password(email="nobody@example.com")).status_code
        for _ in range(attempts.ACCOUNT.at_once + 1)
    ]
    assert statuses == [401] * attempts.ACCOUNT.at_once + [429]


async def test_one_address_may_not_try_many_accounts(house: House) -> None:
    guesser = house.browser()
    statuses = [
        (await guesser.with_password(email=f"user{n}@example.com")).status_code
        for n in range(attempts.ADDRESS.at_once + 1)
    ]
    assert statuses == [401] * attempts.ADDRESS.at_once + [429]
    # A passkey is counted by its address alone, like everything else from there.
    assert (await guesser.post("/v1/sign-in/passkey/challenge")).status_code == 429


async def test_right_passwords_do_not_count(house: House) -> None:
    await house.owner()
    for _ in range(attempts.ACCOUNT.at_once + 3):
        assert (await house.browser().with_password()).status_code == 200


async def test_guesses_at_the_same_moment_are_all_counted(house: House) -> None:
    await house.owner()
    browsers = [house.browser() for _ in range(attempts.ACCOUNT.at_once + 4)]
    answers = await asyncio.gather(
        *(browser.with_password(password="four guessed words!") for browser in browsers)
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [401] * attempts.ACCOUNT.at_once + [429] * 4


async def test_the_count_survives_a_restart(house: House) -> None:
    await house.owner()
    guesser = house.browser()
    for _ in range(attempts.ACCOUNT.at_once):
        await guesser.with_password(password="four guessed words!")
    async with house.database.transaction() as tx:
        await attempts.forget_old(tx)
    assert (await house.browser().with_password()).status_code == 429


async def test_a_flood_of_refusals_is_counted_and_not_all_written(
    database: Database, clock: ManualClock
) -> None:
    async with database.transaction() as tx:
        written = [await attempts.may_be_written(tx) for _ in range(attempts.WRITTEN.at_once + 5)]
    assert written == [0] * attempts.WRITTEN.at_once + [None] * 5
    clock.advance(attempts.WRITTEN.seconds)
    async with database.transaction() as tx:
        assert await attempts.may_be_written(tx) == 5
    clock.advance(attempts.WRITTEN.seconds)
    async with database.transaction() as tx:
        assert await attempts.may_be_written(tx) == 0


async def test_a_changed_password_ends_other_sessions_and_its_own_goes_on(house: House) -> None:
    owner = await house.owner()
    other = house.browser()
    await other.with_password()
    before = owner.session
    await owner.ask("PUT", "/v1/sign-in-methods/password", {"password": "four newer words fit"})
    assert owner.session != before
    assert (await owner.get("/v1/session")).status_code == 200
    assert (await other.get("/v1/session")).status_code == 401
    assert (await house.browser().with_password()).status_code == 401


async def test_passwords_can_be_switched_off(house: House) -> None:
    owner = await house.owner()
    settings = await owner.get("/v1/sign-in-settings")
    body = {**settings.json(), "passwords_allowed": False}
    del body["version"]
    etag = settings.headers["etag"]
    await owner.ask("PUT", "/v1/sign-in-settings", body, if_match=etag)
    assert (await house.browser().with_password()).status_code == 401
    stale = await owner.send("PUT", "/v1/sign-in-settings", body, if_match=etag)
    assert stale.status_code == 412
    assert (await owner.send("PUT", "/v1/sign-in-settings", body)).status_code == 428
    changed = [e for e in await house.entries() if e["action"] == "sign_in_settings.changed"]
    assert changed[0]["details"] == {"passwords_allowed": "false"}


async def test_a_password_hashed_with_weaker_parameters_is_hashed_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.owner()
    renewed: list[str] = []
    real = PasswordHasher.hash

    async def noted(self: PasswordHasher, password: str) -> str:
        renewed.append("hashed")
        return await real(self, password)

    monkeypatch.setattr(PasswordHasher, "hash", noted)
    monkeypatch.setattr(PasswordHasher, "is_outdated", lambda _self, _stored: True)
    assert (await house.browser().with_password()).status_code == 200
    assert renewed == ["hashed"]


async def test_bodies_with_more_or_less_than_they_should_have_are_refused(
    house: House,
) -> None:
    browser = house.browser()
    bodies: tuple[object, ...] = (
        {"email": EMAIL, "password": PASSWORD, "limited": False},
        {"email": EMAIL},
        {"email": "a\r\nSet-Cookie: x=1@example.com", "password": PASSWORD},
        {"email": EMAIL, "password": ""},
        {"email": EMAIL, "password": "x" * 600},
        {"email": EMAIL, "password": ["x"]},
        [],
    )
    for body in bodies:
        answer = await browser.send("POST", "/v1/sign-in/password", body)
        assert answer.status_code == 422, body
        assert PASSWORD not in answer.text
