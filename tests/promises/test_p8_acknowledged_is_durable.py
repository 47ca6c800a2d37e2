"""P8: a span or a call record that was acknowledged survives ``kill -9`` and power loss.

A real server is killed while spans come in; every span that was acknowledged is there afterwards,
once. Power loss is held where the files are: what is behind the last fsync is dropped from the
log's files, byte by byte, in ``tests/unit/platform/traces/ingest/test_write_log.py``; the gateway's
spools in ``tests/unit/strongroom/gateway/records/test_spools.py``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.support.databases import (
    clock,
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
    postgres,
)
from tests.support.furnished import bearer, call_record, first_tenant, founded
from tests.support.home_databases import database_of
from tests.support.link_kit import GatewayHand
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.platform_process import RunningPlatform, running_platform

from keylease.contracts import platform_link as wire
from keylease.platform.db.database import Database
from keylease.primitives.clock import SystemClock

__all__ = ["clock", "database", "migrated_postgres", "migrated_sqlite", "migrated_url", "postgres"]

KILLS = 2
SENDERS = 3
SPANS = 20
"""Of one request."""
ENOUGH = 12
"""Acknowledged requests until the server is killed."""


async def prepared(directory: Path) -> str:
    """A server's database with an Owner; what lets the Owner in."""
    clock = SystemClock()
    database = Database(database_of(directory), clock=clock)
    try:
        async with founded(database, clock, directory) as services:
            await services.identity.first_start.sign_in_link()
            return await bearer(services, await first_tenant(services))
    finally:
        await database.close()


def exported(number: int) -> bytes:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    now = time.time_ns()
    for position in range(SPANS):
        spans.add(
            name=f"{number}-{position}",
            trace_id=number.to_bytes(16),
            span_id=(position + 1).to_bytes(8),
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1000,
        )
    return request.SerializeToString()


class Sending:
    """Threads that send until the server is gone."""

    def __init__(self, url: str, key: str, first: int) -> None:
        self._url, self._key = url, key
        self._numbers = iter(range(first, first + 10_000))
        self._lock = threading.Lock()
        self.acknowledged: list[int] = []
        self.refused = ""
        self.enough = threading.Event()

    def run(self) -> None:
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/x-protobuf"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=30) as client:
            while True:
                with self._lock:
                    number = next(self._numbers)
                try:
                    answer = client.post("/v1/traces", content=exported(number))
                except httpx.HTTPError:
                    return  # the server was killed
                if answer.status_code != httpx.codes.OK:
                    self.refused = answer.text
                    self.enough.set()
                    return
                with self._lock:
                    self.acknowledged.append(number)
                    if len(self.acknowledged) >= ENOUGH:
                        self.enough.set()


def killed_while_sending(platform: RunningPlatform, key: str, first: int) -> list[int]:
    """Acknowledged requests up to a ``kill -9`` in the middle."""
    sending = Sending(platform.url, key, first)
    threads = [threading.Thread(target=sending.run) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    sending.enough.wait(60)
    platform.process.kill()
    platform.process.wait()
    for thread in threads:
        thread.join()
    assert not sending.refused
    assert len(sending.acknowledged) >= ENOUGH
    return sending.acknowledged


def all_spans(api: httpx.Client, project_id: str) -> Counter[str]:
    query = {"query": "SELECT name FROM spans LIMIT 10000"}
    answer = api.post(f"/v1/projects/{project_id}/sql", json=query, timeout=60)
    assert answer.status_code == httpx.codes.OK, answer.text
    return Counter(name for (name,) in answer.json()["rows"])


def test_acknowledged_spans_survive_kill_9_once(tmp_path: Path) -> None:
    data = tmp_path / "platform"
    data.mkdir(mode=0o700)
    authorization = asyncio.run(prepared(data))
    key, project_id = "", ""
    acknowledged: list[int] = []
    for turn in range(KILLS):
        with running_platform(data) as platform:
            with httpx.Client(
                base_url=platform.url, headers={"authorization": authorization}, timeout=60
            ) as api:
                if not key:
                    project_id = api.post("/v1/projects", json={"name": "apollo"}).json()["id"]
                    wish = {
                        "name": "spans",
                        "kind": "ingest",
                        "permissions": ["trace:ingest"],
                        "project_id": project_id,
                    }
                    made = api.post("/v1/api-keys", json=wish)
                    assert made.status_code == httpx.codes.CREATED, made.text
                    key = made.json()["text"]
            acknowledged += killed_while_sending(platform, key, (turn + 1) * 10_000)
    with (
        running_platform(data) as platform,
        httpx.Client(base_url=platform.url, headers={"authorization": authorization}) as api,
    ):
        wanted = {f"{number}-{each}" for number in acknowledged for each in range(SPANS)}
        give_up = time.monotonic() + 60
        while not wanted <= (found := all_spans(api, project_id)).keys():
            assert time.monotonic() < give_up, f"{len(wanted - found.keys())} are missing"
            time.sleep(0.2)
    assert set(found.values()) == {1}, "none twice"


async def test_an_acknowledged_call_record_is_a_span_after_a_crash(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What the platform says it has is in the log, whether or not the store has it yet."""
    async with services_for(database, clock, tmp_path) as services:
        acme = await first_tenant(services)
        hand = GatewayHand(clock)
        minted = await services.link.gateways.create_code(acme.owner, group="edge", lifetime=600)
        wish = hand.wish(minted.text, group="edge")
        enrolled = await services.link.service.enroll(hand.json(wire.ENROLMENTS, wish))
        hand.gateway_id = enrolled.gateway_id
        record = msgspec.structs.replace(
            call_record(clock, acme, "credential"), trace_id="a" * 32, span_id="b" * 16
        )
        push = wire.CallRecordPush(
            spool_id="spool-1",
            start=wire.SpoolPosition(),
            end=wire.SpoolPosition(segment=1, offset=100),
            records=(msgspec.msgpack.encode(record),),
        )
        answer = await services.link.service.push_call_records(
            hand.msgpack(wire.CALL_RECORDS, push)
        )
        assert answer.taken == 1
        logged = b"".join(
            path.read_bytes() for path in (tmp_path / "traces" / "log").rglob("*") if path.is_file()
        )
        assert record.id.encode() in logged
