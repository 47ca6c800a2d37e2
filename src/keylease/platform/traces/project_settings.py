"""What a project wants of its traces: how long, without which personal data, at which prices.

The only user of the table ``trace_projects``.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Column, PrimaryKeyConstraint, String, Table, insert, select, update

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    moment,
    organization,
    version,
)
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.db.versions import check_version
from keylease.platform.traces.ingest.personal_data import PersonalDataMasker, PersonalDataRules
from keylease.primitives.clock import Clock

TRACE_PROJECTS: Final = Table(
    "trace_projects",
    METADATA,
    organization(),
    identifier("project_id"),
    document("wishes"),
    moment("changed_at"),
    Column("changed_by", String(220), nullable=False),
    version(),
    PrimaryKeyConstraint("organization_id", "project_id"),
)
"""A project without a row wants the defaults, at version 0."""
DEFAULT_RETENTION_DAYS: Final = 90
LONGEST_RETENTION_DAYS: Final = 3650
MOST_PRICES: Final = 200
_KNOWN_FOR: Final = 1.0
"""Seconds until a change is in force on what comes in."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a project pays for a model; micro-USD per million tokens."""

    provider: str
    """As spans name it; empty is any."""
    model: str
    """As spans name it; a ``*`` at its end stands for anything."""
    input: int
    output: int
    cache_read: int | None = None
    """``None``: as ``input``."""
    cache_write: int | None = None


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a project says of its traces."""

    retention_days: int | None = DEFAULT_RETENTION_DAYS
    """``None`` keeps spans until somebody removes them."""
    personal_data: PersonalDataRules = PersonalDataRules()
    prices: tuple[Price, ...] = ()


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The wishes of one project, with their version."""

    project_id: str
    wishes: Wishes = Wishes()
    changed_at: int | None = None
    """Microseconds UTC; ``None``: never."""
    changed_by: str = ""
    version: int = 0


class TraceSettingsService:
    """Reads and changes them. That a project is the caller's, others have checked."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, TraceSettings]] = {}

    async def get(self, caller: Caller, project_id: str) -> TraceSettings:
        """The settings of a project."""
        async with self._database.reading(caller) as tx:
            return await _read(tx, project_id)

    async def change(
        self, caller: Caller, project_id: str, wishes: Wishes, *, expected: int
    ) -> TraceSettings:
        """Say them anew. Raises ``InputInvalid`` or ``VersionChanged``."""
        _check(wishes)
        values = {
            "wishes": msgspec.json.encode(wishes),
            "changed_by": caller.name,
            "version": expected + 1,
        }
        table = TRACE_PROJECTS
        async with self._database.transaction(caller) as tx:
            before = await _read(tx, project_id)
            check_version(current=before.version, expected=expected)
            if before.version:
                await tx.execute(
                    update(table)
                    .where(
                        table.c.organization_id == caller.organization_id,
                        table.c.project_id == project_id,
                        table.c.version == expected,
                    )
                    .values(changed_at=tx.now, **values)
                )
            else:
                await tx.execute(
                    insert(table).values(
                        organization_id=caller.organization_id,
                        project_id=project_id,
                        changed_at=tx.now,
                        **values,
                    )
                )
            fields = " ".join(
                name
                for name in Wishes.__struct_fields__
                if getattr(before.wishes, name) != getattr(wishes, name)
            )
            await tx.record(
                AuditAction.TRACE_SETTINGS_CHANGED, project_id, details={"fields": fields}
            )
            changed = await _read(tx, project_id)
        self._known.pop((caller.organization_id, project_id), None)
        return changed

    async def in_force(self, organization_id: str, project_id: str) -> Wishes:
        """For what comes in: read at most once a second."""
        name = (organization_id, project_id)
        now = self._clock.monotonic()
        known = self._known.get(name)
        if known is None or now - known[0] >= _KNOWN_FOR:
            known = (now, await self.get(platform_itself(organization_id), project_id))
            self._known[name] = known
        return known[1].wishes

    async def all(self) -> list[tuple[str, TraceSettings]]:
        """Organization and settings of every project that has said something."""
        async with self._database.reading() as tx:
            rows = await tx.rows(select(TRACE_PROJECTS))
        return [(row["organization_id"], _settings(row)) for row in rows]


async def _read(tx: Transaction, project_id: str) -> TraceSettings:
    table = TRACE_PROJECTS
    row = await tx.row(
        select(table).where(
            table.c.organization_id == tx.caller.organization_id, table.c.project_id == project_id
        )
    )
    if row is None:
        return TraceSettings(project_id=project_id)
    return _settings(row)


def _settings(row: Row) -> TraceSettings:
    return TraceSettings(
        project_id=row["project_id"],
        wishes=msgspec.json.decode(row["wishes"], type=Wishes),
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
        version=row["version"],
    )


def _check(wishes: Wishes) -> None:
    days = wishes.retention_days
    if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
        raise InputInvalid(
            f"Spans are kept for 1 to {LONGEST_RETENTION_DAYS} days.",
            advice="Give null to keep them until somebody removes them.",
        )
    if len(wishes.prices) > MOST_PRICES:
        raise InputInvalid(f"A project has at most {MOST_PRICES} prices of its own.")
    for price in wishes.prices:
        numbers = (price.input, price.output, price.cache_read or 0, price.cache_write or 0)
        if not price.model or min(numbers) < 0:
            raise InputInvalid("A price names a model, and is not below zero.")
    PersonalDataMasker(wishes.personal_data)
