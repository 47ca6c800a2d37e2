"""Secrets that were fetched, kept in memory until they are too old.

Protects: against using a secret past its age, against a secret that stays in use after its store
    refused it, and the stores against being asked more often than needed.
Does not protect: against a reader of this process's memory.
Limits, all documented for users:
- age: after ``maximum_age_seconds`` by the monotonic clock, counted from the moment *before* the
  store was asked, a secret is fetched again before it is used;
- grace: past its age a secret is used only while its store is unavailable, for at most
  ``grace_seconds`` (default 0), and never after the store said no;
- a forced fetch (``fetched_after``) happens at most once per second and reference; who comes
  earlier waits for it, so a provider that answers 401 for ever cannot hammer the store;
- after a failed fetch the same error is given for one second without asking the store again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from keylease.contracts.references import Reference
from keylease.errors import StorageError, StoreError, StoreUnavailable
from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.retries import Sleep

FORCED_INTERVAL: Final = 1.0
FAILURE_WINDOW: Final = 1.0
LOOK_INTERVAL: Final = 1.0
"""Seconds, each per reference."""

Signature = tuple[int, ...] | None
OnFetch = Callable[[Reference, FetchedSecret | StoreError], Awaitable[None] | None]


class SecretSource(Protocol):
    """What the cache asks: ``registry.StoreRegistry``."""

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Ask the reference's store."""
        ...

    async def signature(self, reference: Reference) -> Signature:
        """What changes with the secret, where a store can tell cheaply; ``None`` where not."""
        ...


class _Held(NamedTuple):
    fetched: FetchedSecret
    began_at: float
    signature: Signature


class _Failed(NamedTuple):
    error: StoreError | StorageError
    at: float


class _Flight:
    """A fetch under way, shared by all who wait for the same reference."""

    __slots__ = ("began_at", "outcome")

    def __init__(self, outcome: asyncio.Future[FetchedSecret], began_at: float) -> None:
        self.outcome = outcome
        self.began_at = began_at


