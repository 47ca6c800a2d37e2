"""The directory and access over HTTP: each route as its user sees it, and as a stranger does."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.support.house import caller_of
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for

from keylease.errors import SignInRequired
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.server.guard import Evidence
from keylease.platform.server.services import Services


class ByName:
    """Believes whoever says a name."""

    def __init__(self) -> None:
        self.callers: dict[str, Caller] = {}

    async def authenticate(self, evidence: Evidence) -> Caller:
        try:
            return self.callers[evidence.authorization]
        except KeyError:
            raise SignInRequired("Who is that?") from None


@dataclasses.dataclass
class Town:
    """Two organizations behind one server."""

    services: Services
    known: ByName
    client: httpx.AsyncClient
    olga: Caller
    zoe: Caller

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        as_: str = "olga",
        version: object = None,
        **headers: str,
    ) -> httpx.Response:
        headers["authorization"] = as_
        if version is not None:
            headers["if-match"] = f'"{version}"'
        return await self.client.request(method, path, json=body, headers=headers)

    async def made(self, path: str, body: object, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as call
        answer = await self.call("POST", path, body, **more)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def town(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Town]:
    async with services_for(database, clock, tmp_path) as services:
        organizations = services.directory.organizations
        async with database.transaction() as tx:
            olga = await organizations.found(tx, name="Acme", owner="Olga", email="olga@acme.org")
            zoe = await organizations.found(tx, name="Zeta", owner="Zoe", email="zoe@zeta.org")
        known = ByName()
        callers = {
            name: caller_of(f"user:{user.id}", user.organization_id)
            for name, user in (("olga", olga), ("zoe", zoe))
        }
        known.callers.update(callers)
        joined = dataclasses.replace(services, authenticator=known)
        async with client_of(server_of(joined)) as client:
            yield Town(joined, known, client, callers["olga"], callers["zoe"])


def user_id(caller: Caller) -> str:
    return caller.name.partition(":")[2]


async def test_what_is_on_a_shelf(town: Town) -> None:
    for shelf in ("projects", "environments", "service-accounts", "groups"):
        await check_shelf(town, shelf)


async def check_shelf(town: Town, shelf: str) -> None:
    answer = await town.call("POST", f"/v1/{shelf}", {"name": "one", "description": "d"})
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    path = f"/v1/{shelf}/{answer.json()['id']}"
    assert (await town.call("GET", path)).json() == answer.json()
    listed = await town.call("GET", f"/v1/{shelf}")
    assert answer.json() in listed.json()["items"]
    assert (await town.call("PUT", path, {"name": "two"})).status_code == 428
    assert (await town.call("PUT", path, {"name": "two"}, version=5)).status_code == 412
    changed = await town.call("PUT", path, {"name": "two"}, version=1)
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    extra = {"name": "x", "version": 9, "organization_id": town.zoe.organization_id}
    assert (await town.call("PUT", path, extra, version=2)).status_code == 422
    assert (await town.call("DELETE", path, version=2)).json()["archived_at"] > 0
    if shelf in {"projects", "environments"}:
        restored = await town.call("POST", f"{path}/restore", version=3)
        assert restored.json()["archived_at"] is None
    # Another tenant finds nothing there, and nobody finds anything without signing in.
    for method, below, body in (
        ("GET", "", None),
        ("PUT", "", {"name": "two"}),
        ("DELETE", "", None),
    ):
        foreign = await town.call(method, path + below, body, as_="zoe", version=3)
        assert foreign.status_code == 404, foreign.text
        assert (await town.call(method, path, body, as_="", version=3)).status_code == 401
    assert answer.json()["id"] not in (await town.call("GET", f"/v1/{shelf}", as_="zoe")).text


async def test_an_organization_is_its_own_peoples(town: Town) -> None:
    (own,) = (await town.call("GET", "/v1/organizations")).json()["items"]
    path = f"/v1/organizations/{own['id']}"
    body = {"name": "Acme Ltd", "second_approver": True}
    changed = await town.call("PUT", path, body, version=1)
    assert changed.json()["second_approver"] is True
    for method, sent in (("GET", None), ("PUT", body)):
        answer = await town.call(method, path, sent, as_="zoe", version=2)
        assert answer.status_code == 404


async def test_a_user_comes_and_goes(town: Town) -> None:
    made = await town.made("/v1/invitations", {"email": "bob@acme.org", "name": "Bob"})
    secret = made["link"].partition("#")[2]
    assert made["link"].startswith("http://localhost:4140/invitation#")
    listed = await town.call("GET", "/v1/invitations")
    assert secret not in listed.text
    async with town.services.database.transaction() as tx:
        bob = await town.services.directory.accept_invitation(tx, secret)
    path = f"/v1/users/{bob.id}"
    assert (await town.call("GET", path)).json()["email"] == "bob@acme.org"
    body = {"name": "Bob B.", "email": "bob@acme.org"}
    assert (await town.call("PUT", path, body, version=1)).json()["name"] == "Bob B."
    suspended = await town.call("POST", f"{path}/suspend", version=2)
    assert suspended.json()["state"] == "suspended"
    resumed = await town.call("POST", f"{path}/resume", version=3)
    assert resumed.json()["state"] == "active"
    holdings = await town.call("GET", f"{path}/holdings")
    assert holdings.json()["held"] == []
    to = {"hand_over_to": user_id(town.olga)}
    for method, below, sent in (
        ("GET", "", None),
        ("PUT", "", body),
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("GET", "/holdings", None),
        ("POST", "/offboard", to),
        ("DELETE", "/person", None),
    ):
        foreign = await town.call(method, path + below, sent, as_="zoe", version=4)
        assert foreign.status_code == 404, foreign.text
    done = await town.call("POST", f"{path}/offboard", to, version=4)
    assert done.json()["user"]["state"] == "offboarded"
    erased = await town.call("DELETE", f"{path}/person", version=5)
    assert (erased.status_code, erased.json()["email"]) == (200, "")
    assert bob.id in (await town.call("GET", "/v1/users")).text


async def test_invitations_and_contacts_belong_to_a_tenant(town: Town) -> None:
    made = await town.made("/v1/invitations", {"email": "bob@acme.org"})
    invitation = f"/v1/invitations/{made['invitation']['id']}"
    contact = {"topics": ["security"], "name": "Desk", "email": "desk@acme.org"}
    desk = await town.made("/v1/contacts", contact)
    path = f"/v1/contacts/{desk['id']}"
    for method, where, sent in (
        ("GET", invitation, None),
        ("DELETE", invitation, None),
        ("GET", path, None),
        ("PUT", path, contact),
        ("DELETE", path, None),
    ):
        foreign = await town.call(method, where, sent, as_="zoe", version=1)
        assert foreign.status_code == 404, foreign.text
    assert (await town.call("GET", invitation)).json()["state"] == "pending"
    assert (await town.call("DELETE", invitation, version=1)).json()["state"] == "revoked"
    changed = await town.call("PUT", path, contact | {"topics": ["budget"]}, version=1)
    assert changed.json()["topics"] == ["budget"]
    assert desk["id"] in (await town.call("GET", "/v1/contacts")).text
    assert (await town.call("DELETE", path, version=2)).status_code == 204


async def test_members_of_groups(town: Town) -> None:
    group = await town.made("/v1/groups", {"name": "team"})
    path = f"/v1/groups/{group['id']}/members"
    mine = f"{path}/{town.olga.name}"
    assert (await town.call("PUT", mine)).json()["member"] == town.olga.name
    assert (await town.call("PUT", f"{path}/{town.zoe.name}")).status_code == 422
    assert (await town.call("PUT", f"{path}/everybody")).status_code == 422
    (member,) = (await town.call("GET", path)).json()["items"]
    assert member["added_by"] == town.olga.name
    for method, where in (("GET", path), ("PUT", f"{path}/{town.zoe.name}"), ("DELETE", mine)):
        assert (await town.call(method, where, as_="zoe")).status_code == 404
    assert (await town.call("DELETE", mine)).status_code == 204


async def test_roles_and_grants(town: Town) -> None:
    content = {"name": "Reader", "permissions": ["credential:read"]}
    role = await town.made("/v1/access/roles", content)
    path = f"/v1/access/roles/{role['id']}"
    given = {"holder": town.olga.name, "role_id": role["id"], "reason": "to look"}
    grant = await town.made("/v1/access/grants", given)
    granted = f"/v1/access/grants/{grant['id']}"
    assert (await town.call("GET", granted)).json() == grant
    for method, where, sent in (
        ("GET", path, None),
        ("PUT", path, content),
        ("DELETE", path, None),
        ("GET", granted, None),
        ("DELETE", granted, None),
        ("GET", f"/v1/access/grants?project_id={grant['id']}", None),
    ):
        foreign = await town.call(method, where, sent, as_="zoe", version=1)
        assert foreign.status_code == 404, foreign.text
    listed = await town.call("GET", f"/v1/access/grants?role_id={role['id']}")
    assert listed.json()["items"] == [grant]
    assert (await town.call("DELETE", granted, version=1)).json()["revoked_at"] > 0
    for query, count in (("", 0), ("&state=all", 1)):
        listed = await town.call("GET", f"/v1/access/grants?role_id={role['id']}{query}")
        assert len(listed.json()["items"]) == count
    changed = await town.call("PUT", path, content | {"name": "Looker"}, version=1)
    assert changed.json()["name"] == "Looker"
    assert (await town.call("DELETE", path, version=2)).status_code == 204
    names = [r["name"] for r in (await town.call("GET", "/v1/access/roles")).json()["items"]]
    assert names == ["Owner", "Admin", "Engineer", "Reviewer", "Viewer", "Auditor"]
    permissions = (await town.call("GET", "/v1/access/permissions")).json()
    assert {"permission": "audit:export", "dangerous": True} in permissions


async def test_a_wrong_grant_is_refused(town: Town) -> None:
    wrong: tuple[dict[str, object], ...] = (
        {"role_id": "viewer", "given_by": "user:me"},
        {"role_id": "viewer", "holder": "everybody"},
        {"role_id": "viewer", "permission": "audit:read"},
        {"permission": "everything:*"},
        {},
        {"role_id": "viewer", "ends_at": 10**30},
        {"role_id": "viewer", "object": "credential"},
        {"role_id": "viewer", "project_id": "x' OR 1=1 --"},
    )
    for each in wrong:
        body = {"holder": town.olga.name} | each
        answer = await town.call("POST", "/v1/access/grants", body)
        assert answer.status_code == 422, each


async def test_why_and_why_not(town: Town) -> None:
    project = await town.made("/v1/projects", {"name": "p"})
    account = await town.made("/v1/service-accounts", {"name": "ci"})
    ci = f"service_account:{account['id']}"
    await town.made(
        "/v1/access/grants", {"holder": ci, "role_id": "viewer", "project_id": project["id"]}
    )
    ask = f"/v1/access/explain?principal={ci}&permission=credential:read"
    inside = (await town.call("GET", f"{ask}&project_id={project['id']}")).json()
    assert (inside["allowed"], inside["reason"]) == (True, "granted")
    assert inside["grant"]["role_id"] == "viewer"
    outside = (await town.call("GET", ask)).json()
    assert (outside["allowed"], outside["reason"]) == (False, "elsewhere")
    assert outside["roles"][0] == "viewer"
    assert "would give it" in outside["advice"]
    named = f"{ask}&project_id={project['id']}&object=credential/{account['id']}"
    assert (await town.call("GET", named)).json()["allowed"] is True
    mixed = f"{ask}&object=trace/{account['id']}"
    assert (await town.call("GET", mixed)).status_code == 422
    # Of another tenant nothing is known; about oneself everybody may ask.
    strangers = (await town.call("GET", ask, as_="zoe")).json()
    assert strangers["reason"] == "not_active"
    foreign = await town.call("GET", f"{ask}&project_id={project['id']}", as_="zoe")
    assert foreign.status_code == 404
    town.known.callers["ci"] = caller_of(ci, town.olga.organization_id)
    mine = await town.call("GET", "/v1/access/explain?permission=audit:export", as_="ci")
    assert mine.json()["reason"] == "not_granted"
    about_olga = f"/v1/access/explain?permission=audit:export&principal={town.olga.name}"
    assert (await town.call("GET", about_olga, as_="ci")).status_code == 403


async def test_who_holds_a_project_sees_that_project(town: Town) -> None:
    project = await town.made("/v1/projects", {"name": "p"})
    account = await town.made("/v1/service-accounts", {"name": "ci"})
    ci = f"service_account:{account['id']}"
    town.known.callers["ci"] = caller_of(ci, town.olga.organization_id)
    nothing = await town.call("GET", "/v1/projects", as_="ci")
    assert nothing.status_code == 403
    assert "project:read" in nothing.json()["detail"]
    body = {"holder": ci, "role_id": "viewer", "project_id": project["id"]}
    await town.made("/v1/access/grants", body)
    (seen,) = (await town.call("GET", "/v1/projects", as_="ci")).json()["items"]
    assert seen["id"] == project["id"]
    assert (await town.call("GET", f"/v1/projects/{seen['id']}", as_="ci")).status_code == 200
    assert (await town.call("GET", "/v1/users", as_="ci")).status_code == 403
    bound = msgspec.structs.replace(town.olga, project_id=project["id"])
    town.known.callers["bound"] = bound
    (only,) = (await town.call("GET", "/v1/projects", as_="bound")).json()["items"]
    assert only["id"] == project["id"]


async def test_a_narrowed_key_is_not_its_owner(town: Town) -> None:
    town.known.callers["key"] = msgspec.structs.replace(town.olga, permissions=frozenset())
    for path in (
        f"/v1/access/grants?holder={town.olga.name}",
        f"/v1/access/explain?permission=audit:read&principal={town.olga.name}",
        "/v1/projects",
    ):
        answer = await town.call("GET", path, as_="key")
        assert answer.status_code == 403, path
        assert "API key" in answer.json()["detail"]


async def test_a_key_that_somebody_pastes_is_refused(town: Town) -> None:
    pasted = "sk-proj-" + "aB3" * 20
    answer = await town.call("POST", "/v1/projects", {"name": "p", "description": pasted})
    assert (answer.status_code, answer.json()["code"]) == (422, "secret_in_request")


async def test_what_somebody_was_shown_comes_from_the_audit_log(town: Town) -> None:
    await town.made("/v1/invitations", {"email": "bob@acme.org"})
    audit = town.services.audit
    assert audit is not None
    path = f"/v1/users/{user_id(town.olga)}/holdings"
    for _ in range(2000):  # until the sequencer has taken the entry
        seen = (await town.call("GET", path)).json()["seen"]
        if seen:
            break
    assert [each["action"] for each in seen] == ["invitation.created"]
