"""What a project wants of its traces: how long, without which personal data, at which prices.

The only user of the table ``trace_projects``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import Column, PrimaryKeyConstraint, String, Table, insert, select, update

from keylease.contracts.audit import AuditAction
from keylease.errors import DatabaseUnavailable, InputInvalid
from keylease.platform.db.callers import Caller
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
from keylease.platform.traces.ingest.intake import MaskingRules
from keylease.platform.traces.ingest.personal_data import PersonalDataMasker, PersonalDataRules
from keylease.platform.traces.understanding.costs import PriceOverride, PriceOverrides

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
_NO_RULES: Final = MaskingRules()
MOST_PRICES: Final = 200
_READ_AGAIN_SECONDS: Final = 2.0
"""Until a change that another server made is in force here; our own are at once."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a project says of its traces."""

    retention_days: int | None = DEFAULT_RETENTION_DAYS
    """``None`` keeps spans until somebody removes them."""
    personal_data: PersonalDataRules = PersonalDataRules()
    prices: tuple[PriceOverride, ...] = ()
    """In place of the price table; the first that fits a model counts."""


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

    def __init__(self, database: Database) -> None:
        self._database = database
        self.in_force = InForce()

    async def get(self, caller: Caller, project_id: str) -> TraceSettings:
        """The settings of a project."""
        async with self._database.reading(caller) as tx:
            return await _read(tx, project_id)

    async def change(
        self, caller: Caller, project_id: str, wishes: Wishes, *, expected: int
    ) -> TraceSettings:
        """Say them anew. Raises ``InputInvalid`` or ``VersionChanged``."""
        await asyncio.to_thread(_check, wishes)  # compiling expressions can take seconds
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
        await asyncio.to_thread(self.in_force.put, caller.organization_id, changed)
        return changed

    async def read_again(self) -> None:
        """Put in force what the database says."""
        for organization_id, settings in await self.all():
            if self.in_force.is_older_than(organization_id, settings):
                await asyncio.to_thread(self.in_force.put, organization_id, settings)

    async def keep_reading(self, *, on_error: Callable[[BaseException], None]) -> None:
        """Do so every few seconds, until cancelled."""
        while True:
            try:
                await self.read_again()
            except DatabaseUnavailable:
                pass  # what was in force stays so
            except Exception as error:  # noqa: BLE001 - a defect must not end the reading
                on_error(error)
            await asyncio.sleep(_READ_AGAIN_SECONDS)

    async def all(self) -> list[tuple[str, TraceSettings]]:
        """Organization and settings of every project that has said something."""
        async with self._database.reading() as tx:
            rows = await tx.rows(select(TRACE_PROJECTS))
        return [(row["organization_id"], _settings(row)) for row in rows]


class InForce:
    """What ingest asks for each body of spans: answers from memory, from any thread."""

    def __init__(self) -> None:
        self._settings: dict[tuple[str, str], TraceSettings] = {}
        self._rules: dict[tuple[str, str], MaskingRules] = {}
        self._prices: dict[tuple[str, str], PriceOverrides] = {}

    def is_older_than(self, organization_id: str, settings: TraceSettings) -> bool:
        """Whether ``put`` would change anything."""
        known = self._settings.get((organization_id, settings.project_id))
        return known is None or known.version < settings.version

    def put(self, organization_id: str, settings: TraceSettings) -> None:
        """Let these settings count from now on. Compiles their expressions."""
        name = (organization_id, settings.project_id)
        if not self.is_older_than(organization_id, settings):
            return
        wishes = settings.wishes
        masker = None
        if not wishes.personal_data.empty:
            masker = PersonalDataMasker(wishes.personal_data)
        self._rules[name] = MaskingRules(masker)
        self._prices[name] = PriceOverrides(version=str(settings.version), prices=wishes.prices)
        self._settings[name] = settings

    def rules(self, organization_id: str, project_id: str) -> MaskingRules:
        """What is masked beside secrets."""
        return self._rules.get((organization_id, project_id), _NO_RULES)

    def prices(self, organization_id: str, project_id: str) -> PriceOverrides | None:
        """The project's own prices."""
        return self._prices.get((organization_id, project_id))

    def retention_days(self, organization_id: str, project_id: str) -> int | None:
        """How long spans are kept."""
        known = self._settings.get((organization_id, project_id))
        return (known.wishes if known else Wishes()).retention_days


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
        if not price.model or min(*numbers, price.per_request) < 0:
            raise InputInvalid("A price names a model, and is not below zero.")
    PersonalDataMasker(wishes.personal_data)
