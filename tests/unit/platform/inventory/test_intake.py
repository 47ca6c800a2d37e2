from __future__ import annotations

import msgspec
import pytest
from tests.support.inventory_kit import (
    ADA,
    STRANGER,
    Declared,
    finding,
    fingerprint,
    place,
    report,
)
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Belonging, Liveness, Mention, PlaceKind, ScanReport
from keylease.errors import ResourceNotFound, SecretInRequest
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.intake import origin_of
from keylease.platform.inventory.records import Sighting
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService


@pytest.fixture
def inventory(database: Database) -> InventoryService:
    declared = Declared()
    return InventoryService(database, credentials=declared, uses=declared)


async def everything(inventory: InventoryService) -> tuple[Sighting, ...]:
    return await inventory.all(ADA, Wanted())


async def test_one_secret_in_three_checkouts_is_one_secret(
    inventory: InventoryService, clock: ManualClock
) -> None:
    for host in ("a", "b", "c"):
        key = finding(fingerprint(1), at=[place(f"/{host}/app/.env")])
        await inventory.push(ADA, report(key, started_at=clock.now(), host=host))
    (only,) = await everything(inventory)
    assert {one.source for one in only.places} == {"a:/src/app", "b:/src/app", "c:/src/app"}


async def test_the_same_report_again_changes_nothing(
    inventory: InventoryService, clock: ManualClock
) -> None:
    sent = report(finding(fingerprint(1), at=[place("a.py")]), started_at=clock.now())
    first = await inventory.push(ADA, sent)
    again = await inventory.push(ADA, sent)
    assert (first.new_secrets, first.new_locations) == (1, 1)
    assert (again.new_secrets, again.new_locations, again.removed) == (0, 0, 0)
    assert len(await everything(inventory)) == 1


async def test_what_a_complete_scan_does_not_meet_is_removed_and_not_forgotten(
    inventory: InventoryService, clock: ManualClock
) -> None:
    start = clock.now()
    clock.advance(100)
    key = finding(fingerprint(1), at=[place("a.py"), place("b.py")])
    await inventory.push(ADA, report(key, started_at=start))
    await inventory.push(
        ADA, report(finding(fingerprint(1), at=[place("b.py")]), started_at=start + 10)
    )
    (seen,) = await everything(inventory)
    gone = {one.location.path: one.removed_at for one in seen.places}
    assert gone == {"a.py": start + 10, "b.py": None}
    assert seen.removed_at is None
    await inventory.push(ADA, report(started_at=start + 20))
    (seen,) = await everything(inventory)
    assert seen.removed_at == start + 20
    assert [one.first_seen for one in seen.places] == [start, start]


async def test_a_place_that_comes_back_keeps_its_first_seen(
    inventory: InventoryService, clock: ManualClock
) -> None:
    start = clock.now()
    clock.advance(100)
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=start))
    await inventory.push(ADA, report(started_at=start + 10))
    await inventory.push(ADA, report(key, started_at=start + 20))
    (seen,) = await everything(inventory)
    assert (seen.places[0].first_seen, seen.places[0].removed_at) == (start, None)
    assert seen.removed_at is None


async def test_an_incomplete_or_older_scan_removes_nothing(
    inventory: InventoryService, clock: ManualClock
) -> None:
    start = clock.now()
    clock.advance(100)
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=start + 10))
    incomplete = await inventory.push(ADA, report(started_at=start + 20, complete=False))
    older = await inventory.push(ADA, report(started_at=start))
    assert (incomplete.removed, older.removed) == (0, 0)
    (seen,) = await everything(inventory)
    assert seen.removed_at is None


async def test_a_scan_of_another_source_removes_nothing(
    inventory: InventoryService, clock: ManualClock
) -> None:
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=clock.now()))
    await inventory.push(ADA, report(started_at=clock.now(), root="/src/other"))
    assert (await everything(inventory))[0].removed_at is None


