"""Joins the trace store with projects, gateways and the inventory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from keylease.platform.db.database import Database
from keylease.platform.identity.directory.projects import Projects
from keylease.platform.server.trace_projects import TraceProjects
from keylease.platform.traces.project_settings import TraceSettingsService
from keylease.platform.traces.tail import TailHub
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What routes use of it."""

    projects: TraceProjects
    settings: TraceSettingsService
    tail: TailHub


@contextlib.asynccontextmanager
async def opened_traces(
    database: Database, *, projects: Projects, clock: Clock
) -> AsyncIterator[Traces]:
    """Traces, whose background work runs until the block ends."""
    settings, tail = TraceSettingsService(database), TailHub()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(
            settings.keep_reading(on_error=_defect), name="read trace settings"
        )
        try:
            yield Traces(
                projects=TraceProjects(database, projects, clock), settings=settings, tail=tail
            )
        finally:
            tail.close()
            reading.cancel()


def _defect(error: BaseException) -> None:
    structlog.stdlib.get_logger().error("defect", error=type(error).__name__, at="traces")
