"""Every route, walked by the Owner of another organization with the first one's identifiers.

What belongs to somebody else must be answered exactly as what does not exist: the same status and
the same words. The walk goes along the table of routes: a new route is walked, too, and one with a
parameter for which nobody has made a thing, or with a body that nobody has written, fails.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.support.furnished import BODIES, Tenant, bearer, client, furnished, tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

from keylease.platform.db.database import Database
from keylease.platform.server.routes import all_routers
from keylease.platform.trust.platform_secrets import KEPT

NOT_FOUND = httpx.codes.NOT_FOUND
PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
ROUTES = [
    (method, route.path)
    for router in all_routers()
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]
OWN_LOG = {"/v1/audit/entries/{index}", "/v1/audit/entries/{index}/raw",
           "/v1/audit/entries/{index}/proof", "/v1/audit/log/{path:path}"}  # fmt: skip
"""Places in the caller's own log: there is no way to name another organization's."""
ABSENT = "01a00000-0000-7000-8000-0000000000ff"
NAMED: dict[str, str] = {
    "version": "7",
    "name": "nothing",
    "member": f"service_account:{ABSENT}",
    "trace_id": "a" * 32,
    "span_id": "a" * 16,
    "digest": "a" * 64,
    "set_aside_id": f"{'1' * 19}-7",
}
STREAMS = {"/v1/audit/stream", "/v1/projects/{project_id}/trace-tail"}
"""What does not end."""
CHANGES: dict[str, dict[str, Any]] = {
    "PUT /v1/organizations/{organization_id}": {"name": "Mine", "second_approver": False},
    "PUT /v1/users/{user_id}": {"name": "Mallory", "email": "mallory@zebra.example"},
    "POST /v1/users/{user_id}/offboard": {"hand_over_to": "ME"},
    "PUT /v1/outside-issuers/{issuer_id}": {
        "name": "Mine",
        "issuer": "https://issuer.example.com",
        "client_id": "mine",
    },
    "PATCH /v1/gateways/{gateway_id}": {"name": "mine"},
    "PATCH /v1/inventory/secrets/{secret_id}": {"owner": "mallory"},
    "POST /v1/inventory/secrets/{secret_id}/liveness": {"live": True},
    "POST /v1/inventory/secrets/{secret_id}/exceptions": {
        "state": "in_code",
        "reason": "mine",
        "owner": "mallory",
        "ends_at": "LATER",
    },
    "PUT /v1/vendors/{name}": {"title": "Mine"},
    "PUT /v1/routes/{route_id}": {
        "name": "mine",
        "models": ["*"],
        "targets": [{"credential_id": "OWN credential_id"}],
    },
    "PATCH /v1/projects/{project_id}/traces/{trace_id}/spans/{span_id}": {"tags": ["mine"]},
    "PUT /v1/inventory/webhooks/{webhook_id}": {"url": "https://mallory.example/hook"},
}
"""What a change sends; where nothing is written, what the create sends."""
REFERENCES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/access/grants", {"holder": "service_account:THEIR account_id", "role_id": "viewer"}),
    ("/v1/access/grants", {"holder": "group:THEIR group_id", "role_id": "viewer"}),
    ("/v1/access/grants", {"holder": "user:THEIR user_id", "role_id": "viewer"}),
    ("/v1/access/grants", {"holder": "user:OWN user_id", "role_id": "THEIR role_id"}),
    (
        "/v1/access/grants",
        {"holder": "user:OWN user_id", "role_id": "viewer", "project_id": "THEIR project_id"},
    ),
    (
        "/v1/api-keys",
        {"name": "x", "permissions": ["project:read"], "project_id": "THEIR project_id"},
    ),
    (
        "/v1/api-keys",
        {
            "name": "x",
            "permissions": ["project:read"],
            "principal": "service_account:THEIR account_id",
        },
    ),
    (
        "/v1/routes",
        {"name": "x", "models": ["*"], "targets": [{"credential_id": "THEIR credential_id"}]},
    ),
    ("/v1/service-accounts", {"name": "x", "owner_id": "THEIR user_id"}),
    ("/v1/invitations", {"email": "x@zebra.example", "group_ids": ["THEIR group_id"]}),
    ("/v1/invitations", {"email": "x@zebra.example", "role_id": "THEIR role_id"}),
    (
        "/v1/invitations",
        {"email": "x@zebra.example", "role_id": "viewer", "project_id": "THEIR project_id"},
    ),
    ("/v1/contacts", {"topics": ["security"], "user_id": "THEIR user_id"}),
    ("/v1/users/OWN user_id/offboard", {"hand_over_to": "THEIR user_id"}),
    ("/v1/revocations", {"kind": "credential", "object": "THEIR credential_id"}),
    ("/v1/credentials", BODIES["credential_id"][1] | {"name": "x", "owner": "user:THEIR user_id"}),
    (
        "/v1/policy-grants",
        BODIES["policy_grant_id"][1] | {"name": "x", "budgets": ["THEIR budget_id"]},
    ),
    ("/v1/sign-in-methods/outside", {"issuer_id": "THEIR issuer_id"}),
]
"""Bodies that name something; each is sent with the first organization's, and with nobody's."""


@dataclass
class Two:
    """Both tenants with one of everything; ``api`` is the second one's Owner."""

    theirs: dict[str, str]
    own: dict[str, str]
    api: httpx.AsyncClient
    first: httpx.AsyncClient
    stranger: Tenant
    later: int

    def filled(self, value: Any, theirs: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
        """A body, with identifiers in it."""
        text = json.dumps(value)
        text = re.sub(r"THEIR (\w+)", lambda match: theirs[match[1]], text)
        text = re.sub(r"OWN (\w+)", lambda match: self.own[match[1]], text)
        text = text.replace('"LATER"', str(self.later)).replace('"ME"', f'"{self.own["user_id"]}"')
        return json.loads(text)

    async def said(self, method: str, path: str, body: object) -> tuple[int, str]:
        """Status and text of an answer, without what differs from request to request."""
        answer = await self.api.request(method, path, json=body, headers={"if-match": '"1"'})
        document = answer.json() if answer.content else {}
        if isinstance(document, dict):
            document.pop("request_id", None)
        return answer.status_code, json.dumps(document)


@pytest.fixture
async def two(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Two]:
    async with both(database, clock, tmp_path) as made:
        yield made


@pytest.fixture
async def bare(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Two]:
    """Both organizations as they begin."""
    async with both(database, clock, tmp_path, things=False) as made:
        yield made


@contextlib.asynccontextmanager
async def both(
    database: Database, clock: ManualClock, tmp_path: Path, *, things: bool = True
) -> AsyncIterator[Two]:
    async with services_for(database, clock, tmp_path) as services:
        first = await tenant(services, "Acme", is_first=True)
        second = await tenant(services, "Zebra")
        theirs = {"organization_id": first.organization_id, "user_id": first.user_id}
        own = {"organization_id": second.organization_id, "user_id": second.user_id}
        if things:
            theirs, own = await furnished(services, first), await furnished(services, second)
        async with (
            client(services, await bearer(services, second)) as api,
            client(services, await bearer(services, first)) as owner,
        ):
            later = clock.now() + 24 * 3600 * 1_000_000
            made = await owner.post("/v1/vendors", json={"name": "theirs"})
            assert made.is_success
            yield Two(theirs, own, api, owner, second, later)


def absent(names: dict[str, str]) -> dict[str, str]:
    return {name: NAMED.get(name, ABSENT) for name in names}


def body_for(two: Two, method: str, path: str) -> object:
    """What a change sends; ``None`` when it needs none."""
    if method in {"GET", "DELETE"}:
        return None
    name = PARAMETER.findall(path)[-1]
    written = CHANGES.get(f"{method} {path}")
    if written is None and method == "PUT" and name in BODIES:
        written = BODIES[name][1]
    return two.filled(written, two.theirs) if written is not None else {}


async def test_what_is_another_organizations_is_not_there(two: Two) -> None:
    walked = 0
    for method, path in ROUTES:
        names = [name for name in PARAMETER.findall(path) if name != "path"]
        if not names or path in OWN_LOG | STREAMS:
            continue
        body = body_for(two, method, path)
        for name in names:
            # One of them is foreign; the others are the caller's own.
            answers = []
            for value in (foreign(two, name), NAMED.get(name, ABSENT)):
                used = {**two.own, name: value}
                filled = PARAMETER.sub(lambda match: used[match[1]], path)  # noqa: B023 - used at once
                status, text = await two.said(method, filled, body)
                answers.append((status, text.replace(value, "ID")))
            assert answers[0] == answers[1], f"{method} {path}: {name}"
            if name not in {"member", "passkey_id"}:
                # A member is named, not looked up; passkeys are for browsers, and this is none.
                assert answers[0][0] == NOT_FOUND, f"{method} {path}: {name}: {answers[0]}"
            walked += 1
    assert walked > 80


def foreign(two: Two, name: str) -> str:
    """The first organization's; its versions and vendors have names that the second has, too."""
    return {"version": "2", "name": "theirs"}.get(name, two.theirs[name])


HARMLESS_FILES = (
    "traces/temporary/config.xml",  # the engine's settings, always the same
    "platform.sqlite*",  # the database: its columns are in tests/unit/platform/trust
    "audit/logs/*",  # to be given to anybody; a test of P5 searches it
    "*lock",
    "traces/store.id",
)


def files_below(directory: Path) -> list[str]:
    return [str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()]


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
async def test_every_file_of_a_used_server_is_in_the_trust_report(two: Two, tmp_path: Path) -> None:
    """A new kind of file fails here until a row says what it is and who protects it."""
    patterns = [pattern for one in KEPT for pattern in one.files]
    files = files_below(tmp_path)
    unclaimed = [
        name
        for name in files
        if not any(fnmatch(name, pattern) for pattern in (*patterns, *HARMLESS_FILES))
    ]
    assert not unclaimed
    used = {pattern for pattern in patterns if any(fnmatch(name, pattern) for name in files)}
    assert {"policy-keys/*/*.pem", "audit/keys/*.key", "sign-in.key", "webhooks/*.key"} <= used
    told = (await two.api.get("/v1/trust")).json()["secrets"]
    assert {one.kind for one in KEPT} <= {secret["kind"] for secret in told}
    edge = {secret["kind"] for secret in told if secret["subject"].startswith("gateway")}
    assert "provider keys" in edge, "a gateway that has said nothing is not left out"


async def test_a_body_cannot_name_what_is_another_organizations(two: Two) -> None:
    nothing = absent(two.theirs)
    for path, body in REFERENCES:
        where = two.filled(path, two.theirs)
        status, text = await two.said("POST", where, two.filled(body, two.theirs))
        other, same = await two.said("POST", where, two.filled(body, nothing))
        assert status == other, f"{path} {body}: {text} / {same}"
        for name, value in two.theirs.items():
            text = text.replace(value, nothing[name])
        assert text == same, f"{path} {body}"
        assert status in {400, 403, 404, 409, 422}, f"{path} {body}: {status}"


async def test_no_list_shows_another_organizations(two: Two) -> None:
    """With filters, too: each is given the first organization's identifiers."""
    shown = {
        value for name, value in two.theirs.items() if name not in {"version", "name", "member"}
    }
    filters = {name: name for name in ("credential_id", "gateway_id", "project_id", "user_id")}
    filters["object"] = "credential_id"
    for method, path in ROUTES:
        if method != "GET" or PARAMETER.search(path) or path in STREAMS:
            continue
        plain = await two.api.get(path)
        asked = {name: two.theirs[of] for name, of in filters.items()}
        asked["principal"] = f"user:{two.theirs['user_id']}"
        filtered = await two.api.get(path, params=asked)
        repeated = filtered.text  # an export says what it was asked for
        for value in asked.values():
            repeated = repeated.replace(value, "")
        for text in (plain.text, repeated):
            leaked = [
                name for name, value in two.theirs.items() if value in text and value in shown
            ]
            assert not leaked, path
            assert "Acme" not in text, path

    # And the walk was not blind: its owner sees each of these things.
    for method, path in ROUTES:
        names = PARAMETER.findall(path)
        if method == "GET" and names and path not in OWN_LOG | STREAMS:
            filled = PARAMETER.sub(lambda match: two.theirs[match[1]], path)
            answer = await two.first.get(filled)
            assert answer.status_code == httpx.codes.OK, f"{path}: {answer.text}"


async def test_fields_that_nobody_offers_are_refused(bare: Two) -> None:
    """Mass assignment: what the server decides cannot be sent."""
    decided = {"organization_id": bare.theirs["organization_id"], "id": ABSENT, "version": 7,
               "created_by": "user:me", "used_at": 0}  # fmt: skip
    for name, (path, body) in BODIES.items():
        for field, value in decided.items():
            answer = await bare.api.post(path, json={**body, "name": "more", field: value})
            assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, f"{name} {field}"


async def test_no_other_site_may_read_an_answer(bare: Two) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await bare.api.request(
            method,
            "/v1/users",
            headers={
                "origin": "https://mallory.example",
                "access-control-request-method": "GET",
                "access-control-request-headers": "authorization",
            },
        )
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "mallory.example"},
        {"host": "localhost.mallory.example"},
        {"host": "localhost@mallory.example"},
        {"host": ""},
    ],
)
async def test_no_other_host_is_answered(bare: Two, headers: dict[str, str]) -> None:
    answer = await bare.api.get("/v1/users", headers=headers)
    assert answer.status_code == httpx.codes.MISDIRECTED_REQUEST


async def test_forwarded_names_change_nothing_that_is_answered(bare: Two) -> None:
    headers = {"x-forwarded-host": "mallory.example", "forwarded": "host=mallory.example",
               "x-original-url": "/v1/users", "x-http-method-override": "DELETE"}  # fmt: skip
    paths = [
        "/.well-known/openid-configuration",
        "/v1/organizations/" + bare.own["organization_id"],
    ]
    for path in paths:
        assert (await bare.api.get(path, headers=headers)).content == (
            await bare.api.get(path)
        ).content
    slash = await bare.api.get("/v1/users/", headers=headers)
    assert "mallory" not in slash.headers.get("location", "")


@pytest.mark.parametrize("opening", ["[", '{"name":'])
async def test_nesting_without_end_is_refused(bare: Two, opening: str) -> None:
    body = opening * 100_000
    for method, path in ROUTES:
        if method == "GET" or PARAMETER.search(path):
            continue
        answer = await bare.api.request(
            method,
            path,
            content=body,
            headers={"content-type": "application/json", "if-match": '"1"'},
        )
        assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, path
