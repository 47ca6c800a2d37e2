from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.support.inventory_kit import (
    ADA,
    STRANGER,
    finding,
    fingerprint,
    mention,
    place,
    report,
)
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for

from keylease.contracts.findings import ScanReport
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.inventory.intake_course import Origin
from keylease.platform.inventory.webhook_records import WebhookWish
from keylease.platform.server.guard import Evidence
from keylease.platform.server.services import Services


class Everybody:
    async def authenticate(self, evidence: Evidence) -> Caller:
        del evidence
        return ADA

    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        """Allow everything."""


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield replace(joined, authenticator=Everybody(), access=Everybody())


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(server_of(services)) as made:
        yield made


async def push(client: httpx.AsyncClient, scan: ScanReport) -> httpx.Response:
    return await client.post(
        "/v1/inventory/scans",
        content=msgspec.json.encode(scan),
        headers={"content-type": "application/json"},
    )


async def test_a_pushed_scan_is_read_back(client: httpx.AsyncClient, clock: ManualClock) -> None:
    scan = report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now())
    assert (await push(client, scan)).json()["new_secrets"] == 1
    (seen,) = (await client.get("/v1/inventory/secrets")).json()["items"]
    assert seen["places"][0]["location"]["path"] == "a.py"
    one = await client.get(f"/v1/inventory/secrets/{seen['id']}")
    assert one.headers["etag"] == '"1"'


async def test_an_owner_is_named_once(client: httpx.AsyncClient, clock: ManualClock) -> None:
    await push(client, report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now()))
    (seen,) = (await client.get("/v1/inventory/secrets")).json()["items"]
    path = f"/v1/inventory/secrets/{seen['id']}"
    assert (await client.patch(path, json={"owner": "ada"})).status_code == 428
    clock.advance(1)
    named = await client.patch(path, json={"owner": "ada"}, headers={"if-match": '"1"'})
    assert named.json()["owner"] == "ada"
    late = await client.patch(path, json={"owner": "bob"}, headers={"if-match": '"1"'})
    assert late.status_code == 412
    lines = (await client.get(f"{path}/history")).json()["items"]
    whats = [line["what"] for line in lines]
    assert whats[0] == "owner_set"
    assert set(whats[1:]) == {"location_found", "found"}


async def test_an_exception_takes_a_state_out_until_it_ends(
    client: httpx.AsyncClient, clock: ManualClock
) -> None:
    at = place("a.py", repository="git@example.com:app")
    await push(client, report(finding(fingerprint(1), at=[at]), started_at=clock.now()))
    (seen,) = (await client.get("/v1/inventory/secrets")).json()["items"]
    assert "in_code" in seen["states"]
    path = f"/v1/inventory/secrets/{seen['id']}"
    said = {
        "state": "in_code",
        "reason": "a test key",
        "owner": "ada",
        "ends_at": clock.now() + 3600 * 10**6,
    }
    made = await client.post(f"{path}/exceptions", json=said)
    assert made.status_code == 201
    assert "in_code" not in (await client.get(path)).json()["states"]
    clock.advance(3601)
    assert "in_code" in (await client.get(path)).json()["states"]
    clock.advance(-3601)
    gone = await client.delete(f"{path}/exceptions/{made.json()['id']}")
    assert gone.status_code == 204
    assert "in_code" in (await client.get(path)).json()["states"]


