from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.manual_clock import ManualClock

from keylease.errors import LimitReached
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.gateway.coordinator.ledger import JournalRecord, Ledger
from keylease.strongroom.gateway.interfaces import Demand, LimitKey, LimitKind, LimitWindow
from keylease.strongroom.gateway.worker.slices import SliceHold, Slices

REQUESTS = LimitKey("grant", LimitKind.REQUESTS, LimitWindow.MINUTE)
TOKENS = LimitKey("grant", LimitKind.TOKENS, LimitWindow.MINUTE)
DAY = LimitKey("grant", LimitKind.MICRO_USD, LimitWindow.DAY)
MONTH = LimitKey("grant", LimitKind.MICRO_USD, LimitWindow.MONTH)
TOTAL = LimitKey("lease", LimitKind.MICRO_USD, LimitWindow.TOTAL)
CAPACITY = {REQUESTS: 40, TOKENS: 1000, DAY: 500, TOTAL: 900}


def spend(ledger: Ledger, demand: Demand) -> None:
    """One call of a single worker: reserve, use all of it, report."""
    (amount,), _ = ledger.grant(1, (demand,), workers=1)
    ledger.report(1, demand.key, used=demand.amount, returned=amount - demand.amount)


def refused(ledger: Ledger, demand: Demand) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        ledger.grant(1, (demand,), workers=1)
    return caught.value


def test_a_minute_slides() -> None:
    clock = ManualClock()
    ledger = Ledger(clock)
    for _ in range(4):
        spend(ledger, Demand(REQUESTS, 4, 1))
        clock.advance(10)
    wait = refused(ledger, Demand(REQUESTS, 4, 1)).retry_after
    assert 20 <= wait <= 22
    clock.advance(wait)
    spend(ledger, Demand(REQUESTS, 4, 1))
    assert 8 <= refused(ledger, Demand(REQUESTS, 4, 1)).retry_after <= 10
    assert 18 <= refused(ledger, Demand(REQUESTS, 4, 2)).retry_after <= 20


@pytest.mark.parametrize(
    ("key", "following"),
    [
        (DAY, datetime(2026, 12, 31, tzinfo=UTC)),
        (MONTH, datetime(2027, 1, 1, tzinfo=UTC)),
        (TOTAL, None),
    ],
)
def test_a_budget_starts_again_with_its_period(key: LimitKey, following: datetime | None) -> None:
    start = datetime(2026, 12, 30, 15, 30, tzinfo=UTC)
    clock = ManualClock(int(start.timestamp()) * MICROSECONDS)
    ledger = Ledger(clock)
    spend(ledger, Demand(key, 100, 100))
    wait = refused(ledger, Demand(key, 100, 1)).retry_after
    if following is None:
        assert wait == 86_400
        clock.advance(400 * 86_400)
        refused(ledger, Demand(key, 100, 1))
        return
    assert wait == int((following - start).total_seconds())
    clock.advance(wait - 1)
    refused(ledger, Demand(key, 100, 1))
    clock.advance(1)
    spend(ledger, Demand(key, 100, 100))
    clock.set_back(wait + 60)
    refused(ledger, Demand(key, 100, 1))


def test_what_is_held_may_come_back_soon() -> None:
    ledger = Ledger(ManualClock())
    ledger.grant(1, (Demand(DAY, 100, 90),), workers=1)
    assert refused(ledger, Demand(DAY, 100, 20)).retry_after == 1
    error = refused(ledger, Demand(DAY, 100, 200))
    assert "waiting does not help" in error.advice
    assert error.hopeless


def test_a_refusal_holds_nothing() -> None:
    ledger = Ledger(ManualClock())
    spend(ledger, Demand(DAY, 100, 100))
    before = ledger.taken(TOKENS)
    with pytest.raises(LimitReached):
        ledger.grant(1, (Demand(TOKENS, 1000, 10), Demand(DAY, 100, 1)), workers=2)
    assert ledger.taken(TOKENS) == before == 0


@pytest.mark.parametrize(
    ("key", "capacity", "amount", "message"),
    [
        (DAY, 25_000_000, 34_120_500, "may use $34.1205, over the limit of $25.00 per day."),
        (TOTAL, 1_250_000_000, 10**10, "may use $10,000.00, over the limit of $1,250.00 in total."),
        (
            TOKENS,
            1_000,
            12_000,
            "may use 12,000 tokens, over the limit of 1,000 tokens per minute.",
        ),
    ],
)
def test_a_call_that_never_fits_is_told_so_in_its_own_units(
    key: LimitKey, capacity: int, amount: int, message: str
) -> None:
    error = refused(Ledger(ManualClock()), Demand(key, capacity, amount))
    assert error.message == f"This call {message}"
    assert "max_tokens" in error.advice


