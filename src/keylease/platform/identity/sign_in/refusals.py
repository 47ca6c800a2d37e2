"""What is written down when a sign-in is refused."""

from __future__ import annotations

from keylease.contracts.audit import AuditAction
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.sign_in import attempts

UNKNOWN = "unknown"


async def write_refusal(
    database: Database, *, user: KnownUser | None, reason: str, request_id: str = ""
) -> None:
    """Record it; beyond a rate, count it, and say the count with the next one.

    Who was meant is recorded only when there is such a user; what was typed never is.
    """
    organization_id = user.organization_id if user else ""
    caller = platform_itself(organization_id)
    async with database.transaction(_with(caller, request_id)) as tx:
        skipped = await attempts.may_be_written(tx)
        if skipped is None:
            return
        details = {"not_written_before": str(skipped)} if skipped else {}
        await tx.record(
            AuditAction.SIGN_IN_REFUSED,
            user.id if user else UNKNOWN,
            organization_id=organization_id,
            reason=reason,
            details=details,
        )


def _with(caller: Caller, request_id: str) -> Caller:
    return Caller(
        principal=caller.principal, organization_id=caller.organization_id, request_id=request_id
    )
