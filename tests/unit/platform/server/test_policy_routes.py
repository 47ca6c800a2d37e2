from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for
from tests.support.policy_kit import ADA, MALLORY

from keylease.errors import PermissionDenied
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.server.guard import Evidence
from keylease.platform.server.services import Services

CREDENTIAL = {
    "name": "openai",
    "provider": "openai",
    "reference": "vault://secret/ai/openai#key",
    "purposes": ["development"],
}
GRANT = {
    "name": "developers",
    "principals": ["user:*"],
    "models": ["gpt-5"],
    "purposes": ["development"],
}
RULE = {
    "name": "jobs",
    "issuer": "https://issuer.example.com",
    "audience": "keylease",
    "claims": {"sub": "job-7"},
    "principal": "workload:jobs",
    "purposes": ["development"],
}
EVERYWHERE = "include=versions&include=boundary&include=reach&include=audit"
NOBODYS = "018f0000-0000-7000-8000-000000000099"


class Door:
    """Lets in who a test says; denies one permission when told to."""

    def __init__(self) -> None:
        self.denied: set[Permission] = set()
        self.asked: list[tuple[Permission, str]] = []

    async def authenticate(self, evidence: Evidence) -> Caller:
        return MALLORY if evidence.authorization == "mallory" else ADA

    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        del caller, project_id
        self.asked.append((permission, object_id))
        if permission in self.denied:
            raise PermissionDenied(f"No {permission}.")


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path, door: Door
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield replace(joined, authenticator=door, access=door)


