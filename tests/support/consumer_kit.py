"""An inventory to which scans name consumers, and what such a scan says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.inventory_kit import ADA, Declared, finding, fingerprint, mention, place, report
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Finding, Location, Mention, PlaceKind
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.consumers import Consumer
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.inventory.preview import IncidentPreviews, Preview, Subject, SubjectKind
from keylease.platform.inventory.records import Sighting
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.states import CredentialFacts

APP = "github.com/acme/app"
NAME = "OPENAI_API_KEY"
CREDENTIAL = "018f0000-0000-7000-8000-00000000cccc"


def within(path: str, *, repository: str = APP, **more: object) -> Location:
    """A place of a repository."""
    return place(path, repository=repository, repository_path=path, **more)  # type: ignore[arg-type]  # a test's own members


def env(path: str = ".env", **more: object) -> Location:
    more = {"name": NAME, "kind": PlaceKind.ENVIRONMENT_FILE} | more
    return within(path, **more)  # type: ignore[arg-type]  # a test's own members


def workflow(name: str = NAME, **more: object) -> Mention:
    more = {"kind": PlaceKind.CI_CONFIGURATION, "detail": "job nightly"} | more
    at = within(".github/workflows/evals.yml", **more)  # type: ignore[arg-type]  # as above
    return mention(name, at, reason="GitHub Actions secret")


def code(path: str = "app/llm.py", name: str = NAME, **more: object) -> Mention:
    return mention(name, within(path, **more), reason="read by a program")  # type: ignore[arg-type]  # as above


def manifest(**more: object) -> Mention:
    more = {"kind": PlaceKind.KUBERNETES_MANIFEST, "detail": "Deployment prod/api"} | more
    at = within("deploy/api.yaml", **more)  # type: ignore[arg-type]  # as above
    return mention(NAME, at, reason="secretKeyRef llm/key", refers_to="llm/key")


class Rig:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.declared = Declared()
        self.clock = clock
        self.inventory = InventoryService(database, credentials=self.declared, uses=self.declared)
        self.previews = IncidentPreviews(
            database, self.inventory, credentials=self.declared, uses=self.declared
        )

    async def push(
        self, *found: Finding, names: Sequence[Mention] = (), host: str = "laptop"
    ) -> int:
        """A complete scan; gives when it was made."""
        self.clock.advance(1)
        now = self.clock.now()
        await self.inventory.push(ADA, report(*found, started_at=now, mentions=names, host=host))
        return now

    async def all(self) -> tuple[Sighting, ...]:
        return await self.inventory.all(ADA, Wanted())

    async def only(self) -> Sighting:
        (seen,) = await self.all()
        return seen

    async def preview(self, kind: SubjectKind, name: str) -> Preview:
        return await self.previews.preview(ADA, Subject(kind=kind, name=name))

    async def changes(self, what: str) -> list[dict[str, str]]:
        page = await self.inventory.history(ADA, PageRequest(limit=100))
        return [line.details for line in page.items if line.what == what]


@pytest.fixture
def rig(database: Database, clock: ManualClock) -> Rig:
    return Rig(database, clock)


def told(consumers: Sequence[Consumer]) -> dict[str, str]:
    """What the consumers are, by kind; with a mark on what is not sure."""
    return {one.name: f"{one.kind}{'?' if one.ambiguous else ''}" for one in consumers}


def key(number: int = 1, *at: Location) -> Finding:
    return finding(fingerprint(number), at=at or (env(),))


async def used(rig: Rig, *, at: int) -> None:
    """Calls of a workload with the credential that the secret is."""
    rig.declared.credentials[CREDENTIAL] = CredentialFacts(id=CREDENTIAL, name="openai-prod")
    seen = await rig.only()
    await rig.inventory.describe(ADA, seen.id, expected=seen.version, credential_id=CREDENTIAL)
    rig.declared.used.append(
        CredentialUse(
            credential_id=CREDENTIAL,
            principal="workload:evals",
            first_used=at,
            last_used=at,
            calls=12,
        )
    )
