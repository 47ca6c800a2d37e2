"""What a worker holds of each limit, and hands out to calls without asking the ledger.

Invariant per limit: what the ledger thinks this worker holds equals
``remaining + in live holds + used but not reported``. ``report`` is the only way down.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from keylease.strongroom.gateway.interfaces import Demand, Hold, LimitKey, LimitKind
from keylease.strongroom.gateway.messages import SliceUse

IDLE_SECONDS: Final = 0.5
"""A slice that no call drew from for so long goes back whole."""
_KEEP_TICKS: Final = 8
"""A busy slice keeps what this many report intervals used, and gives back the rest."""
_FORGET_SECONDS: Final = 120.0


class _Slice:
    __slots__ = ("bulk", "drawn", "last_drawn", "live", "remaining", "requests", "used")

    def __init__(self, now: float, *, requests: bool) -> None:
        self.requests = requests
        """It counts requests."""
        self.remaining = 0
        self.used = 0
        """Not reported yet."""
        self.live = 0
        """Calls that hold a part."""
        self.drawn = 0
        """Since the last report."""
        self.bulk = 0
        """Size of the last grant."""
        self.last_drawn = now


class SliceHold:
    """A hold that knows its slices, and in which report interval it was made."""

    __slots__ = ("demands", "epoch", "low", "parts", "settled")

    def __init__(self, demands: tuple[Demand, ...], parts: list[_Slice], epoch: int) -> None:
        self.demands = demands
        self.parts = parts
        self.epoch = epoch
        self.low = False
        """One of the slices may be worth topping up, see ``Slices.runs_low``."""
        self.settled = False


class Slices:
    """All slices of one worker. No I/O; ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._slices: dict[LimitKey, _Slice] = {}
        self._epoch = 0

    def try_reserve(self, demands: tuple[Demand, ...], now: float) -> SliceHold | None:
        """Draw a call's amounts; all or nothing."""
        slices = self._slices
        parts: list[_Slice] = []
        for demand in demands:
            part = slices.get(demand.key)
            amount = demand.amount
            if part is None or part.remaining < amount:
                for undone, drawn in zip(demands, parts, strict=False):
                    drawn.remaining += undone.amount
                return None
            part.remaining -= amount
            parts.append(part)
        return self._hold(demands, parts, now)

    def _hold(self, demands: tuple[Demand, ...], parts: list[_Slice], now: float) -> SliceHold:
        hold = SliceHold(demands, parts, self._epoch)
        for index, part in enumerate(parts):
            amount = demands[index].amount
            part.last_drawn = now
            part.drawn += amount
            part.live += 1
            if part.requests:
                part.used += amount  # a request counts when it is admitted
            if part.remaining < part.bulk >> 2:
                hold.low = True
        return hold

    def credit(self, demands: Sequence[Demand], amounts: Sequence[int], now: float) -> None:
        """Take in a grant."""
        for demand, amount in zip(demands, amounts, strict=True):
            part = self._slices.get(demand.key)
            if part is None:
                requests = demand.key.kind is LimitKind.REQUESTS
                part = self._slices[demand.key] = _Slice(now, requests=requests)
            part.remaining += amount
            part.bulk = amount
            part.last_drawn = now

    def credit_and_reserve(
        self, demands: tuple[Demand, ...], amounts: Sequence[int], now: float
    ) -> SliceHold:
        """Take in a grant and draw the call that it was asked for."""
        self.credit(demands, amounts, now)
        parts = [self._slices[demand.key] for demand in demands]
        for demand, part in zip(demands, parts, strict=True):
            part.remaining -= demand.amount
        return self._hold(demands, parts, now)

    def runs_low(self, demands: Sequence[Demand]) -> tuple[Demand, ...]:
        """The demands whose slices are worth topping up before they are empty.

        Only slices that the ledger gives in bulk: near the limit calls reserve one by one.
        """
        return tuple(
            demand
            for demand in demands
            if (part := self._slices[demand.key]).bulk >= 4 * demand.amount
            and part.remaining < max(part.bulk // 4, demand.amount)
        )

    def settle(self, hold: Hold, used: Sequence[int]) -> None:
        """Charge a call and take back what it did not use. A second time does nothing.

        ``used``: one amount for each demand of the hold.
        """
        if not isinstance(hold, SliceHold) or hold.settled:
            return
        if len(used) != len(hold.parts):
            raise ValueError("a hold is settled by one amount for each of its demands")
        hold.settled = True
        for index, part in enumerate(hold.parts):
            amount = used[index]
            unused = hold.demands[index].amount - amount
            part.live -= 1
            if not part.requests:
                part.used += amount
                part.remaining += unused  # negative when it used more
            elif unused > 0 and hold.epoch == self._epoch:
                # Not reported yet, so it can be taken back without moving it in time. Later, an
                # attempt that was never sent stays counted.
                part.used -= unused
                part.remaining += unused

    def report(
        self, now: float, *, keys: Collection[LimitKey] = (), everything: bool = False
    ) -> tuple[SliceUse, ...]:
        """What to tell the ledger; afterwards this worker holds that much less.

        With ``keys`` (or ``everything``) all that is not in use of them goes back; otherwise what
        is idle or more than is needed.
        """
        self._epoch += 1
        uses: list[SliceUse] = []
        for key in list(self._slices):
            part = self._slices[key]
            if everything or key in keys or now - part.last_drawn >= IDLE_SECONDS:
                returned = part.remaining
            elif part.remaining < 0:
                returned = part.remaining  # an overdraft: the ledger charges it
            else:
                returned = max(0, part.remaining - max(part.bulk, _KEEP_TICKS * part.drawn))
            if part.used or returned:
                uses.append(SliceUse(key, part.used, returned))
            elif not part.remaining and not part.live and now - part.last_drawn > _FORGET_SECONDS:
                del self._slices[key]
            part.remaining -= returned
            part.used = part.drawn = 0
        return tuple(uses)

    def remaining(self, key: LimitKey) -> int:
        """What calls may still draw of one limit."""
        part = self._slices.get(key)
        return part.remaining if part else 0
