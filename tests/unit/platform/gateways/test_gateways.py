"""Enrolment, proof of identity, polls: on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from tests.support.eventually import eventually
from tests.support.link_kit import ORGANIZATION, OTHER, FakeBundles, GatewayHand, person
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction
from keylease.errors import (
    EnrolmentRefused,
    GatewayNotProven,
    GatewayRevoked,
    InputInvalid,
    KeyleaseError,
    LinkVersionUnsupported,
    RequestMalformed,
    RequestReplayed,
    RequestTimeRefused,
    ResourceConflict,
    ResourceNotFound,
    VersionChanged,
)
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.db.tables import OUTBOX
from keylease.platform.gateways.gateway import CodeState
from keylease.platform.gateways.link_service import LinkService
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.gateways.proof import SignedRequest
from keylease.platform.gateways.repository import Groups
from keylease.platform.gateways.service import GatewayService
from keylease.platform.records.service import RecordService


class NoLog:
    """An audit log that has nothing to witness and takes everything."""

    def __init__(self) -> None:
        self.cosigned: list[str] = []

    async def offer(self, organization_id: str, *, witnessed: int) -> None:
        del organization_id, witnessed

    async def accept(self, *_: object, **parts: object) -> Any:  # noqa: ANN401 - two interfaces
        self.cosigned.append(str(parts.get("key")))
        return wire.PushAnswer(taken=1)


class Link:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.hub = PollHub(look_seconds=0.01)
        self.bundles = FakeBundles(clock)
        self.gateways = GatewayService(database, self.bundles, self.hub)
        self.log = NoLog()
        self.service = LinkService(
            database,
            gateways=self.gateways,
            bundles=self.bundles,
            audit=self.log,
            records=RecordService(database),
            log=self.log,
            fingerprints=self.log,
            hub=self.hub,
            clock=clock,
        )

    def hand(self) -> GatewayHand:
        return GatewayHand(self.clock)

    async def actions(self) -> list[str]:
        async with self.database.reading() as tx:
            rows = await tx.rows(select(OUTBOX.c.entry).order_by(OUTBOX.c.position))
        return [msgspec.json.decode(row["entry"])["action"] for row in rows]


@pytest.fixture
def link(database: Database, clock: ManualClock) -> Link:
    return Link(database, clock)


def poll(**parts: Any) -> wire.PollRequest:  # noqa: ANN401 - parts of a poll
    return wire.PollRequest(software="1.2.3", **parts)


# --- enrolment -----------------------------------------------------------------------------


async def test_a_code_enrolls_one_gateway(link: Link) -> None:
    minted = await link.gateways.create_code(person(), group="local")
    hand = link.hand()
    wish = hand.wish(minted.text)
    answer = await link.gateways.enroll(wish, hand.json(wire.ENROLMENTS, wish))
    assert (answer.organization_id, answer.group) == (ORGANIZATION, "local")
    assert answer.policy_key == await link.bundles.policy_key(ORGANIZATION)
    other = link.hand()
    again = other.wish(minted.text)
    with pytest.raises(EnrolmentRefused):
        await link.gateways.enroll(again, other.json(wire.ENROLMENTS, again))
    [code] = (await link.gateways.codes(person(), PageRequest())).items
    assert (code.state(link.clock.now()), code.gateway_id) == (CodeState.USED, answer.gateway_id)
    assert minted.text not in repr(minted) + repr(code)
    assert await link.actions() == [
        AuditAction.ENROLMENT_CODE_CREATED,
        AuditAction.GATEWAY_ENROLLED,
        AuditAction.GATEWAY_ENROLMENT_REFUSED,
    ]


async def test_two_gateways_with_one_code_at_once(link: Link) -> None:
    minted = await link.gateways.create_code(person(), group="local")

    async def come() -> bool:
        hand = link.hand()
        wish = hand.wish(minted.text)
        try:
            await link.gateways.enroll(wish, hand.json(wire.ENROLMENTS, wish))
        except EnrolmentRefused:
            return False
        return True

    assert sorted(await asyncio.gather(come(), come(), come())) == [False, False, True]


@pytest.mark.parametrize("why", ["expired", "withdrawn", "another group", "another key", "unknown"])
async def test_a_code_that_opens_nothing_says_no_more_than_that(link: Link, why: str) -> None:
    minted = await link.gateways.create_code(person(), group="local", lifetime=60)
    hand = link.hand()
    wish = hand.wish(minted.text)
    match why:
        case "expired":
            link.clock.advance(61)
        case "withdrawn":
            await link.gateways.withdraw_code(person(), minted.stored.id)
        case "another group":
            wish = msgspec.structs.replace(wish, group="other")
        case "another key":
            link.bundles.key = FakeBundles(link.clock).key
        case _:
            wish = msgspec.structs.replace(
                wish, code=forged(minted.text, minted.stored.id, link.bundles)
            )
    with pytest.raises(EnrolmentRefused) as refused:
        await link.gateways.enroll(wish, hand.json(wire.ENROLMENTS, wish))
    assert refused.value.message == "The enrolment code does not open anything here."
    assert (await link.gateways.page(person(), PageRequest(), group="")).items == ()


def forged(text: str, code_id: str, bundles: FakeBundles) -> str:
    """A code of the same id that the platform never made."""
    from keylease.contracts.bundles import fingerprint  # noqa: PLC0415 - used here only
    from keylease.contracts.enrolment_codes import EnrolmentCode  # noqa: PLC0415 - as above

    key = fingerprint(bundles.key.public_key().public_bytes_raw())
    made = EnrolmentCode.mint(code_id, policy_key=key)
    assert made.text != text
    return made.text


async def test_who_enrolls_proves_the_key(link: Link) -> None:
    minted = await link.gateways.create_code(person(), group="local")
    hand, thief = link.hand(), link.hand()
    wish = hand.wish(minted.text)
    with pytest.raises(GatewayNotProven):
        await link.gateways.enroll(wish, thief.json(wire.ENROLMENTS, wish))
    later = msgspec.structs.replace(wish, link=wire.LINK_VERSION + 2)
    with pytest.raises(LinkVersionUnsupported):
        await link.gateways.enroll(later, hand.json(wire.ENROLMENTS, later))


@pytest.mark.parametrize(("group", "lifetime"), [("", 60), ("a b", 60), ("local", 8 * 86_400)])
async def test_codes_have_a_group_and_an_end(link: Link, group: str, lifetime: int) -> None:
    with pytest.raises(InputInvalid):
        await link.gateways.create_code(person(), group=group, lifetime=lifetime)


# --- proof ---------------------------------------------------------------------------------

Spoil = Callable[[SignedRequest], SignedRequest]
SPOILED: dict[str, tuple[Spoil, type[KeyleaseError]]] = {
    "another body": (lambda r: msgspec.structs.replace(r, body=b"{}"), GatewayNotProven),
    "another target": (
        lambda r: msgspec.structs.replace(r, target=wire.AUDIT_ENTRIES),
        GatewayNotProven,
    ),
    "another method": (lambda r: msgspec.structs.replace(r, method="PUT"), GatewayNotProven),
    "another time": (lambda r: msgspec.structs.replace(r, time="1" * 16), GatewayNotProven),
    "another nonce": (lambda r: msgspec.structs.replace(r, nonce="A" * 22), GatewayNotProven),
    "no nonce": (lambda r: msgspec.structs.replace(r, nonce=""), GatewayNotProven),
    "no signature": (lambda r: msgspec.structs.replace(r, signature=""), GatewayNotProven),
    "odd signature": (lambda r: msgspec.structs.replace(r, signature="§"), GatewayNotProven),
    "nobody": (lambda r: msgspec.structs.replace(r, gateway_id="x"), GatewayNotProven),
}


@pytest.mark.parametrize("name", SPOILED)
async def test_no_part_of_a_request_can_be_exchanged(link: Link, name: str) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    spoil, error = SPOILED[name]
    request = hand.json(wire.POLL, poll())
    with pytest.raises(error):
        await link.service.poll(spoil(request))
    assert (await link.service.poll(request)).bundle is None


async def test_a_request_is_good_once_and_now(link: Link) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    request = hand.json(wire.POLL, poll())
    await link.service.poll(request)
    with pytest.raises(RequestReplayed):
        await link.service.poll(request)
    # Another server process, or this one after a restart, knows it too.
    restarted = Link(link.database, link.clock)
    with pytest.raises(RequestReplayed):
        await restarted.service.poll(request)
    old = hand.json(wire.POLL, poll())
    link.clock.advance(wire.CLOCK_WINDOW + 1)
    for late in (request, old):
        with pytest.raises(RequestTimeRefused):
            await link.service.poll(late)
    early = hand.json(
        wire.POLL, poll(), time=str(link.clock.now() + (wire.CLOCK_WINDOW + 1) * 1_000_000)
    )
    with pytest.raises(RequestTimeRefused):
        await link.service.poll(early)


async def test_a_gateway_of_another_organization_does_not_exist(link: Link) -> None:
    gateway = await link.hand().enroll(link.gateways)
    with pytest.raises(ResourceNotFound):
        await link.gateways.get(person(OTHER), gateway.id)
    with pytest.raises(ResourceNotFound):
        await link.gateways.revoke(person(OTHER), gateway.id, expected=1)
    assert (await link.gateways.page(person(OTHER), PageRequest(), group="")).items == ()
    assert (await link.gateways.codes(person(OTHER), PageRequest())).items == ()


# --- polls ---------------------------------------------------------------------------------


async def test_a_poll_brings_what_the_gateway_does_not_have(link: Link) -> None:
    hand = link.hand()
    gateway = await hand.enroll(link.gateways)
    assert (await link.service.poll(hand.json(wire.POLL, poll()))).bundle is None
    signed = link.bundles.publish(7)
    answer = await link.service.poll(hand.json(wire.POLL, poll()))
    assert answer.bundle == signed
    has = wire.BundleState(version=7, digest=signed.digest)
    assert (await link.service.poll(hand.json(wire.POLL, poll(in_force=has)))).bundle is None
    refused = wire.RefusedBundle(digest=signed.digest, code="bundle_not_understood")
    said = poll(refused=refused, objections=(wire.Objection(object_id="x", code="y" * 999),))
    assert (await link.service.poll(hand.json(wire.POLL, said))).bundle is None
    known = await link.gateways.get(person(), gateway.id)
    assert known.report is not None
    assert known.report.refused == refused
    assert len(known.report.objections[0].code) == 200
    assert known.last_seen == link.clock.now()
    [group] = await link.gateways.groups(person())
    assert (group.name, group.gateways, group.refusing) == ("local", 1, 1)


@pytest.mark.parametrize("told", [True, False], ids=["told", "another process"])
async def test_a_waiting_poll_is_woken(link: Link, *, told: bool) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    signed = link.bundles.publish(1)
    has = wire.BundleState(version=1, digest=signed.digest)
    watching = asyncio.get_running_loop().create_task(
        link.hub.watch(link.bundles, on_error=lambda error: pytest.fail(str(error)))
    )
    try:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            waiting = group.create_task(
                link.service.poll(hand.json(wire.POLL, poll(in_force=has, wait_seconds=25)))
            )
            await eventually(lambda: link.hub._listening)
            newer = link.bundles.publish(2)
            if told:
                link.hub.wake(ORGANIZATION)
        assert waiting.result().bundle == newer
    finally:
        watching.cancel()


async def test_a_stopping_server_holds_no_poll(link: Link) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(link.service.poll(hand.json(wire.POLL, poll(wait_seconds=25))))
        await eventually(lambda: link.hub._listening)
        link.hub.close()
    assert waiting.result().bundle is None


async def test_a_revoked_gateway_hears_so_at_once(link: Link) -> None:
    hand = link.hand()
    gateway = await hand.enroll(link.gateways)
    async with asyncio.timeout(20):
        waiting = asyncio.get_running_loop().create_task(
            link.service.poll(hand.json(wire.POLL, poll(wait_seconds=25)))
        )
        await eventually(lambda: link.hub._listening)
        with pytest.raises(VersionChanged):
            await link.gateways.revoke(person(), gateway.id, expected=9)
        await link.gateways.revoke(person(), gateway.id, expected=1)
        with pytest.raises(GatewayRevoked):
            await waiting
    with pytest.raises(GatewayRevoked):
        await link.service.poll(hand.json(wire.POLL, poll()))
    with pytest.raises(ResourceConflict):
        await link.gateways.revoke(person(), gateway.id, expected=2)
    async with link.database.reading() as tx:
        assert await Groups().groups(tx, ORGANIZATION) == {}


async def test_a_platform_that_was_set_back_notices(link: Link) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    link.bundles.publish(3)
    for _ in range(2):
        await link.service.poll(hand.json(wire.POLL, poll(highest_version=9)))
    assert link.bundles.ahead == [9]
    assert (await link.actions()).count(AuditAction.GATEWAY_FOUND_AHEAD) == 1


async def test_a_witness_keeps_its_key(link: Link) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)

    async def cosign(key: str) -> None:
        line = wire.Cosignature(origin="o", size=1, line="-", witness_key=key)
        await link.service.push_cosignature(hand.json(wire.COSIGNATURES, line))

    await cosign("one")
    await cosign("one")
    with pytest.raises(RequestMalformed):
        await cosign("two")
    assert link.log.cosigned == ["one", "one"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\x80" * 9, b"[" * 100_000, b'{"link":"x"}'])
async def test_what_is_not_of_the_links_form(link: Link, body: bytes) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    for target, ask in (
        (wire.POLL, link.service.poll),
        (wire.CALL_RECORDS, link.service.push_call_records),
        (wire.AUDIT_ENTRIES, link.service.push_audit_entries),
        (wire.COSIGNATURES, link.service.push_cosignature),
        (wire.FINGERPRINTS, link.service.push_fingerprints),
        (wire.ENROLMENTS, link.service.enroll),
    ):
        with pytest.raises(RequestMalformed):
            await ask(hand.sign(target, body))


@pytest.mark.parametrize("link_version", [wire.LINK_VERSION, wire.LINK_VERSION + 1])
async def test_a_gateway_one_version_ahead_is_understood(link: Link, link_version: int) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    signed = link.bundles.publish(1)
    plain = msgspec.json.decode(msgspec.json.encode(poll(link=link_version)))
    body = msgspec.json.encode({**plain, "of_tomorrow": {"a": [1]}})
    assert (await link.service.poll(hand.sign(wire.POLL, body))).bundle == signed
    # An older one leaves out what it does not know.
    least = msgspec.json.encode({"software": "0.0.1"})
    assert (await link.service.poll(hand.sign(wire.POLL, least))).bundle == signed


async def test_two_versions_apart_is_said_so(link: Link) -> None:
    hand = link.hand()
    await hand.enroll(link.gateways)
    with pytest.raises(LinkVersionUnsupported):
        await link.service.poll(hand.json(wire.POLL, poll(link=wire.LINK_VERSION + 2)))