def test_an_overdraft_is_charged_in_full() -> None:
    ledger, slices = Ledger(ManualClock()), Slices()
    demands = (Demand(TOKENS, 1000, 100),)
    amounts, _ = ledger.grant(1, demands, workers=1)
    slices.credit(demands, amounts, 0.0)
    hold = slices.try_reserve(demands, 0.0)
    assert hold is not None
    slices.settle(hold, (990,))
    for use in slices.report(1.0):
        ledger.report(1, use.key, used=use.used, returned=use.returned)
    assert ledger.used(TOKENS) == ledger.taken(TOKENS) == 990
    refused(ledger, Demand(TOKENS, 1000, 20))


def test_a_request_that_was_not_sent_gives_its_place_back() -> None:
    slices = Slices()
    demands = (Demand(REQUESTS, 10, 1),)
    slices.credit(demands, (5,), 0.0)
    hold = slices.try_reserve(demands, 0.0)
    assert hold is not None
    slices.settle(hold, (0,))
    slices.settle(hold, (0,))
    assert slices.remaining(REQUESTS) == 5
    late = slices.try_reserve(demands, 0.1)
    assert late is not None
    assert [use.used for use in slices.report(0.2)] == [1]
    slices.settle(late, (0,))
    assert slices.remaining(REQUESTS) == 4


@pytest.mark.parametrize("used", [(), (0, 0)])
def test_a_hold_is_settled_by_one_amount_for_each_demand(used: tuple[int, ...]) -> None:
    slices = Slices()
    demands = (Demand(REQUESTS, 10, 1),)
    slices.credit(demands, (5,), 0.0)
    hold = slices.try_reserve(demands, 0.0)
    assert hold is not None
    with pytest.raises(ValueError, match="one amount for each"):
        slices.settle(hold, used)
    slices.settle(hold, (0,))
    assert slices.remaining(REQUESTS) == 5


def test_idle_and_surplus_slices_go_back() -> None:
    slices = Slices()
    demands = (Demand(TOKENS, 1000, 1),)
    slices.credit(demands, (50,), 0.0)
    assert slices.report(0.25) == ()
    assert [use.returned for use in slices.report(0.6)] == [50]
    assert slices.report(0.7) == ()


def test_low_slices_are_topped_up_ahead() -> None:
    slices = Slices()
    demands = (Demand(TOKENS, 1000, 10),)
    slices.credit(demands, (100,), 0.0)
    assert slices.runs_low(demands) == ()
    for _ in range(8):
        assert slices.try_reserve(demands, 0.0)
    assert slices.runs_low(demands) == demands
    slices.credit(demands, (10,), 0.0)
    assert slices.runs_low(demands) == ()