@pytest.mark.parametrize("seconds", [-1, 0, 400 * 86400])
async def test_an_exception_ends_within_a_year(
    client: httpx.AsyncClient, clock: ManualClock, seconds: int
) -> None:
    await push(client, report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now()))
    (seen,) = (await client.get("/v1/inventory/secrets")).json()["items"]
    said = {
        "state": "in_code",
        "reason": "r",
        "owner": "o",
        "ends_at": clock.now() + seconds * 10**6,
    }
    answer = await client.post(f"/v1/inventory/secrets/{seen['id']}/exceptions", json=said)
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"scanner":5}', b"[" * 100_000])
async def test_what_is_no_report_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(
        "/v1/inventory/scans", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "input_invalid"


async def test_a_vendor_is_attested_and_its_blast_radius_told(
    client: httpx.AsyncClient, services: Services, clock: ManualClock
) -> None:
    made = await client.post("/v1/vendors", json={"name": "braintrust", "given": ["keys"]})
    assert made.status_code == 201
    again = await client.post("/v1/vendors", json={"name": "braintrust"})
    assert again.status_code == 409
    vendor = made.json()
    key = fingerprint(1)
    await services.inventory.push(
        ADA,
        report(finding(key, at=[place("ai_secret/openai")]), started_at=clock.now()),
        origin=Origin(kind="connector", name="braintrust:acme", vendor_id=vendor["id"]),
    )
    await push(client, report(finding(key, at=[place("/home/user/.env")]), started_at=clock.now()))
    await push(
        client,
        report(finding(fingerprint(2), at=[place("other.py")]), started_at=clock.now(), root="/o"),
    )
    query = {"kind": "vendor", "name": "braintrust"}
    preview = (await client.get("/v1/incidents/preview", params=query)).json()
    (affected,) = preview["affected"]
    assert [one["location"]["path"] for one in affected["there"]] == ["ai_secret/openai"]
    assert [one["location"]["path"] for one in affected["elsewhere"]] == ["/home/user/.env"]
    assert affected["rotation"]["places_to_change"] == 2
    assert affected["can"]
    assert any("No connector reads braintrust" in gap for gap in preview["unknown"])
    before = {**query, "until": str(clock.now() - 1)}
    assert not (await client.get("/v1/incidents/preview", params=before)).json()["affected"]
    foreign = {"kind": "vendor", "name": "nobody"}
    assert (await client.get("/v1/incidents/preview", params=foreign)).status_code == 404


@pytest.mark.parametrize("form", ["json", "csv", "cyclonedx"])
async def test_the_whole_inventory_is_exported(
    client: httpx.AsyncClient, clock: ManualClock, form: str
) -> None:
    dangerous = place("=cmd()|'/c calc'!A0", name="X")
    await push(client, report(finding(fingerprint(1), at=[dangerous]), started_at=clock.now()))
    answer = await client.get("/v1/inventory/export", params={"format": form})
    assert answer.status_code == 200
    assert "sk-" in answer.text
    if form == "csv":
        assert ",\"'=cmd" in answer.text or ",'=cmd" in answer.text


async def test_the_graph_connects_secret_place_and_vendor(
    client: httpx.AsyncClient, clock: ManualClock
) -> None:
    await push(client, report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now()))
    graph = (await client.get("/v1/inventory/graph")).json()
    assert {node["kind"] for node in graph["nodes"]} == {"secret", "location"}
    assert [edge["relation"] for edge in graph["edges"]] == ["is in"]


async def test_secrets_and_the_graph_are_narrowed_by_a_consumer(
    client: httpx.AsyncClient, clock: ManualClock
) -> None:
    at = place("app/llm.py", repository="github.com/acme/app")
    env = [
        place(path, name="GROQ_API_KEY", repository="github.com/acme/app") for path in ("a", "b")
    ]
    names = [mention("GROQ_API_KEY", at, reason="read by a program")]
    found = [finding(fingerprint(number), at=[where]) for number, where in enumerate(env)]
    await push(client, report(*found, started_at=clock.now(), mentions=names))
    asked = {"consumer": "APP/llm.py"}
    seen = (await client.get("/v1/inventory/secrets", params=asked)).json()["items"]
    assert [one["consumers"][0]["ambiguous"] for one in seen] == [True, True]
    assert {one["known_by"] for each in seen for one in each["consumers"]} == {"named"}
    graph = (await client.get("/v1/inventory/graph", params=asked)).json()
    assert [edge["relation"] for edge in graph["edges"]].count("may name") == 2
    nobodys = {"consumer": "nobody"}
    assert (await client.get("/v1/inventory/secrets", params=nobodys)).json()["items"] == []
    assert (await client.get("/v1/inventory/graph", params=nobodys)).json()["nodes"] == []


