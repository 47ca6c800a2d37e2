"""A key that somebody sends in a span: masked in the store, and known to the inventory."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from tests.support.databases import everything_in
from tests.support.furnished import tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.trace_kit import raw_span

from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.repository import Wanted
from keylease.platform.traces.interfaces import PutSpan


async def test_a_key_in_a_span_is_a_finding_and_nowhere_in_a_file(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    key = "sk-proj-" + secrets.token_hex(60)[:74] + "T3BlbkFJ" + secrets.token_hex(60)[:74]
    span = raw_span(name="chat", attributes={"input.value": f"my key is {key}", "twice": key})
    async with services_for(database, clock, tmp_path) as services:
        acme = await tenant(services, "Acme")
        project_id = await services.traces.projects.find(acme.organization_id, "")
        keeping = await services.traces.keeping()
        taken = await keeping.intake.take(acme.organization_id, project_id, [PutSpan(span=span)])
        await keeping.intake.settled(taken)
        row = await services.traces.service.span(
            acme.owner, project_id, span.trace_id, span.span_id
        )
        assert "[secret:" in row.attributes["twice"]
        async with asyncio.timeout(20):
            while not (  # noqa: ASYNC110 - written a moment later
                found := await services.inventory.page(acme.owner, Wanted(), PageRequest())
            ).items:
                await asyncio.sleep(0.05)
        (seen,) = found.items
        assert seen.provider == "openai"
        assert {place.location.kind for place in seen.places} == {"trace"}
        assert {place.location.name for place in seen.places} == {"input.value", "twice"}
    assert key.encode() not in await everything_in(database)
    assert not holding(tmp_path, key.encode())


def holding(directory: Path, text: bytes) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and text in path.read_bytes()]