class Cluster(RuleBasedStateMachine):
    """Two or three workers, one ledger with its journal, crashes of both at any moment.

    The truth is kept beside them: when and how much every call was charged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.journal: list[bytes] = []
        self.ledger = Ledger(self.clock)
        self.workers: dict[int, Slices] = {1: Slices(), 2: Slices(), 3: Slices()}
        self.next_worker = 4
        self.waits: list[int] = []
        self.live: list[tuple[int, SliceHold]] = []
        self.charged: list[tuple[float, int, LimitKey, int]] = []

    def write(self, *records: JournalRecord) -> None:
        self.journal += [msgspec.msgpack.encode(record) for record in records]

    def charge(self, key: LimitKey, amount: int) -> None:
        self.charged.append((self.clock.monotonic(), self.clock.now(), key, amount))

    def report(self, number: int, *, everything: bool = False) -> None:
        uses = self.workers[number].report(self.clock.monotonic(), everything=everything)
        for use in uses:
            self.write(self.ledger.report(number, use.key, used=use.used, returned=use.returned))
        if everything:
            self.ledger.recalled(number, CAPACITY)

    def demands(self, amounts: tuple[int, int, int]) -> tuple[Demand, ...]:
        tokens, day, total = amounts
        wanted = {REQUESTS: 1, TOKENS: tokens, DAY: day, TOTAL: total}
        return tuple(Demand(key, CAPACITY[key], amount) for key, amount in wanted.items())

    @rule(
        pick=st.integers(0, 2),
        amounts=st.tuples(st.integers(0, 300), st.integers(0, 120), st.integers(0, 120)),
        committed=st.integers(0, 9),
    )
    def reserve(self, pick: int, amounts: tuple[int, int, int], committed: int) -> None:
        number = list(self.workers)[pick]
        slices = self.workers[number]
        demands = self.demands(amounts)
        now = self.clock.monotonic()
        hold = slices.try_reserve(demands, now)
        if hold is None:
            for other in self.ledger.loose(demands):
                self.report(other, everything=True)
            try:
                granted, records = self.ledger.grant(number, demands, workers=3)
            except LimitReached as error:
                self.waits.append(error.retry_after)
                return
            if not committed:  # the journal could not be written: nothing was handed out
                self.ledger.revert(number, demands, granted)
                return
            self.write(*records)
            slices.credit(demands, granted, now)
            hold = slices.try_reserve(demands, now)
            assert hold is not None
        self.charge(REQUESTS, 1)
        self.live.append((number, hold))

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0), fraction=st.floats(0, 1))
    def settle(self, pick: int, fraction: float) -> None:
        number, hold = self.live.pop(pick % len(self.live))
        used = tuple(
            1 if demand.key == REQUESTS else int(demand.amount * fraction)
            for demand in hold.demands
        )
        self.workers[number].settle(hold, used)
        for demand, amount in zip(hold.demands, used, strict=True):
            if demand.key != REQUESTS:
                self.charge(demand.key, amount)

    @rule(pick=st.integers(0, 2))
    def tick(self, pick: int) -> None:
        self.report(list(self.workers)[pick])

    @rule(seconds=st.sampled_from([0.05, 0.3, 5.0, 29.0, 59.0, 40_000.0]))
    def wait(self, seconds: float) -> None:
        for number in self.workers:  # whoever lives reports in time
            self.report(number)
        self.clock.advance(seconds)
        for number in self.workers:
            self.report(number)

    def _die(self, number: int) -> None:
        for worker, hold in self.live:
            if worker == number:  # sent, and nobody knows what it cost: all of it
                for demand in hold.demands:
                    if demand.key != REQUESTS:
                        self.charge(demand.key, demand.amount)
        self.live = [item for item in self.live if item[0] != number]
        del self.workers[number]

    def _start(self) -> None:
        self.workers[self.next_worker] = Slices()
        self.next_worker += 1

    @rule(pick=st.integers(0, 2))
    def kill_worker(self, pick: int) -> None:
        number = list(self.workers)[pick]
        self._die(number)
        self.write(self.ledger.lose(number))
        self._start()

    @rule(compact=st.booleans(), keep_reports=st.booleans())
    def kill_coordinator(self, *, compact: bool, keep_reports: bool) -> None:
        if compact:
            self.journal = [msgspec.msgpack.encode(self.ledger.snapshot())]
        decoder = msgspec.msgpack.Decoder(JournalRecord)
        records = [decoder.decode(data) for data in self.journal]
        if not keep_reports:
            # reports are not waited for: the last ones may be missing
            while records and type(records[-1]).__name__ == "Reported":
                records.pop()
        for number in list(self.workers):
            self._die(number)
        self.ledger = Ledger(self.clock)
        for record in records:
            self.ledger.replay(record)
        self.ledger.settle_after_restart()
        self.journal = [msgspec.msgpack.encode(self.ledger.snapshot())]
        for _ in range(3):
            self._start()

    @invariant()
    def a_refusal_says_when(self) -> None:
        assert all(1 <= wait <= 86_400 for wait in self.waits)

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        held: dict[LimitKey, int] = dict.fromkeys(CAPACITY, 0)
        for _, hold in self.live:
            for demand in hold.demands:
                if demand.key != REQUESTS:
                    held[demand.key] += demand.amount
        today = self.clock.now() // (86_400 * MICROSECONDS)
        for key, capacity in CAPACITY.items():
            spent = sum(
                amount
                for monotonic, now, charged_key, amount in self.charged
                if charged_key == key
                and (
                    (key.window is LimitWindow.MINUTE and monotonic > self.clock.seconds - 60)
                    or (key.window is LimitWindow.DAY and now // (86_400 * MICROSECONDS) == today)
                    or key.window is LimitWindow.TOTAL
                )
            )
            assert spent + held[key] <= capacity, key
            assert spent + held[key] <= self.ledger.taken(key), key


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
