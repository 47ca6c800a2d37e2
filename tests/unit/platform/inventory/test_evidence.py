"""Which secrets the names at a vendor may be."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.inventory_kit import ADA, Declared, finding, fingerprint, place, report
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Mention, PlaceKind
from keylease.platform.db.database import Database
from keylease.platform.inventory.preview import IncidentPreviews, Preview, Subject, SubjectKind
from keylease.platform.inventory.service import InventoryService


class Rig:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        declared = Declared()
        self.clock = clock
        self.inventory = InventoryService(database, credentials=declared, uses=declared)
        self.previews = IncidentPreviews(
            database, self.inventory, credentials=declared, uses=declared
        )

    async def scanned(self, name: str = "OPENAI_API_KEY", masked: str = "sk-...a1b2") -> None:
        key = finding(fingerprint(1), at=[place("/app/.env", name=name)])
        key = msgspec.structs.replace(key, masked=masked)
        await self.inventory.push(ADA, report(key, started_at=self.clock.now()))

    async def listed(
        self, name: str = "OPENAI_API_KEY", *, preview: str = "", provider: str = "openai"
    ) -> None:
        at = place("braintrust:ai_secret", kind=PlaceKind.VENDOR_SECRET, preview=preview)
        mention = Mention(name=name, provider=provider, reason="kept", location=at)
        listing = report(started_at=self.clock.now(), mentions=[mention])
        await self.inventory.push_listing(ADA, listing, connector="bt", vendor="braintrust")

    async def preview(self) -> Preview:
        subject = Subject(kind=SubjectKind.VENDOR, name="braintrust")
        return await self.previews.preview(ADA, subject)


@pytest.fixture
def rig(database: Database, clock: ManualClock) -> Rig:
    return Rig(database, clock)


@pytest.mark.parametrize(
    ("listed", "evidence"),
    [
        ({"preview": "sk-***a1b2"}, "its preview ends with a1b2"),
        ({"preview": "...1b2", "name": "main"}, "its preview ends with 1b2"),
        ({"name": "openai_api_key"}, "it is called openai_api_key in both places"),
        ({"provider": ""}, "it is called OPENAI_API_KEY in both places"),
    ],
)
async def test_a_name_is_linked_by_what_tells(
    rig: Rig, listed: dict[str, str], evidence: str
) -> None:
    await rig.scanned()
    await rig.listed(**listed)
    preview = await rig.preview()
    (affected,) = preview.affected
    assert affected.evidence == evidence
    assert [at.location.path for at in affected.elsewhere] == ["/app/.env"]
    assert [at.location.path for at in affected.there] == ["braintrust:ai_secret"]
    assert preview.minutes == affected.rotation.minutes > 0
    assert any("believed" in gap for gap in preview.unknown)


@pytest.mark.parametrize(
    "listed",
    [
        {"provider": "mistral"},
        {"name": "OTHER"},
        {"preview": "sk-***zzzz"},
        {"name": "OTHER", "preview": "a1b2"},
        {"name": "OTHER", "preview": "...b2"},
    ],
)
async def test_what_tells_nothing_links_nothing_and_is_said(
    rig: Rig, listed: dict[str, str]
) -> None:
    await rig.scanned()
    await rig.listed(**listed)
    preview = await rig.preview()
    assert preview.affected == ()
    assert len(preview.names_without_value) == 1
    assert any("fit no secret that is known" in gap for gap in preview.unknown)
