from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.eventually import eventually
from tests.support.house import House, new_house
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.errors import PermissionDenied
from keylease.platform.access import denials
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database


@pytest.fixture
async def house(database: Database, clock: ManualClock) -> House:
    return await new_house(database, clock)


async def denied(house: House, caller: Caller, times: int) -> None:
    for _ in range(times):
        with pytest.raises(PermissionDenied) as caught:
            await house.rules.decisions.require(caller, Permission.AUDIT_EXPORT)
        assert "audit:export on the organization" in caught.value.message
        assert "owner" in caught.value.advice


def of(entries: Sequence[AuditEntry], action: AuditAction) -> list[AuditEntry]:
    return [entry for entry in entries if entry.action is action]


async def test_every_denial_gets_its_entry(house: House) -> None:
    ada = await house.user("Ada", role="viewer")
    await denied(house, ada, 2)
    found = of(await house.entries(), AuditAction.ACCESS_DENIED)
    assert [entry.principal for entry in found] == [ada.name, ada.name]
    assert found[0].object == house.organization_id
    assert found[0].reason == "not_granted"
    assert found[0].details == {"permission": "audit:export"}


async def test_a_flood_is_counted(house: House, clock: ManualClock) -> None:
    ada, bob = await house.user("Ada"), await house.user("Bob")
    await denied(house, ada, denials.ENTRIES + 7)
    await denied(house, bob, 1)
    await house.rules.denials.write_counts()
    await house.rules.denials.write_counts()  # nothing is counted twice
    entries = await house.entries()
    assert len(of(entries, AuditAction.ACCESS_DENIED)) == denials.ENTRIES + 1
    (count,) = of(entries, AuditAction.ACCESS_DENIALS_COUNTED)
    assert count.object == ada.name
    assert count.details == {"count": "7"}
    clock.advance(denials.WINDOW)
    await denied(house, ada, 1)
    assert len(of(await house.entries(), AuditAction.ACCESS_DENIED)) == denials.ENTRIES + 2


async def test_what_was_counted_is_written_at_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "ENTRIES", 1)
    ada = await house.user("Ada")
    async with house.rules.denials.running():
        await denied(house, ada, 3)
    (count,) = of(await house.entries(), AuditAction.ACCESS_DENIALS_COUNTED)
    assert count.details == {"count": "2"}


async def test_counts_are_written_as_time_passes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "ENTRIES", 1)
    monkeypatch.setattr(denials, "WINDOW", 0.01)
    ada = await house.user("Ada")
    await denied(house, ada, 3)
    written: list[AuditEntry] = []
    async with house.rules.denials.running():
        for _ in range(500):
            written = of(await house.entries(), AuditAction.ACCESS_DENIALS_COUNTED)
            if written:
                break
        await eventually(lambda: written)
    assert written[0].details == {"count": "2"}


async def test_many_principals_are_counted_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "_MAXIMUM_PRINCIPALS", 1)
    monkeypatch.setattr(denials, "ENTRIES", 1)
    for name in ("Ada", "Bob", "Cem"):
        await denied(house, await house.user(name), 1)
    await house.rules.denials.write_counts()
    entries = await house.entries()
    assert len(of(entries, AuditAction.ACCESS_DENIED)) == 2
    (count,) = of(entries, AuditAction.ACCESS_DENIALS_COUNTED)
    assert count.object == house.organization_id
