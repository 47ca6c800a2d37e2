"""Ends proposals at their time, so that the audit log says so then and not at the next look.

Limits: within ``SECONDS`` of their end. Whoever looks at a proposal or decides it settles it too:
    nothing depends on this task but when the entry is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from keylease.errors import DatabaseUnavailable
from keylease.platform.db.database import Database
from keylease.platform.policy import publications
from keylease.platform.policy.publishing import PolicyPublisher
from keylease.primitives.tasks import TaskOwner

SECONDS: Final = 15.0
_log: Final = structlog.stdlib.get_logger


class ProposalExpiry:
    """One per process; several servers do not disturb each other."""

    def __init__(self, database: Database, *, publisher: PolicyPublisher) -> None:
        self._database = database
        self._publisher = publisher

    async def end_expired(self) -> None:
        """End what has expired in every organization. Raises ``DatabaseUnavailable``."""
        async with self._database.reading() as tx:
            organizations = await publications.with_expired_proposals(tx)
        for organization_id in organizations:
            await self._publisher.settle(organization_id)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do so again and again until the block ends."""
        owner = TaskOwner(lambda error: _log().error("proposals", error=type(error).__name__))
        owner.start(self._keep_ending(), name="proposals that expire")
        try:
            yield
        finally:
            await owner.close()

    async def _keep_ending(self) -> None:
        while True:
            try:
                await self.end_expired()
            except DatabaseUnavailable as error:
                _log().warning("proposals_not_ended_yet", reason=error.message)
            await asyncio.sleep(SECONDS)
