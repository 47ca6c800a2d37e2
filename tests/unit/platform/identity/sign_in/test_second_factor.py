"""One-time codes, recovery codes, and organizations that require a second factor."""

from __future__ import annotations

import pyotp
from tests.support.databases import everything_in
from tests.support.sign_in_kit import EMAIL, PASSWORD, Browser, House
from tests.support.software_passkey import SoftwarePasskey

from keylease.platform.identity.sign_in import attempts


async def begun(house: House) -> tuple[Browser, str]:
    browser = house.browser()
    answer = await browser.with_password()
    assert answer.json()["state"] == "code_wanted"
    assert answer.json()["session"] is None
    assert not browser.session
    return browser, answer.json()["step"]


async def finish(browser: Browser, step: str, code: str, *, recovery: bool = False) -> int:
    answer = await browser.post(
        "/v1/sign-in/code", {"step": step, "code": code, "recovery": recovery}
    )
    return answer.status_code


async def prepared(house: House) -> tuple[Browser, pyotp.TOTP, list[str]]:
    owner = await house.owner()
    app, codes = await house.with_codes(owner)
    house.clock.advance(60)
    return owner, app, codes


async def test_a_password_alone_opens_nothing_when_codes_are_set_up(house: House) -> None:
    _, app, codes = await prepared(house)
    assert len(set(codes)) == 10
    browser, step = await begun(house)
    assert await finish(browser, step, house.code(app)) == 200
    session = (await browser.get("/v1/session")).json()["session"]
    assert (session["method"], session["limited"]) == ("password_and_code", False)


async def test_a_code_is_good_once_also_in_another_sign_in(house: House) -> None:
    _, app, _ = await prepared(house)
    (first, one), (second, two) = await begun(house), await begun(house)
    code = house.code(app)
    assert await finish(first, one, code) == 200
    assert await finish(second, two, code) == 401
    # An earlier one is not good either, although its half minute is not over.
    assert await finish(second, two, house.code(app, steps=-1)) == 401
    assert await finish(second, two, house.code(app, steps=1)) == 200
    # And the sign-in under way is used up.
    house.clock.advance(60)
    assert await finish(first, one, house.code(app)) == 401


async def test_a_recovery_code_is_good_once(house: House) -> None:
    owner, _, codes = await prepared(house)
    browser, step = await begun(house)
    assert await finish(browser, step, codes[0].lower(), recovery=True) == 200
    other, step = await begun(house)
    assert await finish(other, step, codes[0], recovery=True) == 401
    assert await finish(other, step, codes[1], recovery=True) == 200
    assert (await owner.get("/v1/sign-in-methods")).json()["recovery_codes"] == 8
    fresh = (await owner.ask("POST", "/v1/sign-in-methods/recovery-codes", {}))["codes"]
    last, step = await begun(house)
    assert await finish(last, step, codes[2], recovery=True) == 401
    assert await finish(last, step, fresh[0], recovery=True) == 200


async def test_guesses_at_codes_are_slowed(house: House) -> None:
    _, app, _ = await prepared(house)
    browser, step = await begun(house)
    wrong = "000000" if house.code(app) != "000000" else "000001"
    for _ in range(attempts.ACCOUNT.at_once):
        assert await finish(browser, step, wrong) == 401
    assert await finish(browser, step, house.code(app)) == 429
    refusals = [e for e in await house.entries() if e["action"] == "sign_in.refused"]
    assert {entry["reason"] for entry in refusals} == {"one_time_code"}


async def test_the_secret_is_sealed_and_in_no_answer_afterwards(house: House) -> None:
    _, app, codes = await prepared(house)
    stored = await everything_in(house.database)
    assert EMAIL.encode() in stored, "the search is not blind"
    for secret in (app.secret, app.byte_secret(), codes[0], PASSWORD):
        raw = secret if isinstance(secret, bytes) else secret.encode()
        assert raw not in stored
    assert app.secret not in str(await house.entries())


async def test_a_required_second_factor_leaves_a_password_for_setting_one_up_only(
    house: House,
) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "admin")
    await owner.add_passkey(SoftwarePasskey())
    await house.require_second_factor(owner)
    answer = await bob.with_password(email="bob@example.com")
    assert answer.json()["state"] == "set_up_wanted"
    assert (await bob.get("/v1/projects")).status_code == 403
    # Another password is no second factor.
    other = await bob.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD + "!"})
    assert other["session"]["limited"]
    before = bob.session
    await house.with_codes(bob)
    assert bob.session != before
    assert (await bob.get("/v1/projects")).status_code == 200
    # It cannot be taken away again.
    removal = await bob.send("DELETE", "/v1/sign-in-methods/one-time-codes")
    assert removal.status_code == 409


async def test_a_set_up_is_finished_with_a_right_code_and_not_done_twice(
    house: House,
) -> None:
    owner = await house.owner()
    confirmation = "/v1/sign-in-methods/one-time-codes/confirmation"
    assert (await owner.post(confirmation, {"code": "123456"})).status_code == 409
    enrolment = await owner.ask("POST", "/v1/sign-in-methods/one-time-codes", {})
    assert enrolment["uri"].startswith("otpauth://totp/Keylease:")
    assert (await owner.post(confirmation, {"code": "12345"})).status_code == 422
    # Unconfirmed, it is no factor yet.
    assert (await house.browser().with_password()).json()["state"] == "signed_in"
    app = pyotp.TOTP(enrolment["secret"])
    assert (await owner.post(confirmation, {"code": house.code(app)})).status_code == 200
    assert (await owner.post("/v1/sign-in-methods/one-time-codes")).status_code == 409
    assert (await owner.send("DELETE", "/v1/sign-in-methods/one-time-codes")).status_code == 200
    assert (await house.browser().with_password()).json()["state"] == "signed_in"
