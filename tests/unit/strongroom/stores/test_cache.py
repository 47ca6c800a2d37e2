from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import opened, reference

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretNotFound,
    StorageFull,
    StoreAccessDenied,
    StoreError,
    StoreTimedOut,
    StoreUnavailable,
)
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.cache import CredentialCache, OnFetch, Signature
from keylease.strongroom.stores.interfaces import FetchedSecret

KEY = reference("vault://secret/openai#key")
OTHER = reference("vault://secret/anthropic#key")


class Store:
    """A store that a test holds back, breaks and rotates."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.value = "one"
        self.error: StoreError | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.fetches: list[float] = []
        self.mark: Signature = None

    async def fetch(self, _: Reference) -> FetchedSecret:
        self.fetches.append(self.clock.monotonic())
        fetched_at, value = self.clock.now(), self.value
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return FetchedSecret(secret=Secret(value), version=value, fetched_at=fetched_at)

    async def signature(self, _: Reference) -> Signature:
        return self.mark


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.told: list[FetchedSecret | StoreError] = []
        self.slept: list[float] = []

    def cache(
        self, *, grace: float = 0.0, on_fetch: OnFetch | None = None, age: float = 300.0
    ) -> CredentialCache:
        return CredentialCache(
            self.store,
            clock=self.clock,
            settings=StoreSettings(maximum_age_seconds=age, grace_seconds=grace),
            on_fetch=on_fetch or (lambda _, outcome: self.told.append(outcome)),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_held_until_its_age(bench: Bench) -> None:
    cache = bench.cache()
    first = await cache.get(KEY)
    bench.store.value = "two"
    bench.clock.advance(299.9)
    assert await cache.get(KEY) is first
    assert cache.try_get(KEY) is first
    bench.clock.advance(0.2)
    assert cache.try_get(KEY) is None
    assert opened(await cache.get(KEY)) == "two"
    assert bench.told == [first, await cache.get(KEY)]


async def test_the_age_does_not_follow_the_wall_clock(bench: Bench) -> None:
    cache = bench.cache()
    await cache.get(KEY)
    bench.clock.set_back(1e6)
    bench.clock.seconds += 301
    await cache.get(KEY)
    assert len(bench.store.fetches) == 2


async def test_the_age_counts_from_before_the_store_was_asked(bench: Bench) -> None:
    cache = bench.cache(age=10)
    bench.store.open.clear()
    waiting = asyncio.ensure_future(cache.get(KEY))
    await settled()
    bench.clock.advance(11)
    bench.store.open.set()
    await waiting
    assert cache.try_get(KEY) is None


async def test_many_waiters_share_one_fetch(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    waiters = [asyncio.ensure_future(cache.get(KEY)) for _ in range(50)]
    other = asyncio.ensure_future(cache.get(OTHER))
    await settled()
    assert len(bench.store.fetches) == 2
    bench.store.open.set()
    results = await asyncio.gather(*waiters)
    assert all(result is results[0] for result in results)
    await other


async def test_a_cancelled_first_waiter_takes_nothing_from_the_others(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    first = asyncio.ensure_future(cache.get(KEY))
    await settled()
    second = asyncio.ensure_future(cache.get(KEY))
    await settled()
    first.cancel()
    await settled()
    bench.store.open.set()
    assert opened(await second) == "one"
    assert first.cancelled()
    assert len(bench.store.fetches) == 1


async def test_all_waiters_gone_the_fetch_still_serves_the_next(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    only = asyncio.ensure_future(cache.get(KEY))
    await settled()
    only.cancel()
    await settled()
    bench.store.open.set()
    await settled()
    assert cache.try_get(KEY) is not None


async def test_a_failure_reaches_every_waiter_as_its_own_error(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    bench.store.error = StoreAccessDenied("no", advice="ask")
    waiters = [asyncio.ensure_future(cache.get(KEY)) for _ in range(3)]
    await settled()
    bench.store.open.set()
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreAccessDenied] * 3
    assert len({id(error) for error in errors}) == 3
    assert [str(error) for error in errors] == ["no ask"] * 3


async def test_a_failed_fetch_is_not_repeated_within_a_second(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.error = SecretNotFound("gone")
    for _ in range(5):
        with pytest.raises(SecretNotFound):
            await cache.get(KEY)
    assert len(bench.store.fetches) == 1
    bench.clock.advance(1.01)
    bench.store.error = None
    assert opened(await cache.get(KEY)) == "one"


async def test_past_its_age_with_the_store_down_calls_fail(bench: Bench) -> None:
    cache = bench.cache()
    await cache.get(KEY)
    bench.store.error = StoreUnavailable("down")
    bench.clock.advance(301)
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)
    assert cache.posture() == ()


async def test_grace_serves_while_the_store_is_down_and_says_so(bench: Bench) -> None:
    cache = bench.cache(grace=60)
    assert any("60 s" in sentence for sentence in cache.posture())
    first = await cache.get(KEY)
    bench.store.error = StoreTimedOut("down")
    bench.clock.advance(301)
    assert await cache.get(KEY) is first
    assert any("past its age" in sentence for sentence in cache.posture())
    bench.clock.advance(30)
    assert await cache.get(KEY) is first
    await settled()
    asked = len(bench.store.fetches)
    for _ in range(10):
        await cache.get(KEY)
        await settled()
    assert len(bench.store.fetches) == asked, "a store that is down is asked once per second"
    bench.clock.advance(30)
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)
    bench.store.error = None
    bench.clock.advance(2)
    assert await cache.get(KEY) is not first
    assert not any("past its age" in sentence for sentence in cache.posture())


async def test_in_grace_nobody_waits_for_a_hanging_store(bench: Bench) -> None:
    cache = bench.cache(grace=60)
    first = await cache.get(KEY)
    bench.store.error = StoreTimedOut("down")
    bench.clock.advance(301)
    await cache.get(KEY)
    bench.store.open.clear()
    bench.clock.advance(2)
    assert await asyncio.wait_for(cache.get(KEY), 1) is first
    bench.store.open.set()
    await cache.close()


@pytest.mark.parametrize("error", [StoreAccessDenied("no"), SecretNotFound("gone")])
async def test_grace_never_covers_a_refusal(bench: Bench, error: StoreError) -> None:
    cache = bench.cache(grace=60)
    await cache.get(KEY)
    bench.store.error = error
    bench.clock.advance(301)
    with pytest.raises(type(error)):
        await cache.get(KEY)
    bench.store.error = StoreUnavailable("down")
    bench.clock.advance(2)
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)


async def test_a_refused_secret_is_fetched_anew_once_for_all(bench: Bench) -> None:
    cache = bench.cache()
    used = await cache.get(KEY)
    bench.store.value = "two"
    bench.clock.advance(5)
    bench.store.open.clear()
    waiters = []
    for _ in range(20):
        waiters.append(asyncio.ensure_future(cache.get(KEY, fetched_after=used.fetched_at)))
        await settled()
        bench.clock.advance(0.001)
    bench.store.open.set()
    results = await asyncio.gather(*waiters)
    assert {opened(result) for result in results} == {"two"}
    assert len(bench.store.fetches) == 2
    assert bench.slept == []


async def test_an_answer_that_is_already_newer_is_taken(bench: Bench) -> None:
    cache = bench.cache()
    held = await cache.get(KEY)
    assert await cache.get(KEY, fetched_after=held.fetched_at - 1) is held
    assert len(bench.store.fetches) == 1


async def test_forced_fetches_are_a_second_apart(bench: Bench) -> None:
    """A provider that answers 401 for ever does not hammer the store."""
    cache = bench.cache()
    held = await cache.get(KEY)
    for _ in range(5):
        newer = await cache.get(KEY, fetched_after=held.fetched_at)
        assert newer.fetched_at > held.fetched_at or newer is not held
        held = newer
    starts = bench.store.fetches[1:]
    assert len(starts) == 5
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(starts))


async def test_a_flight_that_began_before_is_not_enough(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    early = asyncio.ensure_future(cache.get(KEY))
    await settled()
    bench.clock.advance(1)
    bench.store.value = "two"
    late = asyncio.ensure_future(cache.get(KEY, fetched_after=bench.clock.now()))
    await settled()
    bench.clock.advance(0.5)
    bench.store.open.set()
    assert opened(await early) == "one"
    assert opened(await late) == "two"


async def test_a_wall_clock_set_back_does_not_loop(bench: Bench) -> None:
    cache = bench.cache()
    held = await cache.get(KEY)
    bench.clock.advance(2)
    bench.clock.set_back(1000)
    bench.store.value = "two"
    newer = await asyncio.wait_for(cache.get(KEY, fetched_after=held.fetched_at), 2)
    assert opened(newer) == "two"


async def test_a_forced_fetch_that_fails_gives_the_error_without_grace(bench: Bench) -> None:
    cache = bench.cache(grace=60)
    held = await cache.get(KEY)
    bench.store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY, fetched_after=held.fetched_at)
    assert await cache.get(KEY) is held, "for others it is still young"


async def test_a_secret_that_the_store_refuses_now_is_dropped_at_once(bench: Bench) -> None:
    cache = bench.cache()
    held = await cache.get(KEY)
    bench.store.error = StoreAccessDenied("no")
    with pytest.raises(StoreAccessDenied):
        await cache.get(KEY, fetched_after=held.fetched_at)
    with pytest.raises(StoreAccessDenied):
        await cache.get(KEY)


async def test_forget_and_wipe(bench: Bench) -> None:
    cache = bench.cache()
    held = await cache.get(KEY)
    cache.forget(KEY)
    assert cache.try_get(KEY) is None
    assert opened(held) == "one", "somebody may be using it"
    held = await cache.get(KEY)
    cache.wipe()
    assert len(held.secret) == 0
    assert cache.try_get(KEY) is None


async def test_close_frees_who_waits(bench: Bench) -> None:
    cache = bench.cache()
    bench.store.open.clear()
    waiting = asyncio.ensure_future(cache.get(KEY))
    await settled()
    starting = asyncio.ensure_future(cache.get(OTHER))
    await cache.close()
    for task in (waiting, starting):
        with pytest.raises(StoreUnavailable, match="stopping"):
            await asyncio.wait_for(task, 1)


async def test_a_change_of_the_file_is_seen_within_a_second(bench: Bench) -> None:
    bench.store.mark = (1,)
    cache = bench.cache()
    await cache.get(KEY)
    bench.store.value, bench.store.mark = "two", (2,)
    assert opened(await cache.get(KEY)) == "one", "looked at most once per second"
    bench.clock.advance(1.01)
    assert opened(await cache.get(KEY)) == "two"
    assert await cache.changed() == (KEY,), "also told to who holds copies"
    assert await cache.changed() == ()
    bench.store.value, bench.store.mark = "three", None
    bench.clock.advance(1.01)
    assert await cache.changed() == (KEY,)
    assert opened(await cache.get(KEY)) == "three"


async def test_what_cannot_be_recorded_is_not_given(bench: Bench) -> None:
    def full(_: Reference, __: FetchedSecret | StoreError) -> None:
        raise StorageFull("the audit spool is full")

    cache = bench.cache(on_fetch=full)
    for _ in range(3):
        with pytest.raises(StorageFull):
            await cache.get(KEY)
    assert len(bench.store.fetches) == 1
    assert cache.try_get(KEY) is None


async def test_on_fetch_may_be_awaited_and_hears_failures(bench: Bench) -> None:
    heard: list[object] = []

    async def hear(_: Reference, outcome: FetchedSecret | StoreError) -> None:
        await asyncio.sleep(0)
        heard.append(outcome)

    cache = bench.cache(on_fetch=hear)
    held = await cache.get(KEY)
    bench.store.error = StoreUnavailable("down")
    bench.clock.advance(301)
    with pytest.raises(StoreUnavailable):
        await cache.get(KEY)
    assert heard == [held, bench.store.error]


@pytest.mark.parametrize("fetched_after", [0, 1])
async def test_a_defect_of_a_store_reaches_the_caller(bench: Bench, fetched_after: int) -> None:
    class Broken(Store):
        async def fetch(self, _: Reference) -> FetchedSecret:
            raise ZeroDivisionError

    bench.store = Broken(bench.clock)
    with pytest.raises(ZeroDivisionError):
        await bench.cache().get(KEY, fetched_after=fetched_after)
