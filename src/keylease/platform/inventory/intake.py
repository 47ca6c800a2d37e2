"""Takes scan reports: the same secret in many places becomes one row, and what is gone is said.

docs/design/inventory.md has the rules. A report is data from outside: every text is bounded, and a
report that contains what looks like a secret is refused whole.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from sqlalchemy import insert, select, update

from keylease import detectors
from keylease.contracts.audit import AuditAction
from keylease.contracts.findings import ScanReport
from keylease.errors import PermissionDenied, SecretInRequest
from keylease.platform.db.callers import Caller
from keylease.platform.db.transaction import Transaction
from keylease.platform.inventory.intake_course import Course, Origin
from keylease.platform.inventory.intake_naming import Naming
from keylease.platform.inventory.intake_places import PlaceIntake
from keylease.platform.inventory.intake_secrets import SecretIntake
from keylease.platform.inventory.reported import link_reported
from keylease.platform.inventory.tables import SOURCES

_MANAGE: Final = "inventory:manage"
_LONGEST_NAME: Final = 500
"""Characters of a source's name."""


class Intaken(msgspec.Struct, frozen=True, kw_only=True):
    """What a report changed."""

    source_id: str
    seen_at: int = 0
    """When the platform takes the scan to have begun: the parts of one scan say the same."""
    new_secrets: int = 0
    new_locations: int = 0
    seen_again: int = 0
    removed: int = 0
    merged: int = 0


def origin_of(report: ScanReport) -> Origin:
    """The source a scanner's report covers: what is complete for itself only.

    Three checkouts of one repository are three sources, told apart by host and path. Whether the
    history was looked at makes no other source; ``Intake`` knows what that leaves out.
    """
    name = f"{report.host}:{','.join(report.covers or sorted(report.roots))}"
    if len(name) > _LONGEST_NAME:  # cut short, two sources could become one
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f"{name[: _LONGEST_NAME - len(digest) - 1]}#{digest}"
    return Origin(kind="scan", name=name)


class Intake:
    """One report in one transaction."""

    def __init__(self, tx: Transaction, origin: Origin, *, seen_at: int) -> None:
        """``seen_at`` is when the scan began; microseconds UTC."""
        self._course = Course(tx, origin, seen_at=seen_at)
        self._secrets = SecretIntake(self._course)
        self._places = PlaceIntake(self._course)

    async def take(self, report: ScanReport, *, covers_all: bool) -> Intaken:
        """Write what the report says. ``covers_all``: what it does not name is gone."""
        refuse_secrets(report)
        course = self._course
        source_id, current = await self._source(complete=covers_all)
        naming = Naming(course)
        await naming.look(report, source_id, whole=covers_all and current)
        for finding in report.findings:
            secret_id = await self._secrets.take(finding, source_id)
            await self._secrets.verified(secret_id, finding)
            for location in finding.locations:
                await self._places.take(source_id, location, secret_id, finding.provider)
            await self._places.settle(secret_id)
        for mention in report.mentions:
            await self._places.mention(source_id, mention)
        await link_reported(course.tx)
        removed = 0
        if covers_all and current:
            removed = await self._places.remove_unmet(source_id, history=report.history)
        await naming.tell()
        taken = Intaken(
            source_id=source_id,
            seen_at=course.seen_at,
            new_secrets=course.new_secrets,
            new_locations=course.new_locations,
            seen_again=course.again,
            removed=removed,
            merged=len(course.merged),
        )
        await course.tx.record(
            AuditAction.INVENTORY_SCAN_TAKEN,
            source_id,
            details={
                "new_secrets": str(taken.new_secrets),
                "new_locations": str(taken.new_locations),
                "removed": str(taken.removed),
            },
        )
        return taken

    async def _source(self, *, complete: bool) -> tuple[str, bool]:
        """The source's identifier, and whether this report is not older than its last one."""
        table, tx = SOURCES, self._course.tx
        known = await tx.row(
            select(table).where(
                table.c.organization_id == self._course.organization,
                table.c.kind == self._course.origin.kind,
                table.c.name == self._course.origin.name,
            )
        )
        if known is None:
            source_id = tx.new_id()
            await tx.execute(
                insert(table).values(
                    id=source_id,
                    organization_id=self._course.organization,
                    kind=self._course.origin.kind,
                    name=self._course.origin.name,
                    pushed_by=tx.caller.name,
                    first_scan_at=self._course.seen_at,
                    last_scan_at=self._course.seen_at,
                    last_complete_at=self._course.seen_at if complete else None,
                )
            )
            return source_id, True
        others = known["pushed_by"] != tx.caller.name and known["retired_at"] is None
        if others and _only_pushes(tx.caller):
            # Or else it could say of everything that somebody else has found that it is gone.
            raise PermissionDenied(
                "Somebody else pushes what this report covers.",
                advice="Name other roots, or retire the source first if its scanner was replaced.",
            )
        current = self._course.seen_at >= known["last_scan_at"]
        if (
            known["last_complete_at"] is not None
            and known["last_complete_at"] > self._course.seen_at
        ):
            self._course.overtaken_at = known["last_complete_at"]
        await tx.execute(
            update(table)
            .where(table.c.id == known["id"])
            .values(
                pushed_by=tx.caller.name,
                last_scan_at=max(self._course.seen_at, known["last_scan_at"]),
                last_complete_at=(
                    self._course.seen_at if complete and current else known["last_complete_at"]
                ),
                retired_at=None,
            )
        )
        return str(known["id"]), current


def _only_pushes(caller: Caller) -> bool:
    """Whether an API key is used that may not look after the inventory."""
    return caller.permissions is not None and _MANAGE not in caller.permissions


def refuse_secrets(report: ScanReport) -> None:
    """Raise ``SecretInRequest`` when any text of the report looks like a secret."""
    text = msgspec.json.encode(report).decode()
    if detectors.looks_like_secret(text):
        raise SecretInRequest(
            "The report contains something that looks like a key. Nothing was stored.",
            advice="Use a scanner that masks what it found; `keylease scan` does.",
        )
