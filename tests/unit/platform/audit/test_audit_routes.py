"""The audit log by API: what a reader gets, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from tests.support.audit_kit import ORG, OTHER_ORG, Door, Rig, record
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.platform.access.permissions import Permission
from keylease.platform.audit.interfaces import Audit, make_audit
from keylease.platform.audit.service import PlacedEntry
from keylease.platform.db.database import Database
from keylease.platform.server.app import create_server
from keylease.platform.server.services import Services
from keylease.primitives.transparency.checkpoints import open_checkpoint
from keylease.primitives.transparency.export import verify_export
from keylease.primitives.transparency.merkle import leaf_hash
from keylease.primitives.transparency.notes import NoteKey
from keylease.primitives.transparency.proofs import check_consistency, check_inclusion
from keylease.primitives.transparency.verifier import Trust


@pytest.fixture
def rig(database: Database, tmp_path: Path, clock: ManualClock) -> Rig:
    return Rig(database, tmp_path / "audit", clock)


@pytest.fixture
def door() -> Door:
    return Door(ORG)


@pytest.fixture
def audit(rig: Rig) -> Audit:
    return make_audit(rig.database, directory=rig.directory, clock=rig.clock)


@pytest.fixture
async def client(rig: Rig, door: Door, audit: Audit) -> AsyncIterator[httpx.AsyncClient]:
    services = SimpleNamespace(  # the other domains' services are no part of this
        clock=rig.clock,
        database=rig.database,
        authenticator=door,
        access=door,
        audit=audit,
        secure=False,
    )
    app = create_server(cast("Services", services), hosts=["localhost"])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def filled(rig: Rig, audit: Audit, count: int = 12) -> None:
    for number in range(count):
        action = AuditAction.POLICY_LOADED if number % 3 else AuditAction.LEASE_REVOKED
        await record(rig.database, f"object-{number}", action=action, reason=f"r{number % 2}")
        rig.clock.advance(1)
    await audit.sequencer.drain()


async def test_search_filters_and_pages(client: httpx.AsyncClient, rig: Rig, audit: Audit) -> None:
    assert (await client.get("/v1/audit/entries")).json()["items"] == []
    await filled(rig, audit)
    seen: list[int] = []
    cursor = ""
    while True:
        page = (await client.get(f"/v1/audit/entries?limit=5&cursor={cursor}")).json()
        seen += [item["index"] for item in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert seen == list(range(11, -1, -1))

    async def found(query: str) -> list[int]:
        answer = await client.get(f"/v1/audit/entries?{query}")
        return [item["index"] for item in answer.json()["items"]]

    assert await found("action=lease.revoked") == [9, 6, 3, 0]
    assert await found("action=lease.*") == [9, 6, 3, 0]
    assert await found("action=lea.*") == []
    assert await found("object=object-7") == [7]
    assert await found("reason=r1&action=lease.revoked") == [9, 3]
    assert await found("principal=user:018f0000-0000-7000-8000-000000000001&limit=1") == [11]
    assert await found("gateway_id=none") == []
    first = (await client.get("/v1/audit/entries/4")).json()["entry"]["at"]
    assert await found(f"since={first}&until={first + 2_000_000}") == [5, 4]
    assert (await client.get("/v1/audit/entries?cursor=nonsense")).status_code == 422


async def test_every_reader_sees_one_organization(
    client: httpx.AsyncClient, rig: Rig, audit: Audit, door: Door
) -> None:
    await filled(rig, audit)
    await record(rig.database, "theirs", organization_id=OTHER_ORG)
    await audit.sequencer.drain()
    door.organization_id = OTHER_ORG
    page = (await client.get("/v1/audit/entries")).json()
    assert [item["entry"]["object"] for item in page["items"]] == ["theirs"]
    assert (await client.get("/v1/audit/entries/5")).status_code == 404
    assert (await client.get("/v1/audit/log/tile/entries/000.p/12")).status_code == 404
    keys = (await client.get("/v1/audit/keys")).json()
    assert OTHER_ORG in keys["origin"]


async def test_proofs_hold(client: httpx.AsyncClient, rig: Rig, audit: Audit) -> None:
    await filled(rig, audit, 5)
    early = (await client.get("/v1/audit/checkpoints")).json()["items"][0]
    await filled(rig, audit, 6)
    key = NoteKey.parse((await client.get("/v1/audit/keys")).json()["key"])
    raw = (await client.get("/v1/audit/entries/3/raw")).content
    proof = (await client.get("/v1/audit/entries/3/proof")).json()
    head = open_checkpoint(proof["checkpoint"].encode(), log_keys=[key]).head
    assert base64.b64decode(proof["leaf_hash"]) == leaf_hash(raw)
    check_inclusion(
        leaf=leaf_hash(raw),
        index=3,
        size=proof["size"],
        proof=[base64.b64decode(item) for item in proof["hashes"]],
        root=head.root,
    )
    old = open_checkpoint(early["checkpoint"].encode(), log_keys=[key]).head
    path = (await client.get(f"/v1/audit/consistency?old_size={old.size}")).json()
    check_consistency(
        old=old.size,
        old_root=old.root,
        size=head.size,
        root=head.root,
        proof=[base64.b64decode(item) for item in path["hashes"]],
    )
    for bad in ("entries/11", "entries/11/proof", "consistency?old_size=12"):
        assert (await client.get(f"/v1/audit/{bad}")).status_code == 404


async def test_the_raw_log_is_served_as_tiles(
    client: httpx.AsyncClient, rig: Rig, audit: Audit
) -> None:
    await filled(rig, audit, 5)
    await filled(rig, audit, 5)
    for path, kind in (
        ("checkpoint", "text/plain; charset=utf-8"),
        ("tile/0/000.p/10", "application/octet-stream"),
        ("tile/entries/000.p/10", "application/octet-stream"),
        ("tile/entries/000.p/5", "application/octet-stream"),  # of an earlier checkpoint
    ):
        answer = await client.get(f"/v1/audit/log/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
    assert len((await client.get("/v1/audit/log/tile/0/000.p/5")).content) == 5 * 32
    for path in ("tile/0/000.p/11", "tile/0/000", "lock", "../keys/x.key", "tile/0/0", "witnessed"):
        assert (await client.get(f"/v1/audit/log/{path}")).status_code == 404


async def test_an_export_verifies_and_is_itself_logged(
    client: httpx.AsyncClient, rig: Rig, audit: Audit, door: Door
) -> None:
    await filled(rig, audit)
    key = NoteKey.parse((await client.get("/v1/audit/keys")).json()["key"])
    answer = await client.get("/v1/audit/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = answer.content.splitlines(keepends=True)
    report = verify_export(lines, Trust(log_keys=(key,)))
    assert report.size == 13
    assert not report.completeness
    assert json.loads(lines[-2])["entry"]["action"] == AuditAction.AUDIT_LOG_EXPORTED
    part = await client.get("/v1/audit/export?action=lease.revoked&checkpoint_size=6")
    lines = part.content.splitlines(keepends=True)
    report = verify_export(lines, Trust(log_keys=(key,)))
    assert "4 entries" in report.completeness
    assert json.loads(lines[0])["consistency"].keys() == {"6"}
    door.refused.add(Permission.AUDIT_EXPORT)
    assert (await client.get("/v1/audit/export")).status_code == 403


async def test_the_stream_gives_entries_as_they_are_logged(
    rig: Rig, audit: Audit, door: Door
) -> None:
    await filled(rig, audit, 3)
    caller = door.caller()
    stream = await audit.log.follow(caller, after=0)
    assert [(await anext(stream)).index for _ in range(2)] == [1, 2]  # type: ignore[union-attr]  # not idle
    await record(rig.database, "new")
    await audit.sequencer.drain()
    placed = await anext(stream)
    assert placed is not None
    assert (placed.index, json.loads(placed.entry)["object"]) == (3, "new")
    await stream.aclose()  # type: ignore[attr-defined]  # an asynchronous generator


async def test_a_key_is_rotated_by_api(client: httpx.AsyncClient, rig: Rig, audit: Audit) -> None:
    await filled(rig, audit, 2)
    before = (await client.get("/v1/audit/keys")).json()
    answer = await client.post("/v1/audit/keys/rotations")
    assert answer.status_code == 201
    assert answer.json()["key"] != before["key"]
    rig.verify(key=NoteKey.parse(before["key"]))


async def test_streams_end_when_the_server_stops(rig: Rig, audit: Audit, door: Door) -> None:
    await filled(rig, audit, 1)
    stream = await audit.log.follow(door.caller(), after=None)
    assert await anext(stream) is None  # idle

    async def rest() -> list[PlacedEntry | None]:
        return [placed async for placed in stream]

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        waiting = group.create_task(rest())
        await asyncio.sleep(0)
        audit.log.stop_following()
    assert waiting.result() == []