async def test_the_document_describes_the_shapes(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/v1/openapi.json")).json()["components"]["schemas"]
    assert {"ScanReport", "Sighting", "Preview", "Vendor", "Page_Sighting_"} <= set(schemas)


WEBHOOKS = "/v1/inventory/webhooks"
HOOK: dict[str, object] = {"url": "https://receiver.example.com/hook", "events": ["found"]}


async def test_a_webhook_is_made_changed_and_removed(client: httpx.AsyncClient) -> None:
    made = await client.post(WEBHOOKS, json=HOOK)
    assert made.status_code == 201
    assert made.headers["etag"] == '"1"'
    assert made.json()["public_key"].startswith("whpk_")
    path = f"{WEBHOOKS}/{made.json()['id']}"
    assert [one["id"] for one in (await client.get(WEBHOOKS)).json()] == [made.json()["id"]]
    assert (await client.put(path, json=HOOK)).status_code == 428
    disabled = await client.put(path, json=HOOK | {"enabled": False}, headers={"if-match": '"1"'})
    assert (disabled.json()["enabled"], disabled.headers["etag"]) == (False, '"2"')
    late = await client.put(path, json=HOOK, headers={"if-match": '"1"'})
    assert late.status_code == 412
    assert (await client.get(f"{path}/deliveries")).json() == []
    assert (await client.delete(path, headers={"if-match": '"1"'})).status_code == 412
    assert (await client.delete(path, headers={"if-match": '"2"'})).status_code == 204
    assert (await client.get(path)).status_code == 404


NO_WEBHOOKS: list[tuple[dict[str, object], str]] = [
    ({"url": "http://receiver.example.com/hook"}, "input_invalid"),
    ({"url": "https://127.0.0.1/hook"}, "input_invalid"),
    ({"url": "https://169.254.169.254/latest/meta-data"}, "input_invalid"),
    ({"url": "https://receiver.example.com/hook?token=x"}, "input_invalid"),
    ({"url": "https://user:pass@receiver.example.com/"}, "secret_in_request"),
    ({"url": ""}, "input_invalid"),
    ({"url": "https://receiver.example.com/" + "x" * 500}, "input_invalid"),
    (HOOK | {"events": ["of_tomorrow"]}, "input_invalid"),
    (HOOK | {"events": ["found"] * 100}, "input_invalid"),
    (HOOK | {"made_by": "user:eve"}, "input_invalid"),
    (HOOK | {"organization_id": STRANGER.organization_id}, "input_invalid"),
]


async def test_what_is_no_webhook_is_refused(client: httpx.AsyncClient) -> None:
    for said, code in NO_WEBHOOKS:
        refused = await client.post(WEBHOOKS, json=said)
        assert (refused.status_code, refused.json()["code"]) == (422, code), said
    assert (await client.get(WEBHOOKS)).json() == []


async def test_another_organizations_webhook_is_not_there(
    client: httpx.AsyncClient, services: Services
) -> None:
    theirs = await services.inventory_webhooks.create(
        STRANGER, WebhookWish(url="https://receiver.example.com/theirs")
    )
    path = f"{WEBHOOKS}/{theirs.id}"
    for answer in (
        await client.get(path),
        await client.get(f"{path}/deliveries"),
        await client.put(path, json=HOOK, headers={"if-match": '"1"'}),
        await client.delete(path, headers={"if-match": '"1"'}),
    ):
        assert answer.status_code == 404
    assert (await client.get(WEBHOOKS)).json() == []
    assert (await services.inventory_webhooks.one(STRANGER, theirs.id)).enabled


async def test_a_vendor_is_archived_and_brought_back(client: httpx.AsyncClient) -> None:
    await client.post("/v1/vendors", json={"name": "helicone", "given": ["logs"]})
    path = "/v1/vendors/helicone"
    for version, archived in ((1, True), (2, False)):
        said = {"given": ["logs"], "archived": archived}
        changed = await client.put(path, json=said, headers={"if-match": f'"{version}"'})
        assert (changed.json()["archived_at"] is not None) is archived
