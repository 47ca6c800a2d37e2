"""The token endpoint's bound on refusals."""

from __future__ import annotations

import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import LimitReached
from keylease.strongroom.leases import refusal_limits
from keylease.strongroom.leases.refusal_limits import (
    EVERYBODY,
    PEER,
    SUMMARY_SECONDS,
    WRITTEN,
    RefusalLimits,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limits(clock: ManualClock) -> RefusalLimits:
    return RefusalLimits(clock)


def use_up(limits: RefusalLimits, peer: str) -> LimitReached:
    for _ in range(PEER.at_once):
        limits.begin(peer)
    with pytest.raises(LimitReached) as refused:
        limits.begin(peer)
    return refused.value


def test_one_address_is_bounded_and_recovers(limits: RefusalLimits, clock: ManualClock) -> None:
    assert use_up(limits, "192.0.2.7").retry_after == 2
    limits.begin("192.0.2.8")
    clock.advance(2)
    limits.begin("192.0.2.7")
    with pytest.raises(LimitReached):
        limits.begin("192.0.2.7")


def test_what_ends_in_a_lease_costs_nothing(limits: RefusalLimits) -> None:
    for _ in range(10 * EVERYBODY.at_once):
        limits.begin("192.0.2.7")
        limits.succeeded("192.0.2.7")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "unix", True),
    ],
)
def test_a_caller_cannot_choose_another_address(
    limits: RefusalLimits, one: str, other: str, *, same: bool
) -> None:
    use_up(limits, one)
    if same:
        with pytest.raises(LimitReached):
            limits.begin(other)
    else:
        limits.begin(other)


def test_all_addresses_together_are_bounded(limits: RefusalLimits, clock: ManualClock) -> None:
    for number in range(EVERYBODY.at_once):
        limits.begin(f"10.0.{number // 250}.{number % 250}")
    with pytest.raises(LimitReached) as refused:
        limits.begin("192.0.2.7")
    assert refused.value.retry_after == 1
    clock.advance(1)
    limits.begin("192.0.2.7")


def test_addresses_are_remembered_up_to_a_bound(
    limits: RefusalLimits, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_limits, "_PEERS", 10)
    for number in range(1000):
        clock.advance(1)
        limits.begin(f"10.0.{number // 250}.{number % 250}")
    assert len(limits._peers) == 10


def test_refusals_beyond_the_rate_are_counted(limits: RefusalLimits, clock: ManualClock) -> None:
    written = [limits.may_be_written() for _ in range(WRITTEN.at_once + 7)]
    assert written.count(True) == WRITTEN.at_once
    use_up(limits, "192.0.2.7")
    clock.advance(SUMMARY_SECONDS - 1)
    assert limits.take_counted() is None
    clock.advance(1)
    counted = limits.take_counted()
    assert counted is not None
    assert (counted.refused, counted.limited, counted.seconds) == (7, 1, 60)
    assert limits.take_counted(at_once=True) is None
    limits.put_back(counted)
    assert limits.take_counted(at_once=True) == refusal_limits.Counted(7, 1, 0)
