"""An audit log with a database, and what tests of it need."""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction, LoggedEntry
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import PermissionDenied
from keylease.platform.access.permissions import Permission
from keylease.platform.audit.log_files import LogFiles
from keylease.platform.audit.sequencer import Sequencer
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.server.guard import Evidence
from keylease.primitives.transparency.notes import NoteKey
from keylease.primitives.transparency.verifier import Report, Trust, verify_log

ORG = "018f0000-0000-7000-8000-0000000000aa"
OTHER_ORG = "018f0000-0000-7000-8000-0000000000bb"
ADA = Principal(kind=PrincipalKind.USER, id="018f0000-0000-7000-8000-000000000001")


class Rig:
    """A sequencer and its files."""

    def __init__(self, database: Database, directory: Path, clock: ManualClock) -> None:
        self.database = database
        self.directory = directory
        self.clock = clock
        self.files = LogFiles(directory)
        self.sequencer = Sequencer(database, self.files, clock=clock)

    def restarted(self) -> Rig:
        """The same, as a new process would open it."""
        return Rig(self.database, self.directory, self.clock)

    def size(self, organization_id: str = ORG) -> int:
        found = self.files.checkpoint(organization_id)
        return found[0].size if found else 0

    def verify(
        self,
        *,
        key: NoteKey | None = None,
        organization_id: str = ORG,
        outside: tuple[bytes, ...] = (),
        witness_keys: tuple[NoteKey, ...] = (),
    ) -> Report:
        """Check the log offline; raises ``LogFaulty``."""
        pinned = key or self.files.keys(organization_id)[0]
        trust = Trust(log_keys=(pinned,), outside=outside, witness_keys=witness_keys)
        return verify_log(self.files.reader(organization_id), trust)


def logged(rig: Rig, organization_id: str = ORG) -> list[LoggedEntry]:
    """Every entry of a log."""
    size = rig.size(organization_id)
    raw = rig.files.reader(organization_id).entries(0, size, size=size)
    return [msgspec.json.decode(entry, type=LoggedEntry) for entry in raw]


async def record(
    database: Database,
    subject: str,
    *,
    action: AuditAction = AuditAction.POLICY_LOADED,
    organization_id: str = ORG,
    **named: str,
) -> None:
    """Commit a change that has one entry."""
    caller = Caller(principal=ADA, organization_id=organization_id)
    async with database.transaction(caller) as tx:
        await tx.record(action, subject, reason=named.pop("reason", ""), details=named)


def gateway_entry(
    sequence: int, *, organization_id: str = ORG, action: str = AuditAction.LEASE_ISSUED
) -> bytes:
    """An entry as a gateway's spool holds it; each call makes another one."""
    return msgspec.json.encode(
        LoggedEntry(
            id=str(uuid.uuid4()),
            sequence=sequence,
            at=1_780_000_000_000_000,
            organization_id=organization_id,
            action=action,
            principal="workload:018f0000-0000-7000-8000-0000000000cc",
            object=f"lease-{sequence}",
        )
    )


class Door:
    """Lets everybody in as Ada of one organization, but for the permissions in ``refused``."""

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.refused: set[Permission] = set()

    def caller(self) -> Caller:
        return Caller(principal=ADA, organization_id=self.organization_id)

    async def authenticate(self, evidence: Evidence) -> Caller:
        del evidence
        return self.caller()

    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        del project_id, object_id
        if permission in self.refused:
            raise PermissionDenied(f"{caller.name} lacks {permission}.")
