"""Secrets that were masked in spans become findings of the inventory.

Promises: a span is never held up by it. Findings wait in memory, bounded; what could not be written
    after some tries is counted and logged, not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import structlog

import keylease
from keylease import detectors
from keylease.contracts.findings import (
    Confidence,
    Finding,
    Location,
    PlaceKind,
    ScanCounts,
    ScanReport,
)
from keylease.errors import InputInvalid, KeyleaseError
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.inventory.intake_course import Origin
from keylease.platform.inventory.service import InventoryService
from keylease.platform.traces.ingest.intake import Reported

MOST_WAITING: Final = 2_000
_EVERY_SECONDS: Final = 1.0
_log: Final = structlog.stdlib.get_logger


class FindingsIn:
    """The inventory, as the place of what masking found."""

    def __init__(self, inventory: InventoryService) -> None:
        self._inventory = inventory

    async def take(self, caller: Caller, report: ScanReport, *, source: str) -> None:
        """Write a report of one source."""
        await self._inventory.push(caller, report, origin=Origin(kind="traces", name=source))


class TraceFindings:
    """Collects what masking found, and writes it into the inventory in the background."""

    def __init__(self) -> None:
        self._waiting: deque[Reported] = deque(maxlen=MOST_WAITING)
        self._something = asyncio.Event()
        self.lost = 0

    def add(self, reported: Reported) -> None:
        """Remember one; on the event loop."""
        if len(self._waiting) == MOST_WAITING:
            self.lost += 1
        self._waiting.append(reported)
        self._something.set()

    @contextlib.asynccontextmanager
    async def written_into(self, inventory: FindingsIn) -> AsyncIterator[None]:
        """Write what comes until the block ends, and then what is left."""
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self.keep_writing(inventory), name="trace findings")
            try:
                yield
            finally:
                writing.cancel()
                await self.write(inventory)

    async def keep_writing(self, inventory: FindingsIn) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._something.wait()
            await self.write(inventory)
            await asyncio.sleep(_EVERY_SECONDS)

    async def write(self, inventory: FindingsIn) -> None:
        """Write what waits."""
        self._something.clear()
        by_project: dict[tuple[str, str], list[Reported]] = defaultdict(list)
        while self._waiting:
            reported = self._waiting.popleft()
            by_project[reported.organization_id, reported.project_id].append(reported)
        for (organization_id, project_id), some in by_project.items():
            await self._tell(inventory, organization_id, project_id, some)

    async def _tell(
        self,
        inventory: FindingsIn,
        organization_id: str,
        project_id: str,
        some: Sequence[Reported],
    ) -> None:
        try:
            await inventory.take(
                platform_itself(organization_id),
                report_of(some, project_id),
                source=f"traces of project {project_id}",
            )
        except InputInvalid as error:
            if len(some) == 1:
                self._lose(error, 1)
                return
            for one in some:  # what the inventory refuses of one must not cost the others
                await self._tell(inventory, organization_id, project_id, [one])
        except KeyleaseError as error:
            self._lose(error, len(some))

    def _lose(self, error: KeyleaseError, count: int) -> None:
        self.lost += count
        _log().error("trace_findings_lost", code=error.code, count=count)


def report_of(some: Sequence[Reported], project_id: str) -> ScanReport:
    """A report that never says it was complete: what it does not name is not gone."""
    times = [reported.at for reported in some]
    findings: dict[str, Finding] = {}
    for reported in some:
        finding = _finding(reported, project_id)
        known = findings.get(finding.id)
        if known is None:
            findings[finding.id] = finding
        elif finding.locations[0] not in known.locations:
            findings[finding.id] = _with(known, finding.locations[0])
    return ScanReport(
        scanner=f"keylease {keylease.__version__}",
        started_at=min(times),
        finished_at=max(times),
        host="platform",
        roots=(f"traces/{project_id}",),
        complete=False,
        counts=ScanCounts(),
        findings=tuple(findings.values()),
        mentions=(),
        problems=(),
    )


def _finding(reported: Reported, project_id: str) -> Finding:
    secret = reported.secret
    # Examples and placeholders stay in a span; the inventory takes no text that looks like a key.
    attribute, span_name = (
        detectors.mask(name)[0] for name in (secret.attribute, secret.span_name)
    )
    detail = f"span {span_name}" if span_name else ""
    place = f"{PlaceKind.TRACE}:{project_id}:{attribute}:{detail}"
    location = Location(
        id=hashlib.sha256(place.encode()).hexdigest()[:32],
        kind=PlaceKind.TRACE,
        path=f"traces/{project_id}",
        name=attribute,
        detail=detail,
    )
    identifier = secret.fingerprints[0].value if secret.fingerprints else location.id
    return Finding(
        id=identifier,
        provider=secret.provider,
        kind=secret.kind,
        confidence=Confidence(secret.confidence),
        reason=secret.reason,
        masked=secret.masked,
        key_id=secret.key_id,
        fingerprints=secret.fingerprints,
        locations=(location,),
    )


def _with(finding: Finding, location: Location) -> Finding:
    return msgspec.structs.replace(finding, locations=(*finding.locations, location))
