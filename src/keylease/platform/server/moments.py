"""What was decided a moment ago, for questions that come hundreds of times in a second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from keylease.primitives.clock import Clock

SECONDS: Final = 1.0
_MOST: Final = 2000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Moment(Generic[_Key, _Value]):
    """What was decided within the last second. Refusals are not kept: each is looked at again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[_Key, tuple[float, _Value]] = {}

    async def of(self, key: _Key, decide: Callable[[], Awaitable[_Value]]) -> _Value:
        """What was decided about ``key``, or what ``decide`` decides now."""
        known = self._known.get(key)
        asked = self._clock.monotonic()
        if known is not None and asked - known[0] < SECONDS:
            return known[1]
        value = await decide()
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (asked, value)
        return value
