"""What a gateway that was taken over tries against the rest of its organization."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from tests.support.link_kit import GatewayHand
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.policy_kit import credential, grant, route

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.contracts.bundles import fingerprint
from keylease.contracts.call_records import CallRecord
from keylease.contracts.enrolment_codes import EnrolmentCode
from keylease.errors import EnrolmentRefused, RequestMalformed
from keylease.platform.audit.tables import AUDIT_INDEX
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.gateways.tables import NONCES
from keylease.platform.identity.sign_in.service import acting
from keylease.platform.policy.resources import Resource
from keylease.platform.server.services import Services
from keylease.primitives.identifiers import uuid7


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield joined


@pytest.fixture
async def owner(services: Services) -> Caller:
    await services.identity.first_start.sign_in_link()
    async with services.database.reading() as tx:
        user = await services.directory.owner_to_set_up(tx)
    assert user is not None
    return acting(user)


async def a_policy(services: Services, caller: Caller) -> tuple[Resource, Resource]:
    """A credential of the group ``local``, and one that only ``production`` has."""
    resources = services.policy.resources
    mine = await resources.create(caller, credential("mine", gateway_groups=("local",)))
    theirs = await resources.create(caller, credential("theirs", gateway_groups=("production",)))
    await resources.create(caller, route(mine.id))
    await resources.create(caller, grant())
    draft = (await services.policy.publisher.standing(caller)).draft
    await services.policy.publisher.publish(caller, expected=draft)
    return mine, theirs


def fetch(clock: ManualClock, credential_id: str, sequence: int, at: int) -> bytes:
    entry = AuditEntry(
        id=uuid7(clock),
        sequence=sequence,
        at=at,
        organization_id="",
        action=AuditAction.CREDENTIAL_FETCHED,
        object=credential_id,
        details={"version": "next"},
    )
    return msgspec.json.encode(entry)


def call(clock: ManualClock, credential_id: str) -> bytes:
    record = CallRecord(
        id=uuid7(clock),
        trace_id="0" * 32,
        span_id="0" * 16,
        organization_id="",
        principal="user:ada",
        lease_id="lease",
        purpose="development",
        environment="local",
        credential_id=credential_id,
        credential_version="next",
        operation="chat",
        method="POST",
        path="/v1/chat/completions",
        requested_model="gpt-5",
        upstream_model="gpt-5",
        started_at=1,
        duration=1,
        status=200,
        policy_version=1,
    )
    return msgspec.msgpack.encode(record)


async def enrolled(services: Services, caller: Caller, clock: ManualClock) -> GatewayHand:
    """A gateway of the group ``local``."""
    hand = GatewayHand(clock)
    minted = await services.link.gateways.create_code(caller, group="local")
    wish = hand.wish(minted.text)
    answer = await services.link.service.enroll(hand.json(wire.ENROLMENTS, wish))
    hand.gateway_id = answer.gateway_id
    return hand


async def test_whoever_has_no_code_writes_nothing(
    services: Services, owner: Caller, clock: ManualClock
) -> None:
    hand = GatewayHand(clock)
    key = fingerprint(await services.policy.bundles.policy_key(owner.organization_id))
    wish = hand.wish(EnrolmentCode.mint(uuid7(clock), policy_key=key).text)
    for _ in range(3):
        with pytest.raises(EnrolmentRefused):
            await services.link.service.enroll(hand.json(wire.ENROLMENTS, wish))
    async with services.database.reading() as tx:
        assert not await tx.rows(select(NONCES))


NUL = "\0"
HUGE = 2**63


def pushed(*records: bytes, **parts: Any) -> wire.CallRecordPush:  # noqa: ANN401 - parts of a push
    base: dict[str, Any] = {
        "spool_id": "spool",
        "start": wire.SpoolPosition(),
        "end": wire.SpoolPosition(segment=1, offset=1),
    }
    return wire.CallRecordPush(records=records, **{**base, **parts})


def with_parts(clock: ManualClock, **parts: Any) -> bytes:  # noqa: ANN401 - parts of a record
    record = msgspec.msgpack.decode(call(clock, "credential"))
    return msgspec.msgpack.encode({**record, **parts})


async def test_what_no_column_takes_is_kept_apart(
    services: Services, owner: Caller, clock: ManualClock
) -> None:
    hand = await enrolled(services, owner, clock)
    texts = ("principal", "credential_id", "credential_version", "requested_model")
    spoiled = [with_parts(clock, **{name: f"a{NUL}b"}) for name in texts]
    spoiled += [with_parts(clock, **{name: HUGE}) for name in ("started_at", "duration", "cost")]
    spoiled.append(with_parts(clock, usage={"input_tokens": 2**52, "output_tokens": -1}))
    push = pushed(*spoiled, with_parts(clock, error=f"a{NUL}b"))
    link = services.link.service
    answer = await link.push_call_records(hand.msgpack(wire.CALL_RECORDS, push))
    assert (answer.set_aside, answer.taken) == (len(spoiled), 1)


@pytest.mark.parametrize(
    "parts",
    [
        {"spool_id": f"spool{NUL}"},
        {"spool_id": ""},
        {"spool_id": "s" * 37},
        {"end": wire.SpoolPosition(segment=HUGE, offset=1)},
        {"start": wire.SpoolPosition(segment=-1, offset=1)},
    ],
)
async def test_a_place_that_no_spool_has_is_refused(
    services: Services, owner: Caller, clock: ManualClock, parts: dict[str, Any]
) -> None:
    hand = await enrolled(services, owner, clock)
    push = pushed(call(clock, "credential"), **parts)
    with pytest.raises(RequestMalformed):
        await services.link.service.push_call_records(hand.msgpack(wire.CALL_RECORDS, push))


async def test_no_entry_of_a_gateway_stops_the_audit_log(
    services: Services, owner: Caller, clock: ManualClock
) -> None:
    hand = await enrolled(services, owner, clock)
    good = AuditEntry(
        id=uuid7(clock), sequence=1, at=1, organization_id="", action=AuditAction.LEASE_REFUSED
    )
    entries = [
        msgspec.structs.replace(good, object=f"a{NUL}b", reason=NUL, principal=f"user:{NUL}"),
        msgspec.structs.replace(good, id=f"a{NUL}b", sequence=2),
        msgspec.structs.replace(good, id=uuid7(clock), sequence=HUGE),
        msgspec.structs.replace(good, id=uuid7(clock), sequence=4, at=HUGE),
    ]
    push = wire.AuditPush(entries=tuple(map(msgspec.json.encode, entries)))
    link = services.link.service
    answer = await link.push_audit_entries(hand.msgpack(wire.AUDIT_ENTRIES, push))
    assert (answer.taken, answer.set_aside) == (1, 3)
    await services.audit.sequencer.drain()
    async with services.database.reading() as tx:
        rows = await tx.rows(
            select(AUDIT_INDEX.c.object).where(AUDIT_INDEX.c.gateway_id == hand.gateway_id)
        )
    assert [row["object"] for row in rows] == ["a\ufffdb"]


@pytest.mark.parametrize(
    "report",
    [
        wire.PollRequest(software=f"1{NUL}"),
        wire.PollRequest(software="1", in_force=wire.BundleState(version=HUGE)),
        wire.PollRequest(software="1", highest_version=HUGE),
        wire.PollRequest(software="1", highest_version=-1),
    ],
)
async def test_a_report_that_cannot_be_kept_is_refused(
    services: Services, owner: Caller, clock: ManualClock, report: wire.PollRequest
) -> None:
    hand = await enrolled(services, owner, clock)
    with pytest.raises(RequestMalformed):
        await services.link.service.poll(hand.json(wire.POLL, report))


async def test_a_batch_that_comes_twice_at_the_same_moment_is_counted_once(
    services: Services, owner: Caller, clock: ManualClock
) -> None:
    hand = await enrolled(services, owner, clock)
    push = pushed(*(call(clock, "credential") for _ in range(5)))
    entry = fetch(clock, "credential", 1, 1)
    link = services.link.service
    answers = await asyncio.gather(
        *(link.push_call_records(hand.msgpack(wire.CALL_RECORDS, push)) for _ in range(4))
    )
    assert sorted(answer.taken for answer in answers) == [0, 0, 0, 5]
    audited = wire.AuditPush(entries=(entry,))
    answers = await asyncio.gather(
        *(link.push_audit_entries(hand.msgpack(wire.AUDIT_ENTRIES, audited)) for _ in range(4))
    )
    assert sorted(answer.taken for answer in answers) == [0, 0, 0, 1]


async def test_no_gateway_ages_a_secret_that_another_group_has(
    services: Services, owner: Caller, clock: ManualClock
) -> None:
    mine, theirs = await a_policy(services, owner)
    hand = await enrolled(services, owner, clock)
    link = services.link.service
    # It says that it fetched both secrets in their next version, in 1970 and as late as can be.
    entries = tuple(
        fetch(clock, one, number, at)
        for number, (one, at) in enumerate(
            [(mine.id, 1), (theirs.id, 1), (mine.id, 2**62), (theirs.id, 2**62)], start=1
        )
    )
    await link.push_audit_entries(hand.msgpack(wire.AUDIT_ENTRIES, wire.AuditPush(entries=entries)))
    push = wire.CallRecordPush(
        spool_id="spool",
        start=wire.SpoolPosition(),
        end=wire.SpoolPosition(segment=1, offset=1),
        records=(call(clock, mine.id), call(clock, theirs.id)),
    )
    answer = await link.push_call_records(hand.msgpack(wire.CALL_RECORDS, push))
    assert answer.taken == 2
    async with services.database.reading() as tx:
        seen = await services.link.records.versions_seen(tx, owner.organization_id, None)
    assert set(seen) == {mine.id}
    assert [(one.first_seen, one.last_seen) for one in seen[mine.id]] == [(1, 1)]
