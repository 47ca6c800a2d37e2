from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.call_records import call_record
from tests.support.eventually import eventually

from keylease.contracts.call_records import CallRecord
from keylease.contracts.policy import Credential, PolicyBundle
from keylease.contracts.purposes import Purpose
from keylease.errors import LimitReached, StorageError, StoreTimedOut
from keylease.primitives.clock import SystemClock
from keylease.primitives.segments import count
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.channel import CoordinatorEnd, coordinator_end, worker_end
from keylease.strongroom.gateway.interfaces import (
    Demand,
    HttpAnswer,
    LimitKey,
    LimitKind,
    LimitWindow,
    PriceQuote,
)
from keylease.strongroom.gateway.worker.link import WorkerLink

TOKENS = LimitKey("grant", LimitKind.TOKENS, LimitWindow.MINUTE)
DEMANDS = (Demand(TOKENS, 1000, 10),)
PRICE = PriceQuote(input=1, output=2, cache_read=0, cache_write=0, version="v1")


class Closed:
    """A call that is over; ``defect`` is raised when its record is built."""

    def __init__(
        self, record: CallRecord | None = None, *, defect: Exception | None = None
    ) -> None:
        self._record = record or call_record()
        self._defect = defect

    def record(self) -> CallRecord:
        if self._defect is not None:
            raise self._defect
        return self._record


class Rig:
    """A link whose coordinator is the test."""

    def __init__(self) -> None:
        self.heard: list[messages.ToCoordinator] = []
        self.blocks: list[bytes] = []
        self.end: CoordinatorEnd
        self.link = WorkerLink(clock=SystemClock())

    async def open(self) -> None:
        ours, theirs = socket.socketpair()
        self.end = coordinator_end(
            on_message=self.heard.append,
            on_block=self.blocks.append,
            on_closed=lambda _: None,
        )
        channel = worker_end(on_message=self.link.received, on_closed=lambda _: self.link.closed())
        await self.end.open(ours)
        await channel.open(theirs)
        begin = messages.Begin(
            configuration=GatewayConfiguration(path="/x"),
            jwks=b"{}",
            policy=PolicyBundle(organization_id="o", version=1, issued_at=0),
            revocations=(),
            accepts_calls=True,
            readiness=HttpAnswer(200, (), b""),
        )
        self.link.open(channel, begin)

    async def next(self, kind: type[messages.ToCoordinator]) -> messages.ToCoordinator:
        await eventually(lambda: any(isinstance(message, kind) for message in self.heard))
        found = next(message for message in self.heard if isinstance(message, kind))
        self.heard.remove(found)
        return found


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.open()
    yield rig
    rig.end.close()
    await asyncio.sleep(0.02)


async def test_records_leave_together(rig: Rig) -> None:
    for number in range(100):
        rig.link.record(Closed(call_record(number)))
    await eventually(lambda: len(rig.blocks) > 1)
    assert [count(block) for block in rig.blocks] == [64, 36]


async def test_long_records_leave_in_blocks_of_bounded_size(rig: Rig) -> None:
    long = msgspec.structs.replace(call_record(), input="x" * 200_000)
    for _ in range(5):
        rig.link.record(Closed(long))
    await eventually(lambda: len(rig.blocks) > 2)
    assert [count(block) for block in rig.blocks] == [2, 2, 1]


async def test_a_record_that_cannot_be_built_is_reported_and_loses_no_other(rig: Rig) -> None:
    text = secrets.token_hex(16)
    for defect in (None, ValueError(text), None):
        rig.link.record(Closed(defect=defect))
    problem = await rig.next(messages.Problem)
    assert isinstance(problem, messages.Problem)
    assert problem.error == "ValueError"
    assert problem.place.startswith("test_link.py:")
    assert text not in repr(problem)
    await eventually(lambda: rig.blocks)
    assert [count(block) for block in rig.blocks] == [2]


async def test_counts_are_reported(rig: Rig) -> None:
    for _ in range(3):
        rig.link.record(Closed())
    counts = await rig.next(messages.CallCounts)
    assert isinstance(counts, messages.CallCounts)
    (line,) = counts.counts
    assert (line.provider, line.model, line.status, line.calls) == ("openai", "gpt-4o", 200, 3)
    assert (line.input_tokens, line.output_tokens, line.cost) == (9, 6, 15)
    assert sum(line.duration_buckets) == 3
    assert line.first_chunk_buckets[0] == 3


C = Credential(
    id="c",
    name="c",
    provider="openai",
    reference="sealed://c",
    purposes=(Purpose.DEVELOPMENT,),
    environment="local",
)


