"""A platform with two organizations, and one of everything in the first.

async with founded(database, clock, directory) as services:
    first, second = await tenant(services, "Acme"), await tenant(services, "Zebra")
    ids = await furnished(services, first)

Each tenant has its Owner and a bearer that opens the API as that Owner. ``furnished`` makes a thing
of each kind over HTTP and by the link, as people and gateways do, and says the identifiers by the
names that the paths of the API give them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import insert
from tests.support.inventory_kit import finding, fingerprint, place, report
from tests.support.link_kit import GatewayHand
from tests.support.platform_kit import client_of, server_of, services_for
from tests.support.trace_kit import raw_span

from keylease.contracts import platform_link as wire
from keylease.contracts.call_records import CallRecord, Usage
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import migrate
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.sessions.interfaces import (
    Circumstances,
    SessionKind,
    SignInMethod,
)
from keylease.platform.identity.sign_in.tables import PASSKEYS
from keylease.platform.server.services import Services
from keylease.platform.traces.interfaces import PutSpan, WriteBatch
from keylease.platform.traces.store.backup_files import Manifest, finished, partial_of
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.identifiers import uuid7


@dataclass(frozen=True)
class Tenant:
    """An organization with its Owner."""

    organization_id: str
    owner: Caller
    user: KnownUser

    @property
    def user_id(self) -> str:
        return self.user.id


@contextlib.asynccontextmanager
async def founded(database: Database, clock: Clock, directory: Path) -> AsyncIterator[Services]:
    """Services on a database that is brought up to date first."""
    await migrate(database)
    async with services_for(database, clock, directory) as services:
        yield services


async def tenant(services: Services, name: str, *, is_first: bool = False) -> Tenant:
    """An organization with an Owner; ``is_first`` for the one that the installation begins with."""
    directory = services.directory
    make = directory.organizations.begin if is_first else directory.organizations.found
    async with services.database.transaction() as tx:
        owner = await make(tx, name=name, owner="Olga", email=f"olga@{name.lower()}.example")
        user = await directory.user(tx, owner.id)
    assert user is not None
    caller = Caller(
        principal=Principal(PrincipalKind.USER, owner.id), organization_id=owner.organization_id
    )
    return Tenant(owner.organization_id, caller, user)


async def first_tenant(services: Services) -> Tenant:
    """The organization that an installation begins with."""
    async with services.database.transaction() as tx:
        user = await services.directory.owner_to_set_up(tx)
    caller = Caller(
        principal=Principal(PrincipalKind.USER, user.id), organization_id=user.organization_id
    )
    return Tenant(user.organization_id, caller, user)


async def bearer(services: Services, of: Tenant) -> str:
    """A session of the Owner, as ``keylease login`` gets one."""
    async with services.database.transaction(of.owner) as tx:
        started = await services.identity.sessions.start(
            tx,
            of.user,
            Circumstances(kind=SessionKind.COMMAND_LINE, device="keylease"),
            method=SignInMethod.PASSKEY,
            limited=False,
        )
    return f"Bearer {started.text}"


def client(services: Services, authorization: str) -> httpx.AsyncClient:
    """The API in this process, as somebody."""
    return client_of(server_of(services), authorization=authorization)


async def furnished(services: Services, of: Tenant) -> dict[str, str]:
    """One of everything; path parameter -> identifier."""
    async with client(services, await bearer(services, of)) as api:
        ids = await _by_the_api(api, of, services.clock)
    ids |= {"organization_id": of.organization_id, "user_id": of.user_id}
    ids |= await _by_a_gateway(services, of, ids["credential_id"])
    ids["passkey_id"] = await _passkey(services, of)
    ids |= await _spans(services, of, ids["project_id"])
    return ids


BODIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "project_id": ("/v1/projects", {"name": "apollo"}),
    "environment_id": ("/v1/environments", {"name": "moon"}),
    "account_id": ("/v1/service-accounts", {"name": "deployer"}),
    "group_id": ("/v1/groups", {"name": "engineers"}),
    "contact_id": ("/v1/contacts", {"topics": ["security"], "email": "alarm@acme.example"}),
    "role_id": ("/v1/access/roles", {"name": "looker", "permissions": ["project:read"]}),
    "key_id": ("/v1/api-keys", {"name": "ci", "permissions": ["project:read"]}),
    "credential_id": (
        "/v1/credentials",
        {
            "name": "openai",
            "provider": "openai",
            "reference": "vault://secret/ai/openai#key",
            "purposes": ["development"],
        },
    ),
    "policy_grant_id": (
        "/v1/policy-grants",
        {
            "name": "people",
            "principals": ["user:*"],
            "models": ["*"],
            "purposes": ["development"],
        },
    ),
    "budget_id": ("/v1/budgets", {"name": "team", "micro_usd": 25_000_000}),
    "trust_rule_id": (
        "/v1/trust-rules",
        {
            "name": "jobs",
            "issuer": "https://issuer.example.com",
            "audience": "keylease",
            "claims": {"sub": "job-7"},
            "principal": "workload:jobs",
            "purposes": ["development"],
        },
    ),
    "code_id": ("/v1/gateways/enrolment-codes", {"group": "edge"}),
    "invitation_id": ("/v1/invitations", {"email": "new@acme.example"}),
}


async def _by_the_api(api: httpx.AsyncClient, of: Tenant, clock: Clock) -> dict[str, str]:
    ids: dict[str, str] = {}
    for name, (path, body) in BODIES.items():
        ids[name] = _identifier(await api.post(path, json=body))
    ids["route_id"] = _identifier(
        await api.post(
            "/v1/routes",
            json={
                "name": "all",
                "models": ["*"],
                "targets": [{"credential_id": ids["credential_id"]}],
            },
        )
    )
    ids["grant_id"] = _identifier(
        await api.post(
            "/v1/access/grants",
            json={"holder": f"service_account:{ids['account_id']}", "role_id": ids["role_id"]},
        )
    )
    ids["member"] = f"service_account:{ids['account_id']}"
    _good(await api.put(f"/v1/groups/{ids['group_id']}/members/{ids['member']}"))
    ids["revocation_id"] = _identifier(
        await api.post(
            "/v1/revocations", json={"kind": "credential", "object": ids["credential_id"]}
        )
    )
    ids |= await _published(api, of)
    ids |= await _inventory(api, clock)
    sessions = _good(await api.get("/v1/sessions")).json()["items"]
    ids["session_id"] = sessions[0]["id"]
    # Nothing is asked of the network when an issuer is written down.
    ids["issuer_id"] = _identifier(
        await api.post(
            "/v1/outside-issuers",
            json={
                "name": "Directory",
                "issuer": "https://issuer.example.com",
                "client_id": "keylease",
            },
        )
    )
    return ids


async def _published(api: httpx.AsyncClient, of: Tenant) -> dict[str, str]:
    """A version of the policy, and a proposal that waits for a second person."""
    first = await api.get("/v1/policy")
    _good(await api.post("/v1/policy/publish", json={}, headers=_match(first)))
    home = f"/v1/organizations/{of.organization_id}"
    seen = _good(await api.get(home))
    change = {"name": seen.json()["name"], "second_approver": True}
    _good(await api.put(home, json=change, headers=_match(seen)))
    _, wider = BODIES["policy_grant_id"]
    await api.post("/v1/policy-grants", json=wider | {"name": "everybody", "principals": ["*"]})
    draft = await api.get("/v1/policy")
    proposed = await api.post("/v1/policy/publish", json={}, headers=_match(draft))
    assert proposed.status_code == httpx.codes.ACCEPTED, proposed.text
    return {"version": "1", "proposal_id": proposed.json()["id"]}


async def _inventory(api: httpx.AsyncClient, clock: Clock) -> dict[str, str]:
    found = report(
        finding(fingerprint(7), at=[place("/src/app/settings.py")]),
        started_at=1_700_000_000_000_000,
    )
    pushed = await api.post(
        "/v1/inventory/scans",
        content=msgspec.json.encode(found),
        headers={"content-type": "application/json"},
    )
    _good(pushed)
    secret = _good(await api.get("/v1/inventory/secrets")).json()["items"][0]["id"]
    accepted = await api.post(
        f"/v1/inventory/secrets/{secret}/exceptions",
        json={
            "state": "in_code",
            "reason": "until the next release",
            "owner": "olga",
            "ends_at": clock.now() + days(30),
        },
    )
    sources = _good(await api.get("/v1/inventory/sources")).json()
    told = await api.post(
        "/v1/inventory/webhooks", json={"url": "https://hooks.acme.example/found"}
    )
    vendor = _good(await api.post("/v1/vendors", json={"name": "helper"}))
    return {
        "secret_id": secret,
        "exception_id": _identifier(accepted),
        "webhook_id": _identifier(told),
        "source_id": sources[0]["id"],
        "name": vendor.json()["name"],
    }


async def _by_a_gateway(services: Services, of: Tenant, credential_id: str) -> dict[str, str]:
    """A gateway that is enrolled, and a call that it has reported."""
    hand = GatewayHand(services.clock)  # type: ignore[arg-type]  # it only asks for the time
    minted = await services.link.gateways.create_code(of.owner, group="edge", lifetime=600)
    wish = hand.wish(minted.text, group="edge")
    service = services.link.service
    enrolled = await service.enroll(hand.json(wire.ENROLMENTS, wish))
    hand.gateway_id = enrolled.gateway_id
    record = call_record(services.clock, of, credential_id)
    push = wire.CallRecordPush(
        spool_id="spool-1",
        start=wire.SpoolPosition(),
        end=wire.SpoolPosition(segment=1, offset=100),
        records=(msgspec.msgpack.encode(record),),
    )
    await service.push_call_records(hand.msgpack(wire.CALL_RECORDS, push))
    return {"gateway_id": enrolled.gateway_id, "call_id": record.id}


async def _spans(services: Services, of: Tenant, project_id: str) -> dict[str, str]:
    """A trace with a text that is too large for its row."""
    trace_id = uuid7(services.clock).replace("-", "")
    span_id = trace_id[16:]
    span = raw_span(
        trace_id=trace_id,
        span_id=span_id,
        attributes={
            "input.value": f"{of.organization_id} " * 3_000,
            "openinference.span.kind": "LLM",
        },
    )
    keeping = await services.traces.keeping()
    taken = await keeping.intake.take(of.organization_id, project_id, [PutSpan(span=span)])
    await keeping.intake.settled(taken)
    row = await services.traces.service.span(of.owner, project_id, trace_id, span_id)
    assert row.input_payload
    put = PutSpan(span=span)
    aside = keeping.intake.set_aside.batch(
        WriteBatch(
            organization_id=of.organization_id,
            project_id=project_id,
            xact_id=taken,
            received_at=services.clock.now(),
            writes=[put],
        ),
        [put],
        at=services.clock.now(),
        code="trace_batch_refused",
        reason="It is a test's.",
    )
    ids = {"trace_id": trace_id, "span_id": span_id, "digest": row.input_payload}
    return ids | {"set_aside_id": aside.id, "backup_id": _backup(services, keeping.directory)}


def _backup(services: Services, directory: Path) -> str:
    """A back-up of nothing: to copy the store would take longer than all of the rest."""
    backup_id = uuid7(services.clock)
    place = directory / "backups" / backup_id
    partial = partial_of(place)
    partial.mkdir(parents=True)
    taken_at = services.clock.now()
    manifest = Manifest(
        format=1, store_id=backup_id, schema=1, taken_at=taken_at, applied=0, files=[]
    )
    finished(partial, place, manifest)
    return backup_id


def call_record(clock: Clock, of: Tenant, credential_id: str) -> CallRecord:
    """A call that somebody of this organization made."""
    return CallRecord(
        id=uuid7(clock),
        trace_id="0" * 32,
        span_id="0" * 16,
        organization_id=of.organization_id,
        principal=of.owner.name,
        lease_id="lease",
        purpose="development",
        environment="local",
        credential_id=credential_id,
        credential_version="v1",
        operation="chat",
        method="POST",
        path="/v1/chat/completions",
        requested_model="gpt-4o-mini",
        upstream_model="gpt-4o-mini",
        started_at=clock.now(),
        duration=1000,
        status=200,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost=7,
        policy_version=1,
    )


async def _passkey(services: Services, of: Tenant) -> str:
    """A passkey's row: no authenticator made it, so it opens nothing."""
    identifier = uuid7(services.clock)
    now = services.clock.now()
    async with services.database.transaction(platform_itself(of.organization_id)) as tx:
        row = {
            column.name: {"str": "", "int": 0, "bytes": b"", "bool": False}[
                column.type.python_type.__name__
            ]
            for column in PASSKEYS.columns
            if not column.nullable
        }
        row |= {
            "id": identifier,
            "organization_id": of.organization_id,
            "user_id": of.user_id,
            "name": "stick",
            "credential_id": b"of-nobody",
            "credential_digest": identifier,
            "created_at": now,
        }
        await tx.execute(insert(PASSKEYS).values(**row))
    return identifier


def days(number: int) -> int:
    """In microseconds."""
    return number * 24 * 3600 * MICROSECONDS


def _match(answer: httpx.Response) -> dict[str, str]:
    return {"if-match": answer.headers["etag"]}


def _good(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer


def _identifier(answer: httpx.Response) -> str:
    body = _good(answer).json()
    for within in ("key", "invitation", "gateway", "webhook"):  # beside a text that is shown once
        body = body.get(within, body)
    return str(body["id"])
