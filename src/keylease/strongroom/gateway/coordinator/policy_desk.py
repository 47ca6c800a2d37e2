"""Whatever changes the policy in force: put in force in every worker, and written down."""

from __future__ import annotations

import asyncio
import contextlib

from keylease.contracts.audit import AuditAction
from keylease.errors import KeyleaseError
from keylease.strongroom.gateway.coordinator.enforcement import Enforcement
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.coordinator.policy_source import PolicySource
from keylease.strongroom.gateway.records.audit_spool import AuditSpool


class PolicyDesk:
    """One per coordinator."""

    def __init__(
        self, source: PolicySource, *, enforcement: Enforcement, audit: AuditSpool, log: Log
    ) -> None:
        self._source = source
        self._enforcement = enforcement
        self._audit = audit
        self._log = log
        self._changing = asyncio.Lock()

    async def reload(self) -> bool:
        """Read what is on the disk again; true when another policy is in force now.

        Raises ``PolicyFileInvalid``, ``EnrolmentRefused`` or ``StorageError``; the policy before
        then stays.
        """
        async with self._changing:
            try:
                changed = await asyncio.to_thread(self._source.load)
            except KeyleaseError as error:
                self._log.warning("policy_refused", message=error.message)
                await self.write_refused(error)
                raise
            if changed:
                await self.write_loaded()
                await self._put_in_force()
            return changed

    async def reload_quietly(self) -> None:
        """As ``reload``; a failure is in log, audit and status."""
        with contextlib.suppress(KeyleaseError):
            await self.reload()

    async def replaced(self) -> None:
        """The source has another policy, or none any more: put that in force, then write it down.

        In this order, because it may revoke something: a full disk must not keep that alive.
        """
        async with self._changing:
            await self._put_in_force()
            if self._source.in_force:
                await self.write_loaded()

    async def revocations_added(self) -> None:
        """The source revokes more than before; nothing else has changed."""
        async with self._changing:
            await self._enforcement.put_in_force()

    async def expired(self) -> None:
        """The policy in force has ended: nothing is served until there is another one."""
        async with self._changing:
            self._log.error("policy_expired", version=self._source.status.version)
            await self._put_in_force()
            await self._audit.write(AuditAction.POLICY_EXPIRED)

    async def _put_in_force(self) -> None:
        await self._enforcement.put_policy_in_force()
        if self._source.in_force:
            self._log.info("policy_loaded", version=self._source.bundle.version)

    async def write_loaded(self) -> None:
        """Write down which policy is in force."""
        await self._audit.write(AuditAction.POLICY_LOADED, subject=str(self._source.bundle.version))

    async def write_refused(self, error: KeyleaseError) -> None:
        """Write down that another policy was not taken; the subject is the one that stays."""
        await self._audit.write(
            AuditAction.POLICY_REFUSED,
            subject=str(self._source.bundle.version),
            reason=error.code,
        )