async def give(rig: Rig, secret: bytes, *, usable: float, version: str = "v1") -> int:
    wanted = await rig.next(messages.CredentialWanted)
    assert isinstance(wanted, messages.CredentialWanted)
    rig.end.send(messages.CredentialGiven(wanted.request, secret, version, 77, usable))
    return wanted.fetched_after


async def test_a_refresh_that_fails_does_not_make_a_secret_live_longer(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.credential(C))
    await give(rig, b"sk-test-0123456789", usable=0.2)
    fetched = await asking
    await asyncio.sleep(0.17)
    assert rig.link.try_credential(C) is fetched  # asks ahead of need
    wanted = await rig.next(messages.CredentialWanted)
    assert isinstance(wanted, messages.CredentialWanted)
    rig.end.send(messages.Failed(wanted.request, "store_unavailable", "The store is down."))
    await asyncio.sleep(0.05)
    assert rig.link.try_credential(C) is None


async def test_a_secret_is_kept_until_its_age_is_over(rig: Rig) -> None:
    value = f"sk-test-{secrets.token_hex(8)}".encode()
    assert rig.link.try_credential(C) is None
    asking = asyncio.create_task(rig.link.credential(C))
    await give(rig, value, usable=0.2)
    fetched = await asking
    assert fetched.secret.reveal(why="compare") == value
    assert rig.link.try_credential(C) is fetched
    await asyncio.sleep(0.17)
    assert rig.link.try_credential(C) is fetched  # asks ahead of need
    await give(rig, value, usable=30, version="v2")
    await eventually(lambda: (held := rig.link.try_credential(C)) and held.version == "v2")
    rig.end.send(messages.ForgetCredentials(("c",)))
    await eventually(lambda: rig.link.try_credential(C) is None)


@pytest.mark.parametrize(
    "changes", [{"reference": "sealed://d"}, {"upstream": "https://x.test"}, {"provider": "xai"}]
)
async def test_a_secret_serves_the_credential_it_was_fetched_for_and_no_other(
    rig: Rig, changes: dict[str, str]
) -> None:
    asking = asyncio.create_task(rig.link.credential(C))
    await give(rig, b"sk-test-one", usable=30)
    first = await asking
    other = msgspec.structs.replace(C, **changes)
    assert rig.link.try_credential(msgspec.structs.replace(C)) is first
    assert rig.link.try_credential(other) is None
    asking = asyncio.create_task(rig.link.credential(other))
    await give(rig, b"sk-test-one", usable=30)  # a version that is equal by chance
    second = await asking
    assert second is not first
    assert rig.link.try_credential(other) is second
    assert rig.link.try_credential(C) is None


async def test_a_secret_that_is_too_old_is_not_used(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.credential(C))
    await give(rig, b"sk-test-old-secret", usable=0.05)
    await asking
    await asyncio.sleep(0.06)
    assert rig.link.try_credential(C) is None


async def test_the_store_s_error_arrives(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.credential(C, fetched_after=5))
    wanted = await rig.next(messages.CredentialWanted)
    assert isinstance(wanted, messages.CredentialWanted)
    assert wanted.fetched_after == 5
    rig.end.send(messages.describe(wanted.request, StoreTimedOut("slow", advice="wait")))
    with pytest.raises(StoreTimedOut, match="slow"):
        await asking


async def test_a_slice_serves_many_calls(rig: Rig) -> None:
    assert rig.link.try_reserve(DEMANDS) is None
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    rig.end.send(messages.SliceGranted(wanted.request, (100,)))
    hold = await asking
    rig.link.settle(hold, (4,))
    others = [rig.link.try_reserve(DEMANDS) for _ in range(9)]
    assert all(others)
    ahead = await rig.next(messages.SliceWanted)
    assert isinstance(ahead, messages.SliceWanted)
    assert ahead.ahead
    for other in others:
        assert other is not None
        rig.link.settle(other, (10,))
    report = await rig.next(messages.SliceReport)
    assert isinstance(report, messages.SliceReport)
    assert sum(use.used for use in report.uses) == 94


async def test_calls_that_find_nothing_wait_for_the_one_that_asks(rig: Rig) -> None:
    asking = [asyncio.create_task(rig.link.reserve(DEMANDS)) for _ in range(20)]
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    await asyncio.sleep(0)
    assert not any(isinstance(message, messages.SliceWanted) for message in rig.heard)
    rig.end.send(messages.SliceGranted(wanted.request, (150,)))
    # It is enough for fifteen of them; the others ask, each for itself.
    for _ in range(5):
        further = await rig.next(messages.SliceWanted)
        while isinstance(further, messages.SliceWanted) and further.ahead:
            further = await rig.next(messages.SliceWanted)
        assert isinstance(further, messages.SliceWanted)
        rig.end.send(messages.SliceGranted(further.request, (10,)))
    assert len(await asyncio.gather(*asking)) == 20