@pytest.fixture
async def client(services: Services, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async def no(*_: object) -> bool:
        return False

    assert services.policy is not None
    # The organization of these tests is not in the directory.
    monkeypatch.setattr(services.policy.publisher._organizations, "needs_second_approver", no)
    async with client_of(server_of(services)) as made:
        yield made


async def post(client: httpx.AsyncClient, path: str, body: object) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def a_draft(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    credential = await post(client, "/v1/credentials", CREDENTIAL)
    route = {"name": "chat", "models": ["gpt-*"], "targets": [{"credential_id": credential["id"]}]}
    return {
        "/v1/credentials": credential,
        "/v1/routes": await post(client, "/v1/routes", route),
        "/v1/policy-grants": await post(client, "/v1/policy-grants", GRANT),
        "/v1/budgets": await post(client, "/v1/budgets", {"name": "team", "micro_usd": 5}),
        "/v1/trust-rules": await post(client, "/v1/trust-rules", RULE),
    }


async def publish(client: httpx.AsyncClient) -> httpx.Response:
    draft = (await client.get("/v1/policy")).headers["etag"]
    return await client.post("/v1/policy/publish", json={"note": "n"}, headers={"if-match": draft})


async def test_each_kind_is_added_read_changed_listed_and_removed(
    client: httpx.AsyncClient,
) -> None:
    made = await a_draft(client)
    for prefix, thing in reversed(made.items()):
        path = f"{prefix}/{thing['id']}"
        read = await client.get(path)
        assert (read.status_code, read.headers["etag"]) == (200, '"1"')
        assert read.json() == thing
        listed = await client.get(prefix, params={"name": thing["name"]})
        assert [item["id"] for item in listed.json()["items"]] == [thing["id"]]
        meta = {"id", "version", "draft_state", "created_at", "changed_at", "changed_by"}
        extra = {"store", "revoked", "age", "versions", "boundary", "reach", "audit"}
        body = {name: value for name, value in thing.items() if name not in meta | extra}
        body["name"] = f"{thing['name']}-2"
        assert (await client.put(path, json=body)).status_code == 428
        changed = await client.put(path, json=body, headers={"if-match": '"1"'})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        assert changed.json()["name"] == body["name"]
        late = await client.put(path, json=body, headers={"if-match": '"1"'})
        assert late.status_code == 412
        history = (await client.get(f"{path}/history")).json()["items"]
        assert [line["change"] for line in history] == ["changed", "added"]
        assert history[0]["before"]["name"] == thing["name"]
        assert (await client.delete(path)).status_code == 428
    for prefix in ("/v1/routes", *(p for p in made if p != "/v1/routes")):
        path = f"{prefix}/{made[prefix]['id']}"
        assert (await client.delete(path, headers={"if-match": '"2"'})).status_code == 204
        assert (await client.get(path)).status_code == 404


async def test_what_belongs_to_others_is_not_found(client: httpx.AsyncClient) -> None:
    made = await a_draft(client)
    await publish(client)
    revocation = await post(client, "/v1/revocations", {"kind": "all"})
    paths = [f"{prefix}/{thing['id']}" for prefix, thing in made.items()]
    paths += [f"{path}/history" for path in paths]
    paths += ["/v1/policy/versions/1", f"/v1/revocations/{revocation['id']}"]
    paths += [f"/v1/credentials/{made['/v1/credentials']['id']}/versions"]
    for path in paths:
        answer = await client.get(path, headers={"authorization": "mallory"})
        assert answer.status_code == 404, path
    for prefix in made:
        listed = await client.get(prefix, headers={"authorization": "mallory"})
        assert listed.json()["items"] == []


def everything_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


async def test_a_key_is_refused_and_logged_nowhere(
    client: httpx.AsyncClient,
    database: Database,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "sk-proj-" + "aB3" * 20
    for prefix, body in (
        ("/v1/credentials", {**CREDENTIAL, "reference": secret}),
        ("/v1/policy-grants", {**GRANT, "models": [secret]}),
        ("/v1/trust-rules", {**RULE, "claims": {"sub": secret}}),
        ("/v1/revocations", {"kind": "lease", "object": secret}),
        ("/v1/revocations", {"kind": "all", "reason": f"found {secret}"}),
    ):
        plain = json.dumps(body)
        escaped = plain.replace("sk-proj-", "\\u0073k-proj-")
        assert secret not in escaped
        for text in (plain, escaped):
            answer = await client.post(
                prefix, content=text, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 422
            assert secret not in answer.text
        for query in (f"name={secret}", f"name={secret.replace('-', '%2D')}"):
            assert (await client.get(f"{prefix}?{query}")).status_code == 422
    out, err = capfd.readouterr()
    assert secret not in out + err + caplog.text
    if database.is_sqlite:
        stored = everything_in(tmp_path)
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert form.encode() not in stored


async def test_every_mistake_has_its_path_and_a_suggestion(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/credentials",
        json={**CREDENTIAL, "provider": "opnai", "reference": "nowhere"},
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "policy_invalid")
    told = {part["location"]: part["message"] for part in problem["errors"]}
    assert set(told) == {"body.provider", "body.reference"}
    assert 'Did you mean "openai"?' in told["body.provider"]


async def test_nobody_sets_what_is_not_theirs_to_set(client: httpx.AsyncClient) -> None:
    for member in ("id", "organization_id", "version", "changed_by", "secret", "key"):
        answer = await client.post("/v1/credentials", json={**CREDENTIAL, member: "x"})
        assert answer.status_code == 422, member


async def test_a_create_that_is_sent_again_answers_the_same(client: httpx.AsyncClient) -> None:
    sent = {"idempotency-key": "k1"}
    first = await client.post("/v1/credentials", json=CREDENTIAL, headers=sent)
    again = await client.post("/v1/credentials", json=CREDENTIAL, headers=sent)
    assert first.json()["id"] == again.json()["id"]
    other = await client.post("/v1/credentials", json={**CREDENTIAL, "name": "other"}, headers=sent)
    assert other.status_code == 409


async def test_who_leads_calls_to_a_credential_may_use_it(
    client: httpx.AsyncClient, door: Door
) -> None:
    made = await post(client, "/v1/credentials", CREDENTIAL)
    door.denied = {Permission.CREDENTIAL_USE}
    body = {"name": "chat", "models": ["*"], "targets": [{"credential_id": made["id"]}]}
    assert (await client.post("/v1/routes", json=body)).status_code == 403
    assert (Permission.CREDENTIAL_USE, made["id"]) in door.asked


NEEDS = (
    ("GET", "/v1/credentials", Permission.CREDENTIAL_READ),
    ("POST", "/v1/credentials", Permission.CREDENTIAL_MANAGE),
    ("POST", "/v1/policy-grants", Permission.POLICY_MANAGE),
    ("GET", "/v1/policy", Permission.POLICY_READ),
    ("POST", "/v1/policy/publish", Permission.POLICY_PUBLISH),
    ("POST", "/v1/policy/rollback", Permission.POLICY_PUBLISH),
    ("POST", "/v1/policy/keys/rotate", Permission.POLICY_PUBLISH),
    ("POST", f"/v1/policy/proposals/{NOBODYS}/approve", Permission.POLICY_APPROVE),
    ("POST", "/v1/revocations", Permission.LEASE_REVOKE),
    ("POST", f"/v1/revocations/{NOBODYS}/lift", Permission.POLICY_PUBLISH),
)


async def test_a_route_asks_for_its_permission(client: httpx.AsyncClient, door: Door) -> None:
    for method, path, permission in NEEDS:
        door.denied = {permission}
        answer = await client.request(method, path, json={}, headers={"if-match": '"0"'})
        assert answer.status_code == 403, path


async def test_one_request_says_who_stores_what_where(client: httpx.AsyncClient) -> None:
    made = await a_draft(client)
    (item,) = (await client.get(f"/v1/credentials?{EVERYWHERE}")).json()["items"]
    assert item["store"] == "Vault or OpenBao"
    assert item["reference"] == CREDENTIAL["reference"]
    assert item["boundary"]["hosts"] == ["https://api.openai.com:443"]
    assert item["boundary"]["gateway_groups"] == {}
    assert item["reach"] == {
        "routes": ["chat"],
        "grants": ["developers"],
        "longest_lease_seconds": 900,
    }
    assert item["versions"] == []
    assert made["/v1/credentials"]["id"] in item["audit"]["entries"]
    plain = (await client.get("/v1/credentials")).json()["items"][0]
    assert plain["boundary"] is None
    assert (await client.get("/v1/credentials?include=secrets")).status_code == 422


async def test_the_policy_is_published_compared_and_rolled_back(client: httpx.AsyncClient) -> None:
    made = await a_draft(client)
    standing = (await client.get("/v1/policy")).json()
    assert (standing["published"], standing["changes"]) == (None, 5)
    assert standing["widenings"]
    assert (await client.post("/v1/policy/publish", json={})).status_code == 428
    published = await publish(client)
    assert (published.status_code, published.json()["version"]) == (200, 1)
    assert (await client.get("/v1/policy/check")).json()["mistakes"] == []
    grant = made["/v1/policy-grants"]
    path = f"/v1/policy-grants/{grant['id']}"
    body = {**GRANT, "maximum_lease_seconds": 60}
    await client.put(path, json=body, headers={"if-match": '"1"'})
    difference = (await client.get("/v1/policy/diff")).json()
    assert [change["name"] for change in difference["changes"]] == ["developers"]
    assert difference["widenings"] == []
    assert (await publish(client)).json()["version"] == 2
    draft = (await client.get("/v1/policy")).headers["etag"]
    back = await client.post(
        "/v1/policy/rollback", json={"version": 1}, headers={"if-match": draft}
    )
    assert (back.status_code, back.json()["rolled_back_to"]) == (200, 1)
    assert (await client.get(path)).json()["maximum_lease_seconds"] == 900
    versions = (await client.get("/v1/policy/versions")).json()["items"]
    assert [version["version"] for version in versions] == [3, 2, 1]
    contents = (await client.get("/v1/policy/versions/1")).json()
    assert list(contents["grants"]) == [grant["id"]]
    same = (await client.get("/v1/policy/diff", params={"before": "1", "after": "3"})).json()
    assert same["changes"] == []
    assert (await client.get("/v1/policy/diff?before=x")).status_code == 422


async def test_what_is_wrong_with_a_request_about_the_policy_is_said(
    client: httpx.AsyncClient,
) -> None:
    nothing = await client.post("/v1/policy/publish", json={}, headers={"if-match": '"0"'})
    assert nothing.status_code == 409
    for path in ("/v1/policy/versions/1", f"/v1/policy/proposals/{NOBODYS}"):
        assert (await client.get(path)).status_code == 404
    for action in ("approve", "refuse", "withdraw"):
        answer = await client.post(f"/v1/policy/proposals/{NOBODYS}/{action}")
        assert answer.status_code == 404
    unknown = await client.post(
        "/v1/policy/rollback", json={"version": 9}, headers={"if-match": '"0"'}
    )
    assert unknown.status_code == 404


async def test_the_draft_is_dry_run_and_discarded(client: httpx.AsyncClient) -> None:
    await a_draft(client)
    asked = await client.post("/v1/policy/dry-run", json={"hours": 24})
    assert (asked.status_code, asked.json()["calls"]) == (200, 0)
    draft = (await client.get("/v1/policy")).headers["etag"]
    gone = await client.post("/v1/policy/discard", headers={"if-match": draft})
    assert gone.status_code == 204
    assert (await client.get("/v1/routes")).json()["items"] == []


async def test_settings_are_read_and_changed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/policy/settings")).json()["serve_when_spool_full"] is False
    changed = await client.put(
        "/v1/policy/settings",
        json={"serve_when_spool_full": True},
        headers={"if-match": '"0"'},
    )
    assert changed.json()["serve_when_spool_full"] is True


async def test_revocations_over_the_api(client: httpx.AsyncClient) -> None:
    made = await post(client, "/v1/credentials", CREDENTIAL)
    revoked = await post(
        client, "/v1/revocations", {"kind": "credential", "object": made["id"], "reason": "lost"}
    )
    assert (await client.get(f"/v1/credentials/{made['id']}")).json()["revoked"] is True
    lifted = await client.post(f"/v1/revocations/{revoked['id']}/lift")
    assert (lifted.status_code, lifted.json()["lifted_by"]) == (200, ADA.name)
    again = await client.post(f"/v1/revocations/{revoked['id']}/lift")
    assert again.status_code == 409
    listed = (await client.get("/v1/revocations?in_force=true")).json()["items"]
    assert listed == []
    nothing = await client.post("/v1/revocations", json={"kind": "lease", "object": "x"})
    assert nothing.json()["errors"][0]["location"] == "body.object"


async def test_the_policy_key_is_rotated_over_the_api(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/policy/keys/rotate")
    assert first.status_code == 200
    keys = (await client.get("/v1/policy/keys")).json()["items"]
    assert [key["in_use"] for key in keys] == [True, False]
    assert keys[0]["id"] == first.json()["id"]
