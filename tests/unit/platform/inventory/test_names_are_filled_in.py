"""What was scanned before names could be linked is linked after the upgrade."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import insert, select
from tests.support.inventory_kit import ORGANIZATION
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Location, PlaceKind
from keylease.platform.db.backups import BackUps
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import migrate
from keylease.platform.inventory.linking import reach_of
from keylease.platform.inventory.names import called
from keylease.platform.inventory.namesakes import object_of
from keylease.platform.inventory.tables import LOCATIONS, NAMES, SOURCES

PLACES = [
    Location(id="a", kind=PlaceKind.ENVIRONMENT_FILE, path=".env", name="openaiApi.Key"),
    Location(id="b", kind=PlaceKind.FILE, path="README.md"),
    Location(
        id="c",
        kind=PlaceKind.KUBERNETES_MANIFEST,
        path="a.yaml",
        name="key",
        detail="Secret prod/llm",
    ),
    Location(id="d", kind=PlaceKind.KUBERNETES_CLUSTER, path="cluster x: secret prod/llm"),
    Location(id="f", kind=PlaceKind.CI_SECRET, path="github:Acme/App", name="OPENAI_API_KEY"),
    Location(id="g", kind=PlaceKind.FILE, path="x", name="K", repository="github.com/Acme/App"),
    Location(
        id="e",
        kind=PlaceKind.KUBERNETES_MANIFEST,
        path="b.yaml",
        name="OPENAI_API_KEY",
        detail="Deployment prod/api",
    ),
]


async def test_the_names_of_what_is_known_are_filled_in(
    database_url: str, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = Database(database_url, clock=clock)
    no_backup = BackUps(directory=tmp_path_factory.mktemp("none"), waived=True)
    await migrate(database, target="0012", backups=no_backup)
    async with database.transaction() as tx:
        source = {"id": "s", "organization_id": ORGANIZATION, "kind": "scan", "name": "laptop"}
        moments = {"first_scan_at": 1, "last_scan_at": 1}
        await tx.execute(insert(SOURCES).values(**source, **moments, pushed_by="user:ada"))
        for place in PLACES:
            await tx.execute(
                insert(LOCATIONS).values(
                    id=f"location-{place.id}",
                    organization_id=ORGANIZATION,
                    source_id="s",
                    place=place.id,
                    kind=place.kind.value,
                    path=place.path,
                    name=place.name,
                    provider="openai",
                    repository=place.repository,
                    environment="",
                    in_history_only=False,
                    location=msgspec.json.encode(place),
                    pushed_by="user:ada",
                    first_seen=1,
                    last_seen=1,
                )
            )
    await migrate(database, backups=no_backup)
    async with database.reading() as tx:
        rows = await tx.rows(select(NAMES).order_by(NAMES.c.location_id))
    assert [(row["location_id"], row["called"], row["object"], row["reach"]) for row in rows] == [
        (
            f"location-{place.id}",
            called(place.name),
            object_of(place),
            reach_of(place, "s").stored,
        )
        for place in sorted(PLACES, key=lambda one: one.id)
        if place.name or object_of(place)
    ]
    assert {row["organization_id"] for row in rows} == {ORGANIZATION}
    await database.close()
