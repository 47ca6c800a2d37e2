"""What is written down when a sign-in is refused."""

from __future__ import annotations

from typing import Final

from keylease.contracts.audit import AuditAction
from keylease.platform.db.database import Database
from keylease.platform.identity.interfaces import Directory, KnownUser
from keylease.platform.identity.sign_in import attempts

UNKNOWN: Final = "unknown"


class Refusals:
    """Records them; beyond a rate counts them, and says the count with the next one.

    Who was meant is recorded only when there is such a user; what was typed never is. A refusal of
    nobody known stands in the log of the organization that the installation began with, because
    its owners look after the installation.
    """

    def __init__(self, database: Database, *, directory: Directory) -> None:
        self._database = database
        self._directory = directory

    async def write(self, *, user: KnownUser | None, reason: str) -> None:
        """Record one."""
        async with self._database.transaction() as tx:
            await attempts.forget_old(tx)
            skipped = await attempts.may_be_written(tx)
            if skipped is None:
                return
            meant = user or await self._directory.owner_to_set_up(tx)
            await tx.record(
                AuditAction.SIGN_IN_REFUSED,
                user.id if user else UNKNOWN,
                organization_id=meant.organization_id if meant else "",
                reason=reason,
                details={"not_written_before": str(skipped)} if skipped else {},
            )
