"""Joins the trace store with projects, gateways and the inventory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from keylease.contracts.call_records import CallRecord
from keylease.errors import KeyleaseError
from keylease.platform.db.database import Database
from keylease.platform.identity.directory.projects import Projects
from keylease.platform.server.trace_projects import TraceProjects
from keylease.platform.traces.backing_up import BackUps
from keylease.platform.traces.gateway_calls import span_of
from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.platform.traces.ingest.intake import Reported
from keylease.platform.traces.interfaces import PutSpan
from keylease.platform.traces.keeping import Keeping, has_spans, kept
from keylease.platform.traces.opening import WhenNeeded
from keylease.platform.traces.project_settings import TraceSettingsService
from keylease.platform.traces.retention import keep_cleaning, keep_forgetting
from keylease.platform.traces.searching import TraceSearch
from keylease.platform.traces.service import TraceService
from keylease.platform.traces.store.address import StoreServer
from keylease.platform.traces.tail import TailHub
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What routes use of it."""

    projects: TraceProjects
    settings: TraceSettingsService
    tail: TailHub
    keeping: WhenNeeded[Keeping]
    service: TraceService
    search: TraceSearch
    fingerprint_keys: FingerprintKeyring
    backups: BackUps
    server: StoreServer | None = None
    """``None`` is the embedded engine."""

    @property
    def place(self) -> str:
        """Where the spans are, in words."""
        return place_in_words(self.server)


class GatewayCalls:
    """Takes call records into the trace store (``records.interfaces.CallSpans``)."""

    def __init__(self, keeping: WhenNeeded[Keeping], projects: TraceProjects) -> None:
        self._keeping = keeping
        self._projects = projects

    async def take(
        self, organization_id: str, gateway_id: str, records: Sequence[CallRecord]
    ) -> None:
        """Return when they are durable."""
        if not records:
            return
        by_project: dict[str, list[PutSpan]] = defaultdict(list)
        for record in records:
            project_id = await self._projects.find_or_default(organization_id, record.project)
            by_project[project_id].append(span_of(record, gateway_id=gateway_id))
        keeping = await self._keeping()
        for project_id, spans in by_project.items():
            await keeping.intake.take(organization_id, project_id, spans)


@contextlib.asynccontextmanager
async def opened_traces(
    database: Database,
    *,
    projects: Projects,
    clock: Clock,
    directory: Path,
    server: StoreServer | None = None,
    on_finding: Callable[[Reported], None] = lambda _: None,
) -> AsyncIterator[Traces]:
    """Traces, whose background work runs until the block ends.

    ``directory`` holds the log of what comes in and, without ``server``, the store.
    """
    settings, tail = TraceSettingsService(database), TailHub()
    keys = FingerprintKeyring(directory / "fingerprint-keys")

    @contextlib.asynccontextmanager
    async def kept_and_followed() -> AsyncIterator[Keeping]:
        await settings.read_again()
        async with kept(
            directory,
            server=server,
            clock=clock,
            in_force=settings.in_force,
            keys=keys,
            on_finding=on_finding,
        ) as keeping:
            stop_following = keeping.intake.fresh(tail.publish)
            try:
                yield keeping
            finally:
                stop_following()

    keeping = WhenNeeded(kept_and_followed, clock=clock)
    backups = BackUps(
        database, keeping, clock=clock, directory=directory, is_embedded=server is None
    )
    await asyncio.to_thread(backups.clean)
    async with asyncio.TaskGroup() as group:
        work = [
            group.create_task(settings.keep_reading(on_error=_defect), name="read trace settings")
        ]
        work.append(
            group.create_task(
                keep_forgetting(keeping, settings.in_force, clock, on_error=_defect),
                name="forget spans",
            )
        )
        work.append(
            group.create_task(keep_cleaning(keeping, on_error=_defect), name="clean up spans")
        )
        if has_spans(directory):
            work.append(group.create_task(_open_now(keeping), name="open the trace store"))
        try:
            yield Traces(
                projects=TraceProjects(database, projects, clock),
                settings=settings,
                tail=tail,
                keeping=keeping,
                service=TraceService(database, keeping),
                search=TraceSearch(keeping, clock),
                fingerprint_keys=keys,
                backups=backups,
                server=server,
            )
        finally:
            tail.close()
            for task in work:
                task.cancel()
            await backups.close()
            await keeping.close()


def place_in_words(server: StoreServer | None) -> str:
    """Which store is in use."""
    if server is None:
        return "the engine in the server's process, in the platform's own directory"
    cluster = f", cluster {server.cluster}" if server.cluster else ""
    transport = "without TLS" if server.address.unprotected else "TLS"
    if not server.address.secure and not server.address.unprotected:
        transport = "on this machine"
    return f"ClickHouse server {server.address}{cluster} ({transport})"


async def _open_now(keeping: WhenNeeded[Keeping]) -> None:
    """What lies in the log has to become readable, whether somebody asks or not."""
    try:
        await keeping()
    except KeyleaseError as error:  # whoever needs it next is told, and tries again
        structlog.stdlib.get_logger().error(
            "trace_store_not_opened", code=error.code, message=error.message
        )


def _defect(error: BaseException) -> None:
    structlog.stdlib.get_logger().error("defect", error=type(error).__name__, at="traces")
