"""What principals were shown, read from the audit log: for who decides what to rotate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction, LoggedEntry
from keylease.contracts.principals import Principal
from keylease.platform.audit.repository import Filter
from keylease.platform.audit.service import AuditLog
from keylease.platform.db.callers import Caller
from keylease.platform.db.holdings import Sighting
from keylease.platform.db.paging import MAXIMUM_LIMIT, PageRequest

SHOWING: Final = (
    AuditAction.API_KEY_CREATED,
    AuditAction.API_KEY_ROTATED,
    AuditAction.AUDIT_LOG_EXPORTED,
    AuditAction.CREDENTIAL_FETCHED,
    AuditAction.ENROLMENT_CODE_CREATED,
    AuditAction.IDENTITY_TOKEN_ISSUED,
    AuditAction.INVENTORY_EXPORTED,
    AuditAction.INVITATION_CREATED,
    AuditAction.LEASE_ISSUED,
    AuditAction.RECOVERY_CODES_MADE,
)
"""After these, their principal may know something that it can take away."""
_decode: Final = msgspec.json.Decoder(LoggedEntry).decode


class AuditSightings:
    """Asks the log of the caller's organization."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def seen(self, organization_id: str, principal: str, *, limit: int) -> Sequence[Sighting]:
        """What ``KIND:ID`` was shown or fetched, the newest first."""
        asker = Caller(principal=Principal.parse(principal), organization_id=organization_id)
        page = PageRequest(limit=min(limit, MAXIMUM_LIMIT))
        found: list[Sighting] = []
        for action in SHOWING:
            wanted = Filter(action=action.value, principal=principal)
            for placed in (await self._log.search(asker, wanted, page)).items:
                entry = _decode(placed.entry)
                found.append(Sighting(at=entry.at, action=entry.action, object=entry.object))
        found.sort(key=lambda sighting: sighting.at, reverse=True)
        return found[:limit]