async def test_a_rotated_fingerprint_key_joins_what_was_two(
    inventory: InventoryService, clock: ManualClock
) -> None:
    old, new = fingerprint(1), fingerprint(9, version=2)
    await inventory.push(
        ADA, report(finding(old, at=[place("a.py")]), started_at=clock.now(), host="a")
    )
    await inventory.push(
        ADA, report(finding(new, at=[place("b.py")]), started_at=clock.now(), host="b")
    )
    assert len(await everything(inventory)) == 2
    both = finding(new, old, at=[place("c.py")])
    taken = await inventory.push(ADA, report(both, started_at=clock.now(), host="c"))
    assert taken.merged == 1
    (only,) = await everything(inventory)
    assert {one.location.path for one in only.places} == {"a.py", "b.py", "c.py"}


async def test_without_a_fingerprint_only_the_same_place_is_the_same_secret(
    inventory: InventoryService, clock: ManualClock
) -> None:
    weak = finding(at=[place("a.py")])
    await inventory.push(ADA, report(weak, started_at=clock.now()))
    await inventory.push(ADA, report(weak, started_at=clock.now()))
    assert len(await everything(inventory)) == 1
    await inventory.push(ADA, report(weak, started_at=clock.now(), root="/src/other"))
    assert len(await everything(inventory)) == 2


async def test_a_report_that_holds_a_key_is_refused_whole(
    inventory: InventoryService, clock: ManualClock
) -> None:
    leaky = finding(fingerprint(1), at=[place("sk-proj-" + "aB3" * 20)])
    with pytest.raises(SecretInRequest):
        await inventory.push(ADA, report(leaky, started_at=clock.now()))
    assert await everything(inventory) == ()


async def test_a_scanner_cannot_see_into_the_future(
    inventory: InventoryService, clock: ManualClock
) -> None:
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=clock.now() + 10**12))
    assert (await everything(inventory))[0].last_seen == clock.now()


async def test_another_organization_sees_and_matches_nothing(
    inventory: InventoryService, clock: ManualClock
) -> None:
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=clock.now()))
    (ours,) = await everything(inventory)
    await inventory.push(STRANGER, report(key, started_at=clock.now()))
    assert len(await everything(inventory)) == 1
    (theirs,) = await inventory.all(STRANGER, Wanted())
    assert theirs.id != ours.id
    with pytest.raises(ResourceNotFound):
        await inventory.one(STRANGER, ours.id)


async def test_a_name_without_a_value_is_kept(
    inventory: InventoryService, clock: ManualClock
) -> None:
    mention = Mention(
        name="OPENAI_API_KEY",
        provider="openai",
        reason="GitHub Actions secret",
        location=place(".github/workflows/ci.yml", kind=PlaceKind.CI_CONFIGURATION),
    )
    await inventory.push(ADA, report(started_at=clock.now(), mentions=[mention]))
    page = await inventory.mentions(ADA, PageRequest())
    assert [one.location.name for one in page.items] == ["OPENAI_API_KEY"]
    assert await everything(inventory) == ()


async def test_pages_meet_every_secret_once(
    inventory: InventoryService, clock: ManualClock
) -> None:
    for number in range(7):
        clock.advance(1)
        key = finding(fingerprint(number), at=[place(f"{number}.py")])
        await inventory.push(ADA, report(key, started_at=clock.now(), root=f"/{number}"))
    met: list[str] = []
    cursor = ""
    while True:
        page = await inventory.page(ADA, Wanted(), PageRequest(limit=3, cursor=cursor))
        met += [one.places[0].location.path for one in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert sorted(met) == [f"{number}.py" for number in range(7)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(text="A.P"), True),
        (Wanted(text="%"), False),
        (Wanted(provider="openai"), True),
        (Wanted(provider="mistral"), False),
        (Wanted(present=True), True),
        (Wanted(present=False), False),
    ],
)
async def test_the_search_finds_what_it_should(
    inventory: InventoryService,
    clock: ManualClock,
    wanted: Wanted,
    found: bool,  # noqa: FBT001 - a parameter
) -> None:
    key = finding(fingerprint(1), at=[place("a.py")])
    await inventory.push(ADA, report(key, started_at=clock.now()))
    assert bool(await inventory.all(ADA, wanted)) is found


