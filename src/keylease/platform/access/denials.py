"""Audit entries of denials, so many that a flood of them does not fill the log.

Protects: each denial of a principal gets an entry of its own, up to ``ENTRIES`` in ``WINDOW``;
    those beyond are counted, and counts get an entry each ``WINDOW``. An entry is durable before
    the answer is sent.
Limits: a count that has no entry yet is lost with the process that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from keylease.contracts.audit import AuditAction
from keylease.errors import DatabaseUnavailable
from keylease.platform.access.decisions import Question, Reason
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner

ENTRIES: Final = 20
WINDOW: Final = 60.0
"""Seconds."""
_MAXIMUM_PRINCIPALS: Final = 10_000
"""Beyond, denials of an organization are counted together."""
_log: Final = structlog.stdlib.get_logger


class _Window:
    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.entries = 0
        self.counted = 0


class DenialLog:
    """Writes what was denied, and to whom."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}

    async def denied(self, caller: Caller, question: Question, reason: Reason) -> None:
        """Write the entry of one denial, or count it. Raises ``DatabaseUnavailable``.

        Never inside a transaction: what is denied there is rolled back, and this entry must stay.
        """
        if not self._has_room(caller):
            return
        details = {"permission": question.permission.value}
        if question.place.project_id:
            details["project_id"] = question.place.project_id
        if caller.api_key_id:
            details["api_key_id"] = caller.api_key_id
        subject = question.place.object or question.place.project_id or caller.organization_id
        async with self._database.transaction(caller) as tx:
            await tx.record(AuditAction.ACCESS_DENIED, subject, reason=reason, details=details)

    async def write_counts(self) -> None:
        """Write what was counted since the last time. Raises ``DatabaseUnavailable``."""
        for key, window in list(self._windows.items()):
            counted, window.counted = window.counted, 0
            try:
                await self._write_count(*key, counted)
            except BaseException:
                window.counted += counted
                raise
            over = self._clock.monotonic() - window.began_at >= WINDOW
            if over and not window.counted and self._windows.get(key) is window:
                del self._windows[key]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write counts in the background until the block ends, and then the rest."""
        owner = TaskOwner(lambda error: _log().error("denials", error=type(error).__name__))
        owner.start(self._keep_writing(), name="denial counts")
        try:
            yield
        finally:
            await owner.close()
            with contextlib.suppress(DatabaseUnavailable):  # it was told of by the loop
                await self.write_counts()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(WINDOW)
            try:
                await self.write_counts()
            except DatabaseUnavailable as error:
                _log().warning("denials_not_counted_yet", reason=error.message)

    async def _write_count(self, organization_id: str, principal: str, counted: int) -> None:
        if not counted:
            return
        async with self._database.transaction(platform_itself(organization_id)) as tx:
            await tx.record(
                AuditAction.ACCESS_DENIALS_COUNTED,
                principal or organization_id,
                details={"count": str(counted)},
            )

    def _has_room(self, caller: Caller) -> bool:
        now = self._clock.monotonic()
        key = (caller.organization_id, caller.name)
        if key not in self._windows and len(self._windows) >= _MAXIMUM_PRINCIPALS:
            key = (caller.organization_id, "")
        window = self._windows.setdefault(key, _Window(now))
        if now - window.began_at >= WINDOW:
            window.began_at, window.entries = now, 0
        if window.entries < ENTRIES:
            window.entries += 1
            return True
        window.counted += 1
        return False
