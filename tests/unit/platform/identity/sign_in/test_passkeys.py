"""Passkeys: registered, used, and everything that somebody else could send."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.support.sign_in_kit import House
from tests.support.software_passkey import USER_PRESENT, SoftwarePasskey, base64url

REFUSED = (401, "sign_in_refused")


async def test_a_passkey_is_registered_and_signs_in(house: House) -> None:
    owner = await house.arrived()
    passkey = SoftwarePasskey()
    assert (await owner.add_passkey(passkey)).status_code == 201
    house.clock.advance(1)
    assert (await owner.add_passkey(SoftwarePasskey(), "Phone")).status_code == 201
    methods = (await owner.get("/v1/sign-in-methods")).json()
    assert [each["name"] for each in methods["passkeys"]] == ["Laptop", "Phone"]
    answer = await house.browser().with_passkey(passkey)
    assert answer.json()["state"] == "signed_in"
    assert answer.json()["session"]["method"] == "passkey"
    used = (await owner.get("/v1/sign-in-methods")).json()["passkeys"][0]
    assert used["used_at"] == house.clock.now()


async def test_a_passkey_is_two_factors(house: House) -> None:
    owner = await house.owner()
    passkey = SoftwarePasskey()
    await owner.add_passkey(passkey)
    await house.with_codes(owner)
    await house.require_second_factor(owner)
    answer = await house.browser().with_passkey(passkey)
    assert (answer.json()["state"], answer.json()["session"]["limited"]) == ("signed_in", False)


def wrong_origin(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.origin = "http://localhost:4140.evil.example"
    return passkey.sign_in(options)


def wrong_site(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.site = "evil.example"
    return passkey.sign_in(options)


def wrong_challenge(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    return passkey.sign_in({**options, "challenge": base64url(b"another challenge")})


def without_verification(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.flags = USER_PRESENT
    return passkey.sign_in(options)


def counter_set_back(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.count = 0
    return passkey.sign_in(options, counts=False)


def another_key(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.key = SoftwarePasskey().key
    return passkey.sign_in(options)


def another_user(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    passkey.handle = b"somebody else!!!"
    return passkey.sign_in(options)


def unknown(_: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    return SoftwarePasskey().sign_in(options)


def nothing(_: SoftwarePasskey, __: dict[str, Any]) -> dict[str, Any]:
    return {}


def nonsense(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    good = passkey.sign_in(options)
    return {**good, "response": {**good["response"], "authenticatorData": "AAAA"}}


def no_texts(passkey: SoftwarePasskey, options: dict[str, Any]) -> dict[str, Any]:
    good = passkey.sign_in(options)
    return {**good, "response": {"clientDataJSON": 5, "signature": None}}


FORGED: tuple[Callable[[SoftwarePasskey, dict[str, Any]], dict[str, Any]], ...] = (
    wrong_origin,
    wrong_site,
    wrong_challenge,
    without_verification,
    counter_set_back,
    another_key,
    another_user,
    unknown,
    nothing,
    nonsense,
    no_texts,
)


async def test_what_is_not_right_in_every_part_is_refused(house: House) -> None:
    owner = await house.arrived()
    real = SoftwarePasskey()
    await owner.add_passkey(real)
    await house.browser().with_passkey(real)
    for forged in FORGED:
        browser = house.browser()
        asked = await browser.ask("POST", "/v1/sign-in/passkey/challenge", {})
        response = forged(copy.copy(real), asked["options"])
        answer = await browser.post(
            "/v1/sign-in/passkey", {"step": asked["step"], "response": response}
        )
        assert (answer.status_code, answer.json()["code"]) == REFUSED, forged.__name__
        assert not browser.session
    # The passkey itself still opens: nobody was locked out by trying.
    assert (await house.browser().with_passkey(real)).status_code == 200


async def test_an_answer_is_good_once(house: House) -> None:
    owner = await house.arrived()
    passkey = SoftwarePasskey()
    await owner.add_passkey(passkey)
    browser = house.browser()
    asked = await browser.ask("POST", "/v1/sign-in/passkey/challenge", {})
    body = {"step": asked["step"], "response": passkey.sign_in(asked["options"])}
    assert (await browser.post("/v1/sign-in/passkey", body)).status_code == 200
    replayed = await house.browser().post("/v1/sign-in/passkey", body)
    assert (replayed.status_code, replayed.json()["code"]) == REFUSED
    # Nor with another challenge of ours.
    other = await browser.ask("POST", "/v1/sign-in/passkey/challenge", {})
    moved = await browser.post("/v1/sign-in/passkey", {**body, "step": other["step"]})
    assert (moved.status_code, moved.json()["code"]) == REFUSED


async def test_a_challenge_ends_after_ten_minutes(house: House) -> None:
    owner = await house.arrived()
    passkey = SoftwarePasskey()
    await owner.add_passkey(passkey)
    browser = house.browser()
    asked = await browser.ask("POST", "/v1/sign-in/passkey/challenge", {})
    house.clock.advance(600)
    body = {"step": asked["step"], "response": passkey.sign_in(asked["options"])}
    assert (await browser.post("/v1/sign-in/passkey", body)).status_code == 401


async def test_a_registration_is_of_this_site_this_person_and_this_moment(
    house: House,
) -> None:
    owner = await house.owner()
    path = "/v1/sign-in-methods/passkeys"
    for broken in ("origin", "site", "flags"):
        asked = await owner.ask("POST", f"{path}/challenge", {})
        passkey = SoftwarePasskey()
        setattr(passkey, broken, {"origin": "https://evil.example", "site": "e"}.get(broken, 1))
        body = {"step": asked["step"], "response": passkey.register(asked["options"]), "name": "x"}
        assert (await owner.post(path, body)).status_code == 422
        # Used up, whatever came of it.
        assert (await owner.post(path, body)).status_code == 401
    bob = await house.invited(owner, "bob@example.com")
    asked = await owner.ask("POST", f"{path}/challenge", {})
    body = {
        "step": asked["step"],
        "response": SoftwarePasskey().register(asked["options"]),
        "name": "x",
    }
    stolen = await bob.post(path, body)
    assert stolen.status_code == 422


async def test_one_passkey_belongs_to_one_person(house: House) -> None:
    owner = await house.owner()
    passkey = SoftwarePasskey()
    assert (await owner.add_passkey(passkey)).status_code == 201
    bob = await house.invited(owner, "bob@example.com")
    assert (await bob.add_passkey(passkey)).status_code == 409


async def test_the_last_way_in_is_not_removed(house: House) -> None:
    owner = await house.arrived()
    await owner.add_passkey(SoftwarePasskey())
    passkey_id = (await owner.get("/v1/sign-in-methods")).json()["passkeys"][0]["id"]
    path = f"/v1/sign-in-methods/passkeys/{passkey_id}"
    last = await owner.send("DELETE", path)
    assert (last.status_code, last.json()["code"]) == (409, "conflict")
    assert len((await owner.get("/v1/sign-in-methods")).json()["passkeys"]) == 1
    await owner.add_passkey(SoftwarePasskey(), "Phone")
    assert (await owner.send("DELETE", path)).status_code == 200
    assert (await owner.send("DELETE", path)).status_code == 404


async def test_changes_need_a_sign_in_of_the_last_minutes_and_no_api_key(
    house: House,
) -> None:
    owner = await house.owner()
    body = {"name": "k", "permissions": ["project:read"]}
    key = (await owner.ask("POST", "/v1/api-keys", body))["text"]
    robot = house.browser(authorization=f"Bearer {key}")
    for path in ("/v1/sign-in-methods/passkeys/challenge", "/v1/sign-in-methods/one-time-codes"):
        assert (await robot.post(path)).status_code == 403
    house.clock.advance(15 * 60 + 1)
    late = await owner.post("/v1/sign-in-methods/passkeys/challenge")
    assert (late.status_code, late.json()["code"]) == (403, "sign_in_again")
