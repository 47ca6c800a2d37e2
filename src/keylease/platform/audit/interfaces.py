"""What the audit log offers to the rest of the platform: made once, by ``opened``.

audit.intake.accept(...)         entries of gateways         used by the link
audit.witnessing.offer(...)      checkpoints to cosign       used by the link
audit.witnessing.state(...)      who witnesses               used by the trust report
audit.log                        search, proofs, export      used by the routes
audit.sequencer                  the log's one writer
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from keylease.platform.audit.intake import AuditIntake
from keylease.platform.audit.log_files import LogFiles
from keylease.platform.audit.sequencer import Sequencer
from keylease.platform.audit.service import AuditLog
from keylease.platform.audit.witnessing import Witnessing
from keylease.platform.db.database import Database
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit log of this installation."""

    log: AuditLog
    intake: AuditIntake
    witnessing: Witnessing
    sequencer: Sequencer


def make_audit(database: Database, *, directory: Path, clock: Clock) -> Audit:
    """The parts, with nothing running yet. ``directory`` is the log's own."""
    files = LogFiles(directory)
    sequencer = Sequencer(database, files, clock=clock)
    return Audit(
        log=AuditLog(database, files, sequencer),
        intake=AuditIntake(database, sequencer),
        witnessing=Witnessing(database, files),
        sequencer=sequencer,
    )


@contextlib.asynccontextmanager
async def opened(database: Database, *, directory: Path, clock: Clock) -> AsyncIterator[Audit]:
    """The audit log, whose sequencer works until the block ends.

    Raises ``AuditLogUnavailable`` when another process writes it, and ``StorageError``.
    """
    audit = make_audit(database, directory=directory, clock=clock)
    async with audit.sequencer.running():
        yield audit
