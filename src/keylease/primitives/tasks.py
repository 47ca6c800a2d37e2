"""Background tasks with an owner.

``asyncio`` forgets a task nobody refers to, and its error with it. A ``TaskOwner`` keeps its tasks,
reports what went wrong in them to one place, and ends them when it is closed. Use an
``asyncio.TaskGroup`` where a scope can be drawn; this is for code that is called back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class TaskOwner:
    """Owns the background tasks of one component."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """``on_error`` is told of every exception that ends a task, cancellation excepted."""
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None], *, name: str) -> asyncio.Task[None]:
        """Run ``work`` until it ends or the owner is closed."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)

    async def close(self) -> None:
        """Cancel what still runs and wait for its clean-up."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
