"""Groups as principals of policy grants: over HTTP, down to the bundle, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.support.furnished import Tenant, bearer, client, founded, tenant
from tests.support.manual_clock import ManualClock

from keylease.contracts.policy import PolicyBundle
from keylease.platform.db.database import Database
from keylease.platform.server.services import Services


class House:
    """An organization whose policy has one grant, for the group of all teams."""

    def __init__(self, services: Services, owner: Tenant, api: httpx.AsyncClient) -> None:
        self.services = services
        self.owner = owner
        self.api = api
        self.grant: dict[str, Any] = {}
        self.outer = self.inner = ""

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.api.request(method, path, json=body, headers=sent)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json() if answer.content else None

    async def account(self, name: str) -> str:
        made = await self.ask("POST", "/v1/service-accounts", {"name": name})
        return f"service_account:{made['id']}"

    async def join(self, group: str, member: str) -> None:
        await self.ask("PUT", f"/v1/groups/{group}/members/{member}")

    async def leave(self, group: str, member: str) -> None:
        await self.ask("DELETE", f"/v1/groups/{group}/members/{member}")

    async def publish(self) -> Any:  # noqa: ANN401 - JSON
        draft = await self.api.get("/v1/policy")
        return await self.ask("POST", "/v1/policy/publish", {}, if_match=draft.headers["etag"])

    async def begin(self) -> None:
        self.outer = (await self.ask("POST", "/v1/groups", {"name": "all-teams"}))["id"]
        self.inner = (await self.ask("POST", "/v1/groups", {"name": "evals"}))["id"]
        await self.join(self.outer, f"group:{self.inner}")
        self.grant = await self.ask("POST", "/v1/policy-grants", grant(f"group:{self.outer}"))
        await self.publish()

    async def granted(self) -> list[tuple[str, ...]]:
        """Principals of each grant in the bundle."""
        signed = await self.services.policy.bundles.bundle(self.owner.organization_id, "eu")
        assert signed is not None
        bundle = msgspec.json.decode(signed.payload, type=PolicyBundle)
        return [one.principals for one in bundle.grants]

    async def generation(self) -> int:
        found = await self.services.policy.bundles.generations([self.owner.organization_id])
        return found[self.owner.organization_id]


def grant(*principals: str) -> dict[str, object]:
    return {
        "name": "teams",
        "principals": list(principals),
        "models": ["*"],
        "purposes": ["development"],
    }


@pytest.fixture
async def house(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[House]:
    async with founded(database, clock, tmp_path) as services:
        owner = await tenant(services, "Acme")
        async with client(services, await bearer(services, owner)) as api:
            yield House(services, owner, api)


async def test_members_stand_in_the_place_of_a_group_and_change_with_it(house: House) -> None:
    await house.begin()
    assert await house.granted() == [], "nobody is in it, so the grant is for nobody"
    one, two = await house.account("one"), await house.account("two")
    # A member of a group in the group comes into the next bundle, of which gateways are told.
    before = await house.generation()
    await house.join(house.inner, one)
    assert await house.generation() > before
    assert await house.granted() == [(one,)]
    await house.join(house.outer, two)
    assert await house.granted() == [tuple(sorted((one, two)))]
    # Whoever is in it twice stays until both are gone.
    await house.join(house.outer, one)
    await house.leave(house.inner, one)
    assert await house.granted() == [tuple(sorted((one, two)))]
    await house.leave(house.outer, one)
    assert await house.granted() == [(two,)]
    # Who leaves altogether, and a group that is archived, are out of it at once.
    await house.join(house.inner, one)
    inner = await house.api.get(f"/v1/groups/{house.inner}")
    await house.ask("DELETE", f"/v1/groups/{house.inner}", if_match=inner.headers["etag"])
    assert await house.granted() == [(two,)]
    found = await house.api.get(f"/v1/service-accounts/{two.partition(':')[2]}")
    await house.ask("DELETE", f"/v1/service-accounts/{two.partition(':')[2]}",
                    if_match=found.headers["etag"])  # fmt: skip
    assert await house.granted() == []


async def test_only_groups_that_are_there_can_be_named(house: House) -> None:
    for name in ("group:*", "group:engineers", "group:00000000-0000-7000-8000-000000000000"):
        answer = await house.api.post("/v1/policy-grants", json=grant(name))
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, name
        assert answer.json()["errors"][0]["location"] == "body.principals.0"


async def test_joining_takes_what_changing_the_grant_takes(house: House) -> None:
    await house.begin()
    one = await house.account("one")
    role = await house.ask(
        "POST", "/v1/access/roles", {"name": "people", "permissions": ["principal:manage"]}
    )
    helper = await house.account("helper")
    await house.ask("POST", "/v1/access/grants", {"holder": helper, "role_id": role["id"]})
    made = await house.ask(
        "POST", "/v1/api-keys",
        {"name": "x", "permissions": ["principal:manage"], "principal": helper},
    )  # fmt: skip
    async with client(house.services, f"Bearer {made['text']}") as api:
        other = (await house.ask("POST", "/v1/groups", {"name": "other"}))["id"]
        assert (await api.put(f"/v1/groups/{other}/members/{one}")).is_success
        for group in (house.inner, house.outer):
            answer = await api.put(f"/v1/groups/{group}/members/{one}")
            assert answer.status_code == httpx.codes.FORBIDDEN, "it may not publish policy"
    assert await house.granted() == []


async def test_a_second_approver_is_not_gone_round_by_joining(house: House) -> None:
    await house.begin()
    one = await house.account("one")
    home = f"/v1/organizations/{house.owner.organization_id}"
    seen = await house.api.get(home)
    change = {"name": seen.json()["name"], "second_approver": True}
    await house.ask("PUT", home, change, if_match=seen.headers["etag"])
    answer = await house.api.put(f"/v1/groups/{house.inner}/members/{one}")
    assert answer.status_code == httpx.codes.CONFLICT, answer.text
    invited = await house.api.post(
        "/v1/invitations", json={"email": "new@acme.example", "group_ids": [house.inner]}
    )
    assert invited.status_code == httpx.codes.CONFLICT, invited.text
    assert await house.granted() == []
