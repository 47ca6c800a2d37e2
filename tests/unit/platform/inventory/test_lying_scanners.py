"""What somebody tries who may push scans and nothing else."""

from __future__ import annotations

import pytest
from tests.support.inventory_kit import ADA, finding, fingerprint, place, report
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Fingerprint
from keylease.errors import InputInvalid
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService


class Nothing:
    async def credential_facts(self, caller: object) -> dict[str, object]:
        del caller
        return {}

    async def uses_of(self, caller: object, credential_ids: object) -> tuple[object, ...]:
        del caller, credential_ids
        return ()


@pytest.fixture
def inventory(database: Database) -> InventoryService:
    return InventoryService(database, credentials=Nothing(), uses=Nothing())  # type: ignore[arg-type]  # answers nothing


@pytest.mark.parametrize(
    "claimed",
    [
        (fingerprint(1), fingerprint(2)),  # two secrets are said to be one
        (fingerprint(1), fingerprint(9)),  # an unknown one is put to somebody's secret
        (fingerprint(7), fingerprint(8)),  # a new one that is two
    ],
)
async def test_fingerprints_of_two_secrets_make_none_of_them(
    inventory: InventoryService, clock: ManualClock, claimed: tuple[Fingerprint, ...]
) -> None:
    first = report(
        finding(fingerprint(1), at=[place("a.py")]),
        finding(fingerprint(2), at=[place("b.py")]),
        started_at=clock.now(),
    )
    await inventory.push(ADA, first)
    clock.advance(1)
    lie = report(finding(*claimed, at=[place("c.py")]), started_at=clock.now())
    with pytest.raises(InputInvalid, match="more than one secret"):
        await inventory.push(ADA, lie)
    seen = (await inventory.page(ADA, Wanted(), PageRequest())).items
    assert sorted(one.places[0].location.path for one in seen) == ["a.py", "b.py"]
    # A fingerprint key that was rotated gives a second one, and connects what is one secret.
    both = (fingerprint(1), fingerprint(5, version=2))
    await inventory.push(ADA, report(finding(*both, at=[place("a.py")]), started_at=clock.now()))
    assert len((await inventory.page(ADA, Wanted(), PageRequest())).items) == 2
