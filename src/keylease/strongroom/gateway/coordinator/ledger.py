"""The ledger of limits: what was used, what workers hold, and what is therefore still free.

Promise: at every moment ``used + held by workers <= capacity`` for every limit, as long as demands
    bound what calls use. A call that uses more than its demand is charged in full; later calls are
    refused until that is made up for. A slice is written to the journal, durably, before a worker
    may spend of it, and counts as spent if the worker or the coordinator dies.
Windows: a minute slides. Use is dated when it is *reported*, which is never before it happened, so
    no interval of 60 s ever sees more than the capacity; in return a place becomes free up to one
    second late. Requests are used when a call is admitted, tokens and money when it is settled;
    until then they are held. Days and months are UTC calendar ones; what is held when a period
    ends counts in both. A clock that is set back does not start a period again.
Limits: the capacity comes with each demand, out of the policy that the worker decides by.

``Ledger`` is a state machine without I/O; ``ledger_keeper`` journals it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from keylease.errors import LimitReached
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.gateway.interfaces import (
    Demand,
    LimitKey,
    LimitKind,
    LimitWindow,
    in_usd,
)

_MINUTE: Final = 60.0
_GRAIN: Final = 10
"""Entries of a sliding minute are kept per tenth of a second, rounded to the later side."""
_SHARE: Final = {LimitKind.REQUESTS: 20, LimitKind.TOKENS: 20, LimitKind.MICRO_USD: 50}
"""A slice is at most this fraction of its limit: so much is lost when a worker dies."""
_UNITS: Final = {LimitKind.REQUESTS: "requests", LimitKind.TOKENS: "tokens"}
_SETTLED_KEPT: Final = 1024
"""Batches that cannot be settled twice; whoever asks knows of earlier ones that they are done."""
_NEVER: Final = 86_400
"""Seconds to answer in Retry-After for a budget that does not start again."""


class AccountState(msgspec.Struct, frozen=True, array_like=True):
    """One limit in a journal snapshot. Stored: append-only."""

    key: LimitKey
    held: tuple[tuple[int, int], ...]
    """Worker and amount."""
    recent: tuple[tuple[int, int], ...]
    """Sliding minute: when it ends to count (microseconds UTC) and amount."""
    period: int
    used: int


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A worker may spend this. Stored: append-only, as are the three below."""

    worker: int
    key: LimitKey
    amount: int


