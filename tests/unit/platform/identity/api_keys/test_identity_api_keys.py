"""API keys: what they open, what they never do, and how they end."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import text
from tests.support.sign_in_kit import Browser, House

from keylease.contracts import api_keys as texts
from keylease.platform.db.callers import platform_itself

DAY = 24 * 3600
READ = ["project:read"]


def robot_of(house: House, key: str) -> Browser:
    return house.browser(authorization=f"Bearer {key}")


async def made(person: Browser, permissions: list[str] | None = None, **more: object) -> Any:  # noqa: ANN401 - JSON
    body = {"name": "nightly", "permissions": permissions or READ, **more}
    return await person.ask("POST", "/v1/api-keys", body)


async def service_account(owner: Browser, name: str = "nightly") -> str:
    account = await owner.ask("POST", "/v1/service-accounts", {"name": name})
    return f"service_account:{account['id']}"


async def rotated(person: Browser, key: Any, grace: int) -> Any:  # noqa: ANN401 - JSON
    etag = (await person.get(f"/v1/api-keys/{key['id']}")).headers["etag"]
    return await person.send(
        "POST",
        f"/v1/api-keys/{key['id']}/rotate",
        {"gracePeriodSeconds": grace},
        if_match=etag,
    )


async def test_a_key_is_shown_once_and_kept_as_a_digest(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner)
    assert texts.is_well_formed(shown["text"])
    assert shown["key"]["hint"] == shown["text"][:9] + "..."
    read = await owner.get(f"/v1/api-keys/{shown['key']['id']}")
    assert shown["text"] not in read.text
    assert shown["text"] not in (await owner.get("/v1/api-keys")).text
    async with house.database.reading() as tx:
        rows = str((await tx.execute(text("SELECT * FROM api_keys"))).all())
    assert shown["text"] not in rows
    assert shown["text"] not in str(await house.entries())
    assert texts.parse(shown["text"]).digest in rows
    caller = await house.identity.api_keys.authenticate(shown["text"])
    again = await house.identity.api_keys.rotate(
        caller, shown["key"]["id"], grace_seconds=0, expected=1
    )
    assert again.text not in repr(again)


async def test_a_key_lives_ninety_days_and_no_longer_than_the_organization_says(
    house: House,
) -> None:
    owner = await house.owner()
    shown = await made(owner)
    assert shown["key"]["expires_at"] == house.clock.now() + 90 * DAY * 1_000_000
    assert (await owner.post("/v1/api-keys", {"name": "k", "permissions": READ, "days": 366})
            ).status_code == 422  # fmt: skip
    settings = await owner.get("/v1/sign-in-settings")
    body = {**settings.json(), "maximum_key_days": 30}
    del body["version"]
    await owner.ask("PUT", "/v1/sign-in-settings", body, if_match=settings.headers["etag"])
    # The keys there are do not live longer either.
    read = (await owner.get(f"/v1/api-keys/{shown['key']['id']}")).json()
    assert read["expires_at"] == house.clock.now() + 30 * DAY * 1_000_000
    robot = robot_of(house, shown["text"])
    assert (await robot.get("/v1/projects")).status_code == 200
    house.clock.advance(30 * DAY)
    assert (await robot.get("/v1/projects")).status_code == 401


async def test_a_key_does_what_it_says_and_no_more_than_its_owner(house: House) -> None:
    owner = await house.owner()
    robot = robot_of(house, (await made(owner))["text"])
    assert (await robot.get("/v1/projects")).status_code == 200
    assert (await robot.get("/v1/users")).status_code == 403
    assert (await robot.post("/v1/projects", {"name": "p"})).status_code == 403
    bob = await house.invited(owner, "bob@example.com", "viewer")
    wide = await made(bob, ["project:read", "project:manage", "policy:publish"])
    robot = robot_of(house, wide["text"])
    assert (await robot.get("/v1/projects")).status_code == 200
    assert (await robot.post("/v1/projects", {"name": "p"})).status_code == 403


async def test_the_last_use_is_known_about(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner)
    path = f"/v1/api-keys/{shown['key']['id']}"
    assert (await owner.get(path)).json()["used_at"] is None
    robot = robot_of(house, shown["text"])
    await robot.get("/v1/projects")
    first = (await owner.get(path)).json()["used_at"]
    assert first == house.clock.now()
    house.clock.advance(60)
    await robot.get("/v1/projects")
    assert (await owner.get(path)).json()["used_at"] == first
    house.clock.advance(600)
    await robot.get("/v1/projects")
    assert (await owner.get(path)).json()["used_at"] == house.clock.now()


async def test_rotation_has_a_grace_and_one_at_a_time(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner)
    key, old = shown["key"], shown["text"]
    answer = await rotated(owner, key, 3600)
    new = answer.json()["text"]
    assert answer.json()["key"]["previous_expires_at"] == house.clock.now() + 3600 * 1_000_000
    for good in (old, new):
        assert (await robot_of(house, good).get("/v1/projects")).status_code == 200
    again = await rotated(owner, key, 3600)
    assert (again.status_code, again.json()["code"]) == (409, "previous_secret_active")
    house.clock.advance(3600)
    assert (await robot_of(house, old).get("/v1/projects")).status_code == 401
    assert (await robot_of(house, new).get("/v1/projects")).status_code == 200
    third = (await rotated(owner, key, 60)).json()["text"]
    # Revoking the previous text is done once or many times with the same result.
    for _ in range(2):
        ended = await owner.ask("POST", f"/v1/api-keys/{key['id']}/revoke-previous", {})
        assert ended["previous_expires_at"] is None
    assert (await robot_of(house, new).get("/v1/projects")).status_code == 401
    assert (await robot_of(house, third).get("/v1/projects")).status_code == 200
    actions = [e["action"] for e in await house.entries() if e["action"].startswith("api_key")]
    assert actions.count("api_key.previous_revoked") == 1
    assert actions.count("api_key.rotated") == 2


async def test_without_a_grace_the_old_text_ends_at_once(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner)
    new = (await rotated(owner, shown["key"], 0)).json()["text"]
    assert (await robot_of(house, shown["text"]).get("/v1/projects")).status_code == 401
    assert (await robot_of(house, new).get("/v1/projects")).status_code == 200
    assert (await rotated(owner, shown["key"], 8 * DAY)).status_code == 422


async def test_a_revoked_key_opens_nothing_and_stays_listed(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner)
    path = f"/v1/api-keys/{shown['key']['id']}"
    assert (await owner.send("DELETE", path)).status_code == 428
    assert (await owner.send("DELETE", path, if_match='"7"')).status_code == 412
    assert (await owner.send("DELETE", path, if_match='"1"')).status_code == 204
    assert (await robot_of(house, shown["text"]).get("/v1/projects")).status_code == 401
    assert (await owner.get(path)).json()["revoked_at"] == house.clock.now()
    assert (await rotated(owner, shown["key"], 0)).status_code == 409
    listed = (await owner.get("/v1/api-keys/own?usable=true")).json()["items"]
    assert listed == []


async def test_keys_of_service_accounts_are_made_by_who_holds_what_they_do(
    house: House,
) -> None:
    owner = await house.owner()
    principal = await service_account(owner)
    shown = await made(owner, READ, principal=principal)
    assert shown["key"]["principal"] == principal
    assert (await robot_of(house, shown["text"]).get("/v1/caller")).json()["principal"] == principal
    # An Admin manages keys, but does not hold what is dangerous, and may not make it so.
    admin = await house.invited(owner, "bob@example.com", "admin")
    await made(admin, READ, principal=principal)
    body = {"name": "k", "permissions": ["policy:publish"], "principal": principal}
    denied = await admin.post("/v1/api-keys", body)
    assert denied.status_code == 403
    # Nor is one rotated, whose text would then be seen.
    strong = await made(owner, ["policy:publish"], principal=principal)
    assert (await rotated(admin, strong["key"], 0)).status_code == 403
    # A Viewer makes none for others; and nobody makes one for another person.
    viewer = await house.invited(owner, "eve@example.com", "viewer")
    assert (await viewer.post("/v1/api-keys", {**body, "permissions": READ})).status_code == 403
    user = (await viewer.get("/v1/caller")).json()["principal"]
    stolen = await owner.post("/v1/api-keys", {**body, "permissions": READ, "principal": user})
    assert stolen.status_code == 403


async def test_a_key_makes_no_keys_unless_it_was_allowed_and_none_beyond_itself(
    house: House,
) -> None:
    owner = await house.owner()
    body: dict[str, object] = {"name": "k", "permissions": READ}
    plain = robot_of(house, (await made(owner))["text"])
    assert (await plain.post("/v1/api-keys", body)).status_code == 403
    maker = robot_of(house, (await made(owner, [*READ, "api_key:manage"], days=10))["text"])
    child = await made(maker, READ, days=90)
    assert child["key"]["expires_at"] == house.clock.now() + 10 * DAY * 1_000_000
    wider = await maker.post("/v1/api-keys", {**body, "permissions": ["user:read"]})
    assert wider.status_code in {403, 422}
    beyond = await maker.post("/v1/api-keys", {**body, "permissions": ["audit:export"]})
    assert beyond.status_code == 403


async def test_a_key_bound_to_a_project_stays_in_it(house: House) -> None:
    owner = await house.owner()
    projects = (await owner.get("/v1/projects")).json()["items"]
    other = await owner.ask("POST", "/v1/projects", {"name": "other"})
    bound = await made(owner, [*READ, "api_key:manage"], project_id=projects[0]["id"])
    robot = robot_of(house, bound["text"])
    assert (await robot.get(f"/v1/projects/{projects[0]['id']}")).status_code == 200
    assert (await robot.get(f"/v1/projects/{other['id']}")).status_code in {403, 404}
    loose = await robot.post("/v1/api-keys", {"name": "k", "permissions": READ})
    assert loose.status_code == 403
    nowhere = "018f0000-0000-7000-8000-000000000000"
    body = {"name": "k", "permissions": READ, "project_id": nowhere}
    assert (await owner.post("/v1/api-keys", body)).status_code == 404


async def test_an_ingest_key_pushes_and_nothing_else(house: House) -> None:
    owner = await house.owner()
    shown = await made(owner, ["trace:ingest"], kind="ingest")
    assert re.fullmatch(r"kl_ing_[0-9A-Za-z]{39}", shown["text"])
    robot = robot_of(house, shown["text"])
    for path in ("/v1/caller", "/v1/projects", "/v1/api-keys/own", "/v1/session"):
        assert (await robot.get(path)).status_code == 403, path
    body = {"name": "k", "kind": "ingest", "permissions": READ}
    assert (await owner.post("/v1/api-keys", body)).status_code == 422
    # The kind is part of the text, and the checksum keeps it there.
    renamed = shown["text"].replace("kl_ing_", "kl_")
    assert (await robot_of(house, renamed).get("/v1/caller")).status_code == 401


WRONG: tuple[dict[str, object], ...] = (
    {"name": "k", "permissions": []},
    {"name": "k", "permissions": ["everything:*"]},
    {"name": "k", "permissions": READ, "expires_at": 0},
    {"name": "k", "permissions": READ, "days": 0},
    {"name": "k", "permissions": READ, "principal": "workload:ci"},
    {"name": "k\nset-cookie: a=b", "permissions": READ},
    {"name": "", "permissions": READ},
    {"name": "k", "permissions": READ * 200},
)


async def test_wishes_that_are_not_as_they_must_be_are_refused(house: House) -> None:
    owner = await house.owner()
    for body in WRONG:
        assert (await owner.post("/v1/api-keys", body)).status_code == 422, body


async def test_a_create_that_is_sent_again_shows_no_second_text(house: House) -> None:
    owner = await house.owner()
    body = {"name": "k", "permissions": READ}
    first = await owner.post("/v1/api-keys", body, idempotency_key="one")
    again = await owner.post("/v1/api-keys", body, idempotency_key="one")
    assert (first.status_code, again.status_code) == (201, 409)
    assert len((await owner.get("/v1/api-keys/own")).json()["items"]) == 1


async def test_gateways_are_told_of_keys_that_may_be_exchanged(house: House) -> None:
    owner = await house.owner()
    principal = await service_account(owner)
    await made(owner)
    shown = await made(owner, ["lease:exchange"], principal=principal)
    new = (await rotated(owner, shown["key"], 60)).json()
    organization = (await owner.get("/v1/session")).json()["organization_id"]

    async def told() -> dict[str, int]:
        async with house.database.reading(platform_itself(organization)) as tx:
            keys = await house.identity.api_keys.key_hashes_for_gateways(tx, organization)
        return {key.digest: key.expires_at for key in keys}

    previous, current = (texts.parse(each["text"]).digest for each in (shown, new))
    assert await told() == {
        current: new["key"]["expires_at"],
        previous: new["key"]["previous_expires_at"],
    }
    house.clock.advance(60)
    assert list(await told()) == [current]
    account = principal.partition(":")[2]
    etag = (await owner.get(f"/v1/service-accounts/{account}")).headers["etag"]
    await owner.ask("DELETE", f"/v1/service-accounts/{account}", if_match=etag)
    assert await told() == {}
    assert (await robot_of(house, new["text"]).get("/v1/caller")).status_code == 401
