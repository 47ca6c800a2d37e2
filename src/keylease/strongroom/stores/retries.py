"""Bounded retries with jitter, for failures that may pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from keylease.errors import StoreUnavailable

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[object]]

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds. The pause is drawn evenly from zero to a bound that doubles ("full jitter")."""
_RANDOM: Final = random.SystemRandom()


async def with_retries(
    attempt: Callable[[], Awaitable[Result]], *, attempts: int, sleep: Sleep = asyncio.sleep
) -> Result:
    """Call ``attempt`` until it succeeds, at most ``attempts`` times.

    Only ``StoreUnavailable`` (and so ``StoreTimedOut``) is tried again: a refusal or an absence
    does not go away by asking twice.
    """
    bound = FIRST_PAUSE
    for _ in range(attempts - 1):
        try:
            return await attempt()
        except StoreUnavailable:
            await sleep(_RANDOM.uniform(0, bound))
            bound = min(bound * 2, LONGEST_PAUSE)
    return await attempt()