class Reported(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A worker used and gave back this."""

    worker: int
    key: LimitKey
    used: int
    returned: int
    at: int


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A worker died: what it held counts as used."""

    worker: int
    at: int


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The whole state; what lies before it in the journal is no longer needed."""

    accounts: tuple[AccountState, ...]
    given_back: tuple[str, ...] = ()
    """Batches that were settled last."""


class GaveBack(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A batch cost less than it was charged, or more where ``amount`` is negative."""

    batch_id: str
    keys: tuple[LimitKey, ...]
    amount: int
    charged_at: int
    at: int


JournalRecord = Granted | Reported | Lost | Snapshot | GaveBack


class _Account:
    """One limit."""

    __slots__ = ("held", "key", "loose", "period", "recent", "used")

    def __init__(self, key: LimitKey) -> None:
        self.key = key
        self.held: dict[int, int] = {}
        self.loose: set[int] = set()
        """Workers that may hold something that is not in use."""
        self.recent: deque[tuple[float, int]] = deque()
        """Sliding minute: until when (monotonic seconds) an amount counts."""
        self.period = 0
        self.used = 0

    def turn(self, *, now: int, monotonic: float) -> None:
        """Let go of what no longer counts."""
        if self.key.window is LimitWindow.MINUTE:
            while self.recent and self.recent[0][0] <= monotonic:
                self.used -= self.recent.popleft()[1]
        elif (period := _period(self.key.window, now)) > self.period:
            self.period, self.used = period, 0

    def use(self, amount: int, *, monotonic: float) -> None:
        if amount <= 0:
            return
        self.used += amount
        if self.key.window is LimitWindow.MINUTE:
            until = (int((monotonic + _MINUTE) * _GRAIN) + 1) / _GRAIN
            if self.recent and self.recent[-1][0] == until:
                amount += self.recent.pop()[1]
            self.recent.append((until, amount))

    def taken(self) -> int:
        return self.used + sum(self.held.values())


class Ledger:
    """All limits. Every change gives the journal records that describe it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[LimitKey, _Account] = {}
        self._given_back: dict[str, None] = {}

    def _account(self, key: LimitKey) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(key)
        account.turn(now=self._clock.now(), monotonic=self._clock.monotonic())
        return account

    # --- changes ---------------------------------------------------------------------------

    def grant(
        self, worker: int, demands: Sequence[Demand], *, workers: int
    ) -> tuple[tuple[int, ...], list[JournalRecord]]:
        """Give ``worker`` a slice of each limit, at least what is demanded; all or nothing.

        Raises ``LimitReached``. Undo with ``revert`` when the records could not be written.
        """
        amounts: list[int] = []
        for demand in demands:
            account = self._account(demand.key)
            free = demand.capacity - account.taken()
            if demand.amount > free:
                self.revert(worker, demands, amounts)
                raise self._refusal(account, demand)
            share = min(free // (2 * workers), demand.capacity // _SHARE[demand.key.kind])
            amount = max(demand.amount, share)
            account.held[worker] = account.held.get(worker, 0) + amount
            account.loose.add(worker)
            amounts.append(amount)
        return tuple(amounts), [
            Granted(worker, demand.key, amount)
            for demand, amount in zip(demands, amounts, strict=True)
            if amount
        ]

    def revert(self, worker: int, demands: Sequence[Demand], amounts: Iterable[int]) -> None:
        """Take a grant back that was never handed out; nothing if the worker was lost since."""
        for demand, amount in zip(demands, amounts, strict=False):
            held = self._account(demand.key).held
            if worker in held:
                held[worker] -= amount

    def report(self, worker: int, key: LimitKey, *, used: int, returned: int) -> JournalRecord:
        """Charge what a worker used and free what it gave back."""
        self._report(worker, key, used=used, returned=returned)
        return Reported(worker, key, used, returned, self._clock.now())

    def _report(self, worker: int, key: LimitKey, *, used: int, returned: int) -> None:
        account = self._account(key)
        account.held[worker] = account.held.get(worker, 0) - used - returned
        if not account.held[worker]:
            del account.held[worker]
        account.use(used, monotonic=self._clock.monotonic())

    def lose(self, worker: int) -> JournalRecord:
        """Count what a dead worker held as used."""
        self._lose(worker)
        return Lost(worker, self._clock.now())

    def _lose(self, worker: int) -> None:
        for key in list(self._accounts):
            account = self._account(key)
            account.loose.discard(worker)
            account.use(account.held.pop(worker, 0), monotonic=self._clock.monotonic())

    def give_back(
        self, batch_id: str, keys: tuple[LimitKey, ...], amount: int, *, charged_at: int
    ) -> JournalRecord | None:
        """Take a batch's charge down by ``amount`` (up, where it is negative), once.

        Only where the period that was charged still runs; ``None`` when it was done before.
        """
        if batch_id in self._given_back:
            return None
        record = GaveBack(batch_id, keys, amount, charged_at, self._clock.now())
        self._give_back(record)
        return record

    def _give_back(self, record: GaveBack) -> None:
        for key in record.keys:
            account = self._account(key)
            if record.amount < 0:
                self._replay_use(account, -record.amount, record.at)
            elif account.period == _period(key.window, record.charged_at):
                account.used = max(0, account.used - record.amount)
        self._remember_given_back(record.batch_id)

    def _remember_given_back(self, *batch_ids: str) -> None:
        self._given_back.update(dict.fromkeys(batch_ids))
        while len(self._given_back) > _SETTLED_KEPT:
            del self._given_back[next(iter(self._given_back))]

    # --- recalls ---------------------------------------------------------------------------

    def holders(self, keys: Iterable[LimitKey]) -> dict[int, tuple[LimitKey, ...]]:
        """Which workers hold a part of these limits, and may not have reported yet what of it."""
        found: dict[int, tuple[LimitKey, ...]] = {}
        for key in keys:
            for worker in self._account(key).held:
                found[worker] = (*found.get(worker, ()), key)
        return found

    def loose(self, demands: Iterable[Demand]) -> dict[int, tuple[LimitKey, ...]]:
        """Which workers may hold unused parts of the limits that ``demands`` cannot be met from."""
        wanted: dict[int, tuple[LimitKey, ...]] = {}
        for demand in demands:
            account = self._account(demand.key)
            if demand.capacity - account.taken() < demand.amount <= demand.capacity - account.used:
                for worker in account.loose:
                    wanted[worker] = (*wanted.get(worker, ()), demand.key)
        return wanted

    def recalled(self, worker: int, keys: Iterable[LimitKey]) -> None:
        """``worker`` has just given back everything of ``keys`` that was not in use."""
        for key in keys:
            if (account := self._accounts.get(key)) is not None:
                account.loose.discard(worker)

    # --- views -----------------------------------------------------------------------------

    def taken(self, key: LimitKey) -> int:
        """Used in the current window, plus held."""
        return self._account(key).taken()

    def used(self, key: LimitKey) -> int:
        """Used in the current window."""
        return self._account(key).used

    # --- journal ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The whole state; limits that count nothing any more are left out, and forgotten."""
        shift = self._clock.now() / MICROSECONDS - self._clock.monotonic()
        states: list[AccountState] = []
        for key in list(self._accounts):
            account = self._account(key)
            if not account.held and not account.used:
                del self._accounts[key]
                continue
            recent = tuple(
                (round((until + shift) * MICROSECONDS), amount) for until, amount in account.recent
            )
            held = tuple(account.held.items())
            states.append(AccountState(key, held, recent, account.period, account.used))
        return Snapshot(tuple(states), tuple(self._given_back))

    def replay(self, record: JournalRecord) -> None:
        """Apply one record of the journal."""
        match record:
            case Granted(worker, key, amount):
                account = self._account(key)
                account.held[worker] = account.held.get(worker, 0) + amount
            case Reported(worker, key, used, returned, at):
                account = self._account(key)
                account.held[worker] = account.held.get(worker, 0) - used - returned
                self._replay_use(account, used, at)
            case Lost(worker, at):
                for account in self._accounts.values():
                    self._replay_use(account, account.held.pop(worker, 0), at)
            case GaveBack():
                self._give_back(record)
            case Snapshot(accounts, given_back):
                self._accounts = {}
                for state in accounts:
                    self._restore(state)
                self._given_back = {}
                self._remember_given_back(*given_back)

    def _replay_use(self, account: _Account, amount: int, at: int) -> None:
        """Charge past use to where it belongs now."""
        now = self._clock.now()
        if account.key.window is LimitWindow.MINUTE:
            age = max(0.0, (now - at) / MICROSECONDS)  # a clock set back makes it count for longer
            if age < _MINUTE:
                account.use(amount, monotonic=self._clock.monotonic() - age)
        elif _period(account.key.window, at) >= account.period:
            account.use(amount, monotonic=0.0)

    def _restore(self, state: AccountState) -> None:
        account = self._account(state.key)
        account.held = dict(state.held)
        if state.key.window is LimitWindow.MINUTE:
            for until, amount in state.recent:
                self._replay_use(account, amount, until - int(_MINUTE) * MICROSECONDS)
        elif state.period >= account.period:
            account.period, account.used = state.period, state.used

    def settle_after_restart(self) -> None:
        """Count as used what workers of an earlier life held: nobody knows what they spent."""
        for worker in {worker for account in self._accounts.values() for worker in account.held}:
            self._lose(worker)

    # --- refusals --------------------------------------------------------------------------

    def _refusal(self, account: _Account, demand: Demand) -> LimitReached:
        window, kind = demand.key.window, demand.key.kind
        of = _amount(kind, demand.capacity) + (
            " in total" if window is LimitWindow.TOTAL else f" per {window.value}"
        )
        wait = self._wait(account, demand)
        if demand.amount > demand.capacity:
            return LimitReached(
                f"This call may use {_amount(kind, demand.amount)}, over the limit of {of}.",
                retry_after=wait,
                advice="Set a bound for the output, such as max_tokens, or a lower one, or send "
                "less input; waiting does not help.",
                hopeless=True,
            )
        return LimitReached(
            f"The limit of {of} is used up.",
            retry_after=wait,
            advice=f"Try again in {wait} s."
            if window is not LimitWindow.TOTAL
            else "Raise the budget of the grant.",
        )

    def _wait(self, account: _Account, demand: Demand) -> int:
        """Whole seconds after which the demand can be met if nobody else asks; at least one."""
        if demand.key.window is LimitWindow.MINUTE:
            missing = demand.amount - (demand.capacity - account.taken())
            for until, amount in account.recent:
                missing -= amount
                if missing <= 0:
                    return max(1, -int(self._clock.monotonic() - until) + 1)
            return int(_MINUTE)
        if demand.capacity - account.used >= demand.amount:
            return 1  # held by calls that are under way; it may come back at any moment
        return _until_next_period(demand.key.window, self._clock.now())


def _amount(kind: LimitKind, amount: int) -> str:
    """``12,000 tokens``, ``$0.0125``."""
    if kind is LimitKind.MICRO_USD:
        return in_usd(amount)
    return f"{amount:,} {_UNITS[kind]}"


def _period(window: LimitWindow, now: int) -> int:
    moment = datetime.fromtimestamp(now // MICROSECONDS, tz=UTC)
    match window:
        case LimitWindow.DAY:
            return moment.toordinal()
        case LimitWindow.MONTH:
            return moment.year * 12 + moment.month
        case _:
            return 0


def _until_next_period(window: LimitWindow, now: int) -> int:
    moment = datetime.fromtimestamp(now // MICROSECONDS, tz=UTC)
    midnight = moment.replace(hour=0, minute=0, second=0)
    match window:
        case LimitWindow.DAY:
            following = midnight + timedelta(days=1)
        case LimitWindow.MONTH:
            following = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        case _:
            return _NEVER
    return max(1, int((following - moment).total_seconds()))
