"""Waiting, in tests, for something that another task or process does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Return when ``condition`` holds; fail when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of tests have no event to wait for
            await asyncio.sleep(0.002)