async def test_who_waits_for_one_that_is_refused_asks_or_is_refused(rig: Rig) -> None:
    asking = [asyncio.create_task(rig.link.reserve(DEMANDS)) for _ in range(3)]
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    rig.end.send(messages.describe(wanted.request, LimitReached("used up", retry_after=9)))
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LimitReached] * 3


async def test_a_fresh_refusal_is_repeated_without_asking(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    rig.end.send(messages.describe(wanted.request, LimitReached("used up", retry_after=9)))
    with pytest.raises(LimitReached):
        await asking
    with pytest.raises(LimitReached) as again:
        await rig.link.reserve(DEMANDS)
    assert again.value.retry_after == 9
    assert not any(isinstance(message, messages.SliceWanted) for message in rig.heard)
    await asyncio.sleep(0.11)
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    await rig.next(messages.SliceWanted)
    asking.cancel()


async def refused_once(rig: Rig, demands: tuple[Demand, ...], error: LimitReached) -> LimitReached:
    asking = asyncio.create_task(rig.link.reserve(demands))
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    rig.end.send(messages.describe(wanted.request, error))
    with pytest.raises(LimitReached) as refused:
        await asking
    return refused.value


async def test_what_can_never_fit_is_not_told_that_a_limit_is_used_up(rig: Rig) -> None:
    await refused_once(rig, DEMANDS, LimitReached("used up", retry_after=9))
    hopeless = tuple(Demand(d.key, d.capacity, d.capacity + 1) for d in DEMANDS)
    error = await refused_once(rig, hopeless, LimitReached("over", retry_after=9, hopeless=True))
    assert error.hopeless
    with pytest.raises(LimitReached, match="over"):
        await rig.link.reserve(hopeless)
    assert not any(isinstance(message, messages.SliceWanted) for message in rig.heard)


async def test_a_settled_batch_makes_room_at_once(rig: Rig) -> None:
    await refused_once(rig, DEMANDS, LimitReached("used up", retry_after=9))
    settling = asyncio.create_task(rig.link.settle_batch("batch_1", 12))
    ended = await rig.next(messages.BatchEnded)
    assert isinstance(ended, messages.BatchEnded)
    assert (ended.batch_id, ended.micro_usd) == ("batch_1", 12)
    rig.end.send(messages.ObjectGiven(ended.request, None))
    await settling
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    await rig.next(messages.SliceWanted)
    asking.cancel()


async def test_a_grant_for_a_caller_who_left_goes_back(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    asking.cancel()
    await asyncio.sleep(0)
    rig.end.send(messages.SliceGranted(wanted.request, (10,)))
    await asyncio.sleep(0.05)
    rig.end.send(messages.RecallSlices(3, (TOKENS,)))
    report = await rig.next(messages.SliceReport)
    assert report == messages.SliceReport((messages.SliceUse(TOKENS, 0, 10),), 3)


async def test_idle_slices_go_back(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.reserve(DEMANDS))
    wanted = await rig.next(messages.SliceWanted)
    assert isinstance(wanted, messages.SliceWanted)
    rig.end.send(messages.SliceGranted(wanted.request, (60,)))
    rig.link.settle(await asking, (10,))
    returned = 0
    while returned < 50:
        report = await rig.next(messages.SliceReport)
        assert isinstance(report, messages.SliceReport)
        returned += sum(use.returned for use in report.uses)


async def test_prices_are_asked_for_once(rig: Rig) -> None:
    assert rig.link.try_price("openai", "gpt-4o") is None
    assert rig.link.try_price("openai", "gpt-4o") is None
    wanted = await rig.next(messages.PriceWanted)
    assert isinstance(wanted, messages.PriceWanted)
    rig.end.send(messages.PriceGiven(wanted.request, PRICE))
    await eventually(lambda: rig.link.try_price("openai", "gpt-4o") == PRICE)
    assert await rig.link.price("openai", "gpt-4o") == PRICE
    assert not any(isinstance(message, messages.PriceWanted) for message in rig.heard)


async def test_nobody_waits_for_a_coordinator_that_is_gone(rig: Rig) -> None:
    asking = asyncio.create_task(rig.link.find_object("file-1"))
    await rig.next(messages.ObjectWanted)
    rig.end.close()
    with pytest.raises(StorageError, match="stopping"):
        await asking
    with pytest.raises(StorageError):
        await rig.link.credential(C)
    assert not rig.link.accepts_calls()


async def test_calls_stop_while_the_spool_is_full(rig: Rig) -> None:
    assert rig.link.accepts_calls()
    rig.end.send(messages.SpoolChanged(accepts_calls=False))
    await eventually(lambda: not rig.link.accepts_calls())
    rig.end.send(messages.SpoolChanged(accepts_calls=True))
    await eventually(rig.link.accepts_calls)
