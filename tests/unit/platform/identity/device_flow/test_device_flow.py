"""A command line that is signed in from a browser."""

from __future__ import annotations

from typing import Any

import httpx
from tests.support.sign_in_kit import Browser, House

from keylease.platform.identity.device_flow.interfaces import INTERVAL, SECONDS
from keylease.platform.identity.sign_in import attempts
from keylease.platform.server.routes.devices import CLIENT_ID, GRANT_TYPE


async def begin(house: House, **more: str) -> Any:  # noqa: ANN401 - JSON
    answer = await house.browser().client.post(
        "/oauth/device_authorization", data={"client_id": CLIENT_ID, **more}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def poll(house: House, device_code: str) -> httpx.Response:
    form = {"grant_type": GRANT_TYPE, "client_id": CLIENT_ID, "device_code": device_code}
    return await house.browser().client.post("/oauth/token", data=form)


async def error(house: House, device_code: str) -> str:
    answer = await poll(house, device_code)
    assert answer.status_code == 400
    return str(answer.json()["error"])


async def decide(person: Browser, user_code: str, *, approve: bool = True) -> httpx.Response:
    return await person.post("/v1/devices/decision", {"user_code": user_code, "approve": approve})


async def test_a_device_is_signed_in_once_somebody_has_approved(house: House) -> None:
    owner = await house.owner()
    codes = await begin(house, device_name="ada's laptop\x1b[31m")
    assert codes["verification_uri"] == "http://localhost:4140/device"
    assert codes["verification_uri_complete"].endswith(f"?code={codes['user_code']}")
    assert await error(house, codes["device_code"]) == "authorization_pending"
    shown = await owner.ask("POST", "/v1/devices/look", {"user_code": codes["user_code"].lower()})
    assert shown["device"] == "ada's laptop?[31m"
    assert (await decide(owner, codes["user_code"])).status_code == 204
    house.clock.advance(INTERVAL)
    answer = (await poll(house, codes["device_code"])).json()
    device = house.browser(authorization=f"Bearer {answer['access_token']}")
    caller = (await device.get("/v1/caller")).json()
    assert caller["principal"] == (await owner.get("/v1/caller")).json()["principal"]
    # No cookie, so no CSRF text is needed.
    assert (await device.post("/v1/projects", {"name": "by hand"})).status_code == 201
    # The code is used up.
    assert await error(house, codes["device_code"]) == "expired_token"
    listed = (await owner.get("/v1/sessions")).json()["items"]
    assert {each["kind"] for each in listed} == {"browser", "command_line"}


async def test_a_device_that_asks_too_often_is_slowed(house: House) -> None:
    codes = await begin(house)
    assert await error(house, codes["device_code"]) == "authorization_pending"
    assert await error(house, codes["device_code"]) == "slow_down"
    house.clock.advance(INTERVAL)
    assert await error(house, codes["device_code"]) == "slow_down"
    house.clock.advance(INTERVAL + 10)
    assert await error(house, codes["device_code"]) == "authorization_pending"


async def test_a_refused_device_is_told_and_a_late_one_too(house: House) -> None:
    owner = await house.owner()
    refused, late = await begin(house), await begin(house)
    assert (await decide(owner, refused["user_code"], approve=False)).status_code == 204
    assert await error(house, refused["device_code"]) == "access_denied"
    house.clock.advance(SECONDS)
    assert (await decide(owner, late["user_code"])).status_code == 404
    assert await error(house, late["device_code"]) == "expired_token"


async def test_a_code_is_decided_once_and_codes_are_not_guessed(house: House) -> None:
    owner = await house.owner()
    codes = await begin(house)
    assert (await decide(owner, codes["user_code"])).status_code == 204
    assert (await decide(owner, codes["user_code"], approve=False)).status_code == 404
    statuses = [
        (await owner.post("/v1/devices/look", {"user_code": "BCDFGHJK"})).status_code
        for _ in range(attempts.USER_CODE.at_once + 1)
    ]
    assert statuses[0] == 404
    assert statuses[-1] == 429


async def test_only_a_person_in_a_full_session_approves(house: House) -> None:
    owner = await house.owner()
    codes = await begin(house)
    assert (await decide(house.browser(), codes["user_code"])).status_code == 401
    body = {"name": "k", "permissions": ["project:read"]}
    key = (await owner.ask("POST", "/v1/api-keys", body))["text"]
    robot = house.browser(authorization=f"Bearer {key}")
    assert (await decide(robot, codes["user_code"])).status_code == 403
    owner.csrf = "wrong"
    assert (await decide(owner, codes["user_code"])).status_code == 403
    assert await error(house, codes["device_code"]) == "authorization_pending"


async def test_a_command_lines_text_is_exchanged_and_its_old_one_ends_alone(
    house: House,
) -> None:
    owner = await house.owner()
    codes = await begin(house)
    await decide(owner, codes["user_code"])
    old = (await poll(house, codes["device_code"])).json()["access_token"]
    device = house.browser(authorization=f"Bearer {old}")
    new = (await device.ask("POST", "/v1/session/exchange", {}))["session_text"]
    renewed = house.browser(authorization=f"Bearer {new}")
    assert (await renewed.get("/v1/caller")).status_code == 200
    house.clock.advance(61)
    assert (await device.get("/v1/caller")).status_code == 401
    assert (await renewed.get("/v1/caller")).status_code == 200


async def test_forms_that_are_none_are_refused(house: House) -> None:
    client = house.browser().client
    form = "application/x-www-form-urlencoded"
    for path, body, kind, expected in (
        ("/oauth/device_authorization", "client_id=other", form, "invalid_client"),
        ("/oauth/device_authorization", "", form, "invalid_client"),
        ("/oauth/device_authorization", "{}", "application/json", "invalid_request"),
        ("/oauth/token", f"client_id={CLIENT_ID}", form, "unsupported_grant_type"),
        ("/oauth/token", "a=1&a=2", form, "invalid_request"),
        ("/oauth/token", "x=" + "y" * 600, form, "invalid_request"),
        ("/oauth/token", "%ff=1&client_id=\xe4", form, "invalid_request"),
    ):
        answer = await client.post(path, content=body.encode(), headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]) == (400, expected), (path, body[:20])
