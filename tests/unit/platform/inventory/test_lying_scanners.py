"""What somebody tries who may push scans and nothing else."""

from __future__ import annotations

import pytest
from tests.support.inventory_kit import ADA, finding, fingerprint, place, report
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Fingerprint
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import InputInvalid, PermissionDenied
from keylease.platform.db.callers import Caller
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


def scanner(number: int, *permissions: str) -> Caller:
    account = f"018f0000-0000-7000-8000-0000000001{number:02d}"
    return Caller(
        principal=Principal(kind=PrincipalKind.SERVICE_ACCOUNT, id=account),
        organization_id=ADA.organization_id,
        permissions=frozenset(permissions),
    )


async def test_no_scanner_says_that_what_another_one_found_is_gone(
    inventory: InventoryService, clock: ManualClock
) -> None:
    honest, liar = (scanner(number, "inventory:write") for number in (1, 2))
    found = report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now())
    source = (await inventory.push(honest, found)).source_id
    clock.advance(1)
    nothing = report(started_at=clock.now())
    with pytest.raises(PermissionDenied, match="Somebody else"):
        await inventory.push(liar, nothing)
    [seen] = (await inventory.page(ADA, Wanted(), PageRequest())).items
    assert seen.removed_at is None
    # The scanner itself says so, and a person; and a scanner that takes a retired one's place.
    assert (await inventory.push(honest, nothing)).removed == 1
    await inventory.push(scanner(3, "inventory:write", "inventory:manage"), nothing)
    await inventory.push(ADA, nothing)
    await inventory.retire_source(ADA, source)
    await inventory.push(liar, nothing)
