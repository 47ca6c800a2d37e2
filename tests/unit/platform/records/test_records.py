"""Call records: taken once, counted once, and gaps noticed; on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from tests.support.link_kit import ORGANIZATION, OTHER, gateway_caller, person
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.contracts.call_records import CallRecord, Usage
from keylease.errors import ResourceNotFound
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.tables import OUTBOX
from keylease.platform.records.calls import CallFilter, SeenVersion, TotalsBy
from keylease.platform.records.service import KEEP_RECORDS, RecordService
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import uuid7


class Rig:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.service = RecordService(database)
        self.gateway, self.gateway_id = gateway_caller(clock)
        self.end = 0

    def record(self, **parts: Any) -> CallRecord:  # noqa: ANN401 - parts of a record
        base: dict[str, Any] = {
            "id": uuid7(self.clock),
            "trace_id": "0" * 32,
            "span_id": "0" * 16,
            "organization_id": OTHER,
            "principal": "user:ada",
            "lease_id": "lease",
            "purpose": "development",
            "environment": "local",
            "credential_id": "01a00000-0000-7000-8000-00000000000c",
            "credential_version": "v1",
            "operation": "chat",
            "method": "POST",
            "path": "/v1/chat/completions",
            "requested_model": "gpt-4o-mini",
            "upstream_model": "gpt-4o-mini",
            "started_at": self.clock.now(),
            "duration": 1000,
            "status": 200,
            "usage": Usage(input_tokens=10, output_tokens=5),
            "cost": 7,
            "policy_version": 1,
        }
        return CallRecord(**{**base, **parts})

    def push(self, *records: CallRecord | bytes, **parts: Any) -> wire.CallRecordPush:  # noqa: ANN401 - parts of a push
        start, self.end = self.end, self.end + 100
        raw = tuple(
            record if isinstance(record, bytes) else msgspec.msgpack.encode(record)
            for record in records
        )
        base: dict[str, Any] = {
            "spool_id": "spool-1",
            "start": wire.SpoolPosition(segment=1 if start else 0, offset=start),
            "end": wire.SpoolPosition(segment=1, offset=self.end),
            "records": raw,
        }
        return wire.CallRecordPush(**{**base, **parts})

    async def take(self, push: wire.CallRecordPush) -> wire.PushAnswer:
        return await self.service.accept(self.gateway, self.gateway_id, push)

    async def totals(self, by: TotalsBy = TotalsBy.PRINCIPAL, **wanted: Any) -> dict[str, int]:  # noqa: ANN401 - parts of a filter
        found = await self.service.totals(person(), by, CallFilter(**wanted))
        return {total.key: total.calls for total in found}

    async def alarms(self) -> list[str]:
        async with self.database.reading() as tx:
            rows = await tx.rows(select(OUTBOX.c.entry).order_by(OUTBOX.c.position))
        return [msgspec.json.decode(row["entry"])["action"] for row in rows]


@pytest.fixture
def rig(database: Database, clock: ManualClock) -> Rig:
    return Rig(database, clock)


async def test_a_batch_that_is_sent_again_is_counted_once(rig: Rig) -> None:
    first, second = rig.record(), rig.record(cost=None, status=500)
    push = rig.push(first, second)
    assert (await rig.take(push)).taken == 2
    assert (await rig.take(push)).duplicates == 2
    # The same records in another batch: the gateway lost its position, and sends all it has.
    again = await rig.take(rig.push(first, second, rig.record()))
    assert (again.taken, again.duplicates) == (1, 2)
    assert await rig.totals() == {"user:ada": 3}
    [total] = await rig.service.totals(person(), TotalsBy.MODEL, CallFilter())
    assert (total.key, total.calls, total.failed) == ("gpt-4o-mini", 3, 1)
    assert (total.input_tokens, total.output_tokens) == (30, 15)
    assert (total.cost, total.cost_unknown) == (14, 1)
    assert await rig.alarms() == []


async def test_records_stand_under_the_organization_of_who_sent_them(rig: Rig) -> None:
    record = rig.record()
    await rig.take(rig.push(record))
    stored = await rig.service.call(person(), record.id)
    assert stored.record.organization_id == ORGANIZATION
    assert stored.gateway_id == rig.gateway_id
    with pytest.raises(ResourceNotFound):
        await rig.service.call(person(OTHER), record.id)
    assert (await rig.service.calls(person(OTHER), CallFilter(), PageRequest())).items == ()
    assert await rig.service.totals(person(OTHER), TotalsBy.DAY, CallFilter()) == []


async def test_what_is_missing_is_an_alarm_and_what_comes_is_taken(rig: Rig) -> None:
    await rig.take(rig.push(rig.record()))
    rig.end += 50
    answer = await rig.take(rig.push(rig.record()))
    assert (answer.gap, answer.taken) == (True, 1)
    assert await rig.alarms() == [AuditAction.CALL_RECORDS_GAP_FOUND]
    # A spool that began again, and one that did not begin at its beginning.
    anew = await rig.take(rig.push(rig.record(), spool_id="spool-2"))
    assert (anew.gap, anew.taken) == (True, 1)
    rig.gateway, rig.gateway_id = gateway_caller(rig.clock)
    late = await rig.take(rig.push(rig.record()))
    assert late.gap
    assert (await rig.alarms())[1:] == [
        AuditAction.CALL_RECORDS_RESTARTED,
        AuditAction.CALL_RECORDS_GAP_FOUND,
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {"id": "not a uuid"},
        {"id": "x" * 999},
        {"started_at": -1},
        {"cost": 2**60},
        {"principal": "user:\0"},
        {"usage": Usage(input_tokens=-5)},
    ],
)
async def test_what_cannot_be_a_record_is_kept_apart(rig: Rig, parts: dict[str, Any]) -> None:
    good = rig.record()
    answer = await rig.take(rig.push(rig.record(**parts), good, b"\xc1", b"{}"))
    assert (answer.taken, answer.set_aside) == (1, 3)
    assert await rig.totals() == {"user:ada": 1}


async def test_a_secret_that_was_not_masked_is_masked_here(rig: Rig) -> None:
    key = "sk-" + "proj-" + "aB3dE5fG7h" * 5
    record = rig.record(input=f"my key is {key}", principal="user:ada")
    await rig.take(rig.push(record))
    stored = await rig.service.call(person(), record.id)
    assert key not in msgspec.json.encode(stored.record).decode()
    assert stored.record.input is not None
    assert stored.record.input.startswith("my key is ")


async def test_pages_and_filters(rig: Rig) -> None:
    records = []
    for number in range(5):
        rig.clock.advance(1)
        records.append(rig.record(principal=f"user:{number % 2}", status=200 + 300 * (number == 4)))
    await rig.take(rig.push(*records))
    newest = [record.id for record in reversed(records)]
    page = PageRequest(limit=2)
    seen: list[str] = []
    while True:
        found = await rig.service.calls(person(), CallFilter(), page)
        seen += [call.record.id for call in found.items]
        if not found.next_cursor:
            break
        page = PageRequest(limit=2, cursor=found.next_cursor)
    assert seen == newest

    async def ids(**wanted: Any) -> list[str]:  # noqa: ANN401 - parts of a filter
        found = await rig.service.calls(person(), CallFilter(**wanted), PageRequest())
        return [call.record.id for call in found.items]

    assert await ids(principal="user:1") == [newest[1], newest[3]]
    assert await ids(failed=True) == [newest[0]]
    assert await ids(since=records[3].started_at) == newest[:2]
    assert await ids(until=records[1].started_at) == [newest[4]]
    assert await ids(model="other") == []


async def test_totals_by_day_and_their_filters(rig: Rig) -> None:
    today = rig.record()
    tomorrow = rig.record(
        started_at=rig.clock.now() + 86_400 * MICROSECONDS, principal="user:bob", credential_id=""
    )
    await rig.take(rig.push(today, tomorrow))
    by_day = await rig.totals(TotalsBy.DAY)
    assert list(by_day.values()) == [1, 1]
    assert list(by_day) == sorted(by_day)
    assert await rig.totals(TotalsBy.DAY, principal="user:bob") == {list(by_day)[1]: 1}
    assert await rig.totals(since=tomorrow.started_at) == {"user:bob": 1}
    assert await rig.totals(until=today.started_at + 1) == {"user:ada": 1}
    assert await rig.totals(TotalsBy.CREDENTIAL) == {"": 1, today.credential_id: 1}


async def test_versions_of_credentials_by_fetches_and_calls(rig: Rig) -> None:
    at = rig.clock.now()
    fetch = AuditEntry(
        id=uuid7(rig.clock),
        sequence=1,
        at=at - 500,
        organization_id=ORGANIZATION,
        action=AuditAction.CREDENTIAL_FETCHED,
        object="01a00000-0000-7000-8000-00000000000c",
        details={"version": "v1", "reference": "file:///x"},
    )
    await rig.service.note_fetches(rig.gateway, [msgspec.json.encode(fetch), b"?"])
    rig.clock.advance(1)
    await rig.take(rig.push(rig.record(), rig.record(), rig.record(credential_version="v2")))
    async with rig.database.reading() as tx:
        seen = await rig.service.versions_seen(tx, ORGANIZATION, None)
        assert await rig.service.versions_seen(tx, ORGANIZATION, ["other"]) == {}
        assert await rig.service.versions_seen(tx, OTHER, None) == {}
        recent = await rig.service.recent_calls(tx, ORGANIZATION, since=0, limit=2)
    now = rig.clock.now()
    assert seen == {
        "01a00000-0000-7000-8000-00000000000c": [
            SeenVersion(fingerprint="v1", first_seen=at - 500, last_seen=now, calls=2),
            SeenVersion(fingerprint="v2", first_seen=now, last_seen=now, calls=1),
        ]
    }
    assert [call.model for call in recent] == ["gpt-4o-mini"] * 2


async def test_records_are_forgotten_and_totals_stay(rig: Rig) -> None:
    await rig.take(rig.push(rig.record()))
    rig.clock.advance(KEEP_RECORDS / MICROSECONDS + 1)
    await rig.take(rig.push(rig.record()))
    assert await rig.service.forget() == 1
    assert len((await rig.service.calls(person(), CallFilter(), PageRequest())).items) == 1
    assert await rig.totals() == {"user:ada": 2}
    rig.clock.advance(500 * 86_400)
    await rig.service.forget()
    assert await rig.totals() == {}


async def test_it_is_said_who_used_a_credential(rig: Rig) -> None:
    first, second = rig.record(), rig.record(status=500)
    await rig.take(rig.push(first, second))
    [use] = await rig.service.uses(person(), [first.credential_id])
    assert (use.principal, use.calls) == ("user:ada", 2)
    assert (use.first_used, use.last_used) == (first.started_at, second.started_at)
    assert await rig.service.uses(person(OTHER), [first.credential_id]) == []