async def test_only_the_last_part_of_a_scan_removes_and_only_what_no_part_met(
    inventory: InventoryService, clock: ManualClock
) -> None:
    start = clock.now()
    clock.advance(100)
    keys = [finding(fingerprint(n), at=[place(f"{n}.py")]) for n in range(3)]
    await inventory.push(ADA, report(*keys, started_at=start))
    first = await inventory.push(ADA, report(keys[0], started_at=start + 10), more=True)
    assert (first.removed, first.seen_at) == (0, start + 10)
    last = await inventory.push(ADA, report(keys[1], started_at=first.seen_at))
    assert last.removed == 1
    gone = {one.places[0].location.path for one in await everything(inventory) if one.removed_at}
    assert gone == {"2.py"}


async def test_the_parts_of_a_scanner_whose_clock_is_ahead_belong_together(
    inventory: InventoryService, clock: ManualClock
) -> None:
    keys = [finding(fingerprint(n), at=[place(f"{n}.py")]) for n in range(2)]
    ahead = report(keys[0], started_at=clock.now() + 10**9)
    first = await inventory.push(ADA, ahead, more=True)
    clock.advance(5)
    last = await inventory.push(ADA, report(keys[1], started_at=first.seen_at))
    assert (first.seen_at, last.removed) == (clock.now() - 5_000_000, 0)


async def test_a_scan_without_history_removes_nothing_that_lies_in_history_only(
    inventory: InventoryService, clock: ManualClock
) -> None:
    start = clock.now()
    clock.advance(100)
    past = finding(fingerprint(1), at=[place("old.py", in_history_only=True)])
    now = finding(fingerprint(2), at=[place("new.py")])
    with_history = msgspec.structs.replace(report(past, now, started_at=start), history=True)
    await inventory.push(ADA, with_history)
    assert (await inventory.push(ADA, report(started_at=start + 10))).removed == 1
    emptied = msgspec.structs.replace(report(started_at=start + 20), history=True)
    assert (await inventory.push(ADA, emptied)).removed == 1


async def test_directories_that_are_called_the_same_are_different_sources(
    inventory: InventoryService, clock: ManualClock
) -> None:
    for number, folder in enumerate(("/a", "/b")):
        key = finding(fingerprint(number), at=[place(f"{folder}/.env")])
        sent = report(key, started_at=clock.now() + number, root=".")
        await inventory.push(ADA, msgspec.structs.replace(sent, covers=(folder,)))
    assert all(one.removed_at is None for one in await everything(inventory))
    assert len(await inventory.sources(ADA)) == 2


def test_sources_with_long_names_stay_apart() -> None:
    names = {
        origin_of(
            msgspec.structs.replace(report(started_at=0), covers=("/x" * 400, str(number)))
        ).name
        for number in range(2)
    }
    assert len(names) == 2
    assert all(len(name) <= 500 for name in names)


async def test_what_a_provider_said_is_kept_and_an_older_answer_does_not_undo_it(
    inventory: InventoryService, clock: ManualClock
) -> None:
    def asked(liveness: Liveness, at: int) -> ScanReport:
        key = finding(fingerprint(1), at=[place("a.py")])
        said = msgspec.structs.replace(
            key, liveness=liveness, liveness_at=at, belongs_to=Belonging(account="svc-1")
        )
        return report(said, started_at=at)

    now = clock.now()
    clock.advance(10)
    await inventory.push(ADA, asked(Liveness.DEAD, now + 5))
    await inventory.push(ADA, asked(Liveness.LIVE, now + 1))
    (seen,) = await everything(inventory)
    assert (seen.live, seen.live_checked_at) == (False, now + 5)
    assert "svc-1" in seen.belongs_to
    await inventory.push(ADA, asked(Liveness.UNKNOWN, now + 9))
    assert (await everything(inventory))[0].live is False
