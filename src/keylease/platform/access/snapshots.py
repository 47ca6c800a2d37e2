"""Keeps one snapshot per organization, and notices when it is out of date.

Limits: a change made by this process counts from its commit on. One made by another process of the
    same platform counts here at most ``CHECK_SECONDS`` later: so long a version is believed before
    it is read again. When it cannot be read, nothing is decided.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import text

from keylease.platform.access import repository
from keylease.platform.access.decisions import Holders, holders_of
from keylease.platform.access.interfaces import Directory
from keylease.platform.access.snapshot import Snapshot
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.primitives.clock import Clock

CHECK_SECONDS: Final = 0.1
_NEVER: Final = float("-inf")


class _Kept:
    """What is known of one organization."""

    def __init__(self, organization_id: str) -> None:
        self.snapshot = Snapshot(organization_id=organization_id)
        self.read_once = False
        self.checked_at = _NEVER
        self.changes = 0
        self.holders: dict[str, Holders] = {}
        self.reading = asyncio.Lock()


class Snapshots:
    """The snapshots of every organization this process has decided for."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def current(self, organization_id: str) -> Snapshot:
        """The rules in force. Raises ``DatabaseUnavailable``."""
        kept = self._kept.get(organization_id)
        if kept is not None and self._clock.monotonic() - kept.checked_at < CHECK_SECONDS:
            return kept.snapshot
        return await self._checked(organization_id)

    async def inside(self, tx: Transaction, organization_id: str) -> Snapshot:
        """The rules as a transaction sees them, its own changes included. They are not kept."""
        kept = self._kept.get(organization_id)
        known = kept.snapshot if kept is not None and kept.read_once else None
        return await repository.read_snapshot(tx, organization_id, self._directory, known=known)

    def holders(self, snapshot: Snapshot, principal: str) -> Holders:
        """``holders_of`` the principal, remembered as long as the snapshot is the current one."""
        kept = self._kept.get(snapshot.organization_id)
        if kept is None or kept.snapshot is not snapshot:
            return holders_of(snapshot, principal)
        known = kept.holders.get(principal)
        if known is None:
            known = holders_of(snapshot, principal)
            if principal in snapshot.principals:  # so that it cannot grow without end
                kept.holders[principal] = known
        return known

    def outdated(self, organization_id: str) -> None:
        """Read the version again before the next decision."""
        if (kept := self._kept.get(organization_id)) is not None:
            kept.changes += 1
            kept.checked_at = _NEVER

    async def _checked(self, organization_id: str) -> Snapshot:
        kept = self._kept.setdefault(organization_id, _Kept(organization_id))
        async with kept.reading:
            asked_at, changes = self._clock.monotonic(), kept.changes
            if asked_at - kept.checked_at < CHECK_SECONDS:  # somebody read while this one waited
                return kept.snapshot
            fresh = await self._read(kept)
            if fresh is not kept.snapshot:
                kept.snapshot = fresh
                kept.holders = {}
            kept.read_once = True
            # A commit that came while we read may be missing in it: then the next one asks again.
            if kept.changes == changes:
                kept.checked_at = asked_at
            return fresh

    async def _read(self, kept: _Kept) -> Snapshot:
        async with self._database.reading() as tx:
            if not self._database.is_sqlite:
                # Version and rows from one state; SQLite gives that to every transaction.
                await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            known = kept.snapshot if kept.read_once else None
            return await repository.read_snapshot(
                tx, kept.snapshot.organization_id, self._directory, known=known
            )