class CredentialCache:
    """Gives secrets that are young enough."""

    def __init__(
        self,
        source: SecretSource,
        *,
        clock: Clock,
        settings: StoreSettings,
        on_fetch: OnFetch | None = None,
        posture: Posture | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``on_fetch`` is told of every real fetch, before anybody gets the secret.

        If it raises, the fetch counts as failed and nobody gets the secret.
        """
        self._source = source
        self._clock = clock
        self._settings = settings
        self._on_fetch = on_fetch
        self._posture = posture or Posture()
        self._sleep = sleep
        self._held: dict[Reference, _Held] = {}
        self._failed: dict[Reference, _Failed] = {}
        self._forced: dict[Reference, float] = {}
        self._looked: dict[Reference, float] = {}
        self._changed: set[Reference] = set()
        self._flights: dict[Reference, _Flight] = {}
        self._tasks = TaskOwner(self._flight_failed)
        self._closed = False

    def try_get(self, reference: Reference) -> FetchedSecret | None:
        """The secret if it is held and young enough; never waits, never asks."""
        held = self._held.get(reference)
        if held is None or self._age(held) >= self._settings.maximum_age_seconds:
            return None
        return held.fetched

    async def get(self, reference: Reference, *, fetched_after: int = 0) -> FetchedSecret:
        """The secret, fetched if need be. Raises the store's ``StoreError``.

        ``fetched_after`` (microseconds) asks for one that is newer than that: give the
        ``fetched_at`` of the secret that the provider refused, so that all calls which used it
        share one fresh fetch.
        """
        asked_at = self._clock.monotonic()
        if fetched_after:
            return await self._newer(reference, fetched_after, asked_at)
        held = self.try_get(reference)
        if held is not None and not await self._has_changed(reference):
            return held
        return await self._join(reference, allow_grace=True)

    async def changed(self) -> tuple[Reference, ...]:
        """Forget what its store says has changed (files that were rewritten), and name it.

        For the owner of other caches; ask about once per second.
        """
        for reference in tuple(self._held):
            await self._has_changed(reference)
        changed, self._changed = self._changed, set()
        return tuple(sorted(changed))

    def forget(self, reference: Reference) -> None:
        """Drop what is held, so that the next use fetches. Not wiped: it may be in use."""
        self._held.pop(reference, None)
        self._failed.pop(reference, None)

    def wipe(self) -> None:
        """Zero and drop every secret that is held; for the end of the process."""
        for held in self._held.values():
            held.fetched.secret.wipe()
        self._held.clear()
        self._failed.clear()

    async def close(self) -> None:
        """End what is under way, then wipe. What is asked for afterwards is refused."""
        self._closed = True
        await self._tasks.close()
        self.wipe()

    def posture(self) -> tuple[str, ...]:
        """What there is to say about grace, in words."""
        sentences = self._posture.sentences()
        if self._settings.grace_seconds > 0:
            seconds = self._settings.grace_seconds
            sentences += (f"Secrets may be used {seconds:g} s past their age if a store is down.",)
        return sentences

    # --- deciding ---------------------------------------------------------------------------

    async def _newer(
        self, reference: Reference, fetched_after: int, asked_at: float
    ) -> FetchedSecret:
        while True:
            held = self._held.get(reference)
            if held is not None and self._is_newer(held, fetched_after, asked_at):
                return held.fetched
            flight = self._flights.get(reference)
            if flight is not None and flight.began_at < asked_at:
                # It began before we were asked: its answer may be the old secret. If it is new
                # enough the next round finds it; its error is as good as one of our own.
                await self._landing(reference, flight, allow_grace=False)
                continue
            if flight is None:
                wait = self._forced.get(reference, asked_at - FORCED_INTERVAL) + FORCED_INTERVAL
                pause = wait - self._clock.monotonic()
                if pause > 0:
                    await self._sleep(pause)
                    continue
                self._forced[reference] = self._clock.monotonic()
            return await self._join(reference, allow_grace=False)

    def _is_newer(self, held: _Held, fetched_after: int, asked_at: float) -> bool:
        # The second half is for a wall clock that was set back: what began after the question
        # is new, whatever the clock on the wall says.
        young = self._age(held) < self._settings.maximum_age_seconds
        return young and (held.fetched.fetched_at > fetched_after or held.began_at > asked_at)

    async def _has_changed(self, reference: Reference) -> bool:
        """Look, at most once per second, whether the store's file is another one."""
        held = self._held.get(reference)
        now = self._clock.monotonic()
        if held is None or held.signature is None:
            return False
        if now - self._looked.get(reference, now - LOOK_INTERVAL) < LOOK_INTERVAL:
            return False
        self._looked[reference] = now
        if await self._source.signature(reference) == held.signature:
            return False
        if self._held.get(reference) is held:
            self.forget(reference)
        self._changed.add(reference)
        return True

    async def _join(self, reference: Reference, *, allow_grace: bool) -> FetchedSecret:
        """Wait for the flight of this reference; start one if there is none."""
        failed = self._failed.get(reference)
        recent = failed is not None and self._clock.monotonic() - failed.at < FAILURE_WINDOW
        flight = self._flights.get(reference)
        if self._closed:
            raise _stopping()
        if failed is not None and allow_grace and (stale := self._in_grace(reference, failed)):
            # Known to be down: nobody waits for the next failure, one flight looks on its own.
            if flight is None and not recent:
                self._start(reference)
            return stale
        if flight is None:
            if failed is not None and recent:
                raise _again(failed.error)
            flight = self._start(reference)
        return await self._landing(reference, flight, allow_grace=allow_grace)

    async def _landing(
        self, reference: Reference, flight: _Flight, *, allow_grace: bool
    ) -> FetchedSecret:
        try:
            # Shielded: a waiter that is cancelled must not take the fetch from the others.
            return await asyncio.shield(flight.outcome)
        except (StoreError, StorageError) as error:
            failed = self._failed.get(reference)
            stale = self._in_grace(reference, failed) if allow_grace and failed else None
            if stale is None:
                raise _again(error) from None
            return stale

    def _in_grace(self, reference: Reference, failed: _Failed) -> FetchedSecret | None:
        held = self._held.get(reference)
        grace = self._settings.grace_seconds
        if held is None or grace <= 0 or not isinstance(failed.error, StoreUnavailable):
            return None
        if self._age(held) >= self._settings.maximum_age_seconds + grace:
            return None
        self._posture.note(
            f"grace:{reference}",
            f"The secret at {reference} is past its age and used because its store is down.",
        )
        return held.fetched

    def _age(self, held: _Held) -> float:
        return self._clock.monotonic() - held.began_at

    # --- fetching ---------------------------------------------------------------------------

    def _start(self, reference: Reference) -> _Flight:
        outcome: asyncio.Future[FetchedSecret] = asyncio.get_running_loop().create_future()
        flight = _Flight(outcome, self._clock.monotonic())
        self._flights[reference] = flight
        task = self._tasks.start(self._fly(reference, flight), name="fetch-secret")
        task.add_done_callback(lambda _: self._land(reference, flight))
        return flight

    async def _fly(self, reference: Reference, flight: _Flight) -> None:
        try:
            fetched = await self._fetch(reference, flight)
        except Exception as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            self._land(reference, flight, error)
            if isinstance(error, StoreError | StorageError):
                self._remember_failure(reference, error)
        else:
            flight.outcome.set_result(fetched)
            self._land(reference, flight)

    def _land(self, reference: Reference, flight: _Flight, error: Exception | None = None) -> None:
        """End a flight, so that nobody waits for ever however it ended."""
        if self._flights.get(reference) is flight:
            del self._flights[reference]
        if not flight.outcome.done():
            flight.outcome.set_exception(error or _stopping())
            flight.outcome.exception()  # seen: perhaps nobody waits any more

    async def _fetch(self, reference: Reference, flight: _Flight) -> FetchedSecret:
        # The signature first: a change between the two is then seen as one, at worst once more.
        signature = await self._source.signature(reference)
        try:
            fetched = await self._source.fetch(reference)
        except StoreError as error:
            await self._tell(reference, error)
            raise
        await self._tell(reference, fetched)
        self._held[reference] = _Held(fetched, flight.began_at, signature)
        self._looked[reference] = self._clock.monotonic()
        self._failed.pop(reference, None)
        self._posture.clear(f"grace:{reference}")
        return fetched

    async def _tell(self, reference: Reference, outcome: FetchedSecret | StoreError) -> None:
        if self._on_fetch is None:
            return
        told = self._on_fetch(reference, outcome)
        if inspect.isawaitable(told):
            await told

    def _remember_failure(self, reference: Reference, error: StoreError | StorageError) -> None:
        self._failed[reference] = _Failed(error, self._clock.monotonic())
        if isinstance(error, StoreError) and not isinstance(error, StoreUnavailable):
            # The store is there and says no: what it gave before is no longer ours to use.
            self._held.pop(reference, None)

    def _flight_failed(self, error: BaseException) -> None:
        # Every outcome is carried by the future; an error here is a defect of this module.
        self._posture.note("cache:defect", f"The credential cache failed: {type(error).__name__}.")


def _stopping() -> StoreUnavailable:
    return StoreUnavailable(
        "The gateway is stopping; no secret is fetched.", advice="Try again once it runs."
    )


def _again(error: StoreError | StorageError) -> StoreError | StorageError:
    """The same error for another waiter: one exception raised in many tasks grows tracebacks."""
    return type(error)(error.message, advice=error.advice)
