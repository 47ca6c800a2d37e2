"""Random sequences of reports against a slow model: first seen, last seen, removed at."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests.support.emptied import EmptiedDatabase
from tests.support.inventory_kit import ADA, Declared, finding, fingerprint, place, report
from tests.support.manual_clock import ManualClock

from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.inventory.repository import Wanted, fingerprints_of
from keylease.platform.inventory.service import InventoryService


class Sent(NamedTuple):
    """A report: what each secret (by its fingerprints) was met in."""

    host: str
    at: int
    complete: bool
    found: dict[tuple[int, ...], tuple[str, ...]]


class Life(NamedTuple):
    first: int
    last: int
    removed: int | None


# Each secret has an old and a new fingerprint; while the key is rotated, reports carry both.
KEYS = st.sampled_from([(1,), (11,), (1, 11), (2,), (12,), (2, 12), (3,)])
PLACES = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(tuple)
SENT = st.builds(
    Sent,
    host=st.sampled_from(["laptop", "runner"]),
    at=st.integers(min_value=1, max_value=6),
    complete=st.booleans(),
    found=st.dictionaries(KEYS, PLACES, max_size=3),
)


def components(sent: Sequence[Sent]) -> dict[int, int]:
    """Which fingerprints are one secret, when everything that was ever said is known."""
    named = {print_ for one in sent for key in one.found for print_ in key}
    root = {print_: print_ for print_ in named}
    for one in sent:
        for key in one.found:
            low = min(root[print_] for print_ in key)
            joined = {root[print_] for print_ in key}
            root = {print_: low if at in joined else at for print_, at in root.items()}
    return root


def expected(sent: Sequence[Sent]) -> dict[tuple[str, str, int], Life]:
    """By host, place and secret. Slow and plain: what docs/design/inventory.md says."""
    root = components(sent)
    lives: dict[tuple[str, str, int], Life] = {}
    newest: dict[str, int] = {}
    newest_complete: dict[str, int] = {}
    for one in sent:
        met = {(one.host, at, root[key[0]]) for key, places in one.found.items() for at in places}
        for spot in met:
            life = lives.get(spot)
            overtaken = newest_complete.get(one.host, 0) > one.at
            gone = newest_complete[one.host] if overtaken else None
            if life is None:
                lives[spot] = Life(one.at, one.at, gone)
                continue
            newer = one.at >= life.last
            lives[spot] = Life(
                min(one.at, life.first),
                max(one.at, life.last),
                gone if newer and (life.removed or 0) <= one.at else life.removed,
            )
        current = one.at >= newest.get(one.host, 0)
        if one.complete and current:
            for spot, life in lives.items():
                gone = spot[0] == one.host and spot not in met and life.removed is None
                if gone and life.last < one.at:
                    lives[spot] = life._replace(removed=one.at)
            newest_complete[one.host] = one.at
        newest[one.host] = max(one.at, newest.get(one.host, 0))
    return lives


async def stored(url: str, sent: Sequence[Sent]) -> dict[tuple[str, str, int], Life]:
    clock = ManualClock()
    start = clock.now() - 1000
    database = Database(url, clock=clock)
    inventory = InventoryService(database, credentials=Declared(), uses=Declared())
    try:
        for one in sent:
            findings = [
                finding(
                    *(fingerprint(number, version=1 + number // 10) for number in key),
                    at=[place(at) for at in places],
                )
                for key, places in one.found.items()
            ]
            await inventory.push(
                ADA,
                report(*findings, started_at=start + one.at, host=one.host, complete=one.complete),
            )
        seen = await inventory.all(ADA, Wanted())
        root = components(sent)
        lives: dict[tuple[str, str, int], Life] = {}
        for secret in seen:
            ends = [spot.removed_at for spot in secret.places]
            gone = [end for end in ends if end is not None]
            assert secret.removed_at == (max(gone) if len(gone) == len(ends) else None)
            assert secret.first_seen == min(spot.first_seen for spot in secret.places)
            assert secret.last_seen == max(spot.last_seen for spot in secret.places)
            async with database.reading(ADA) as tx:
                prints = await fingerprints_of(tx, secret.id)
            (number,) = {root[int(text.rpartition(".")[2], 16)] for text in prints}
            for spot in secret.places:
                at = (spot.source.partition(":")[0], spot.location.path, number)
                assert at not in lives, "one place twice"
                removed = None if spot.removed_at is None else spot.removed_at - start
                lives[at] = Life(spot.first_seen - start, spot.last_seen - start, removed)
        return lives
    finally:
        await database.close()


@settings(
    max_examples=30,
    deadline=None,
    # A failing case is short as it is; making it shorter takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.lists(SENT, min_size=1, max_size=7))
@example(
    sent=[
        Sent(host="runner", at=3, complete=True, found={(1,): ("b",)}),
        Sent(host="runner", at=2, complete=False, found={(1,): ("a",)}),
        Sent(
            host="runner",
            at=2,
            complete=True,
            found={(11,): ("b", "c"), (3,): ("c",), (2,): ("b",)},
        ),
        Sent(host="runner", at=5, complete=True, found={(2, 12): ("c", "b")}),
        Sent(host="runner", at=3, complete=True, found={(11,): ("b", "a"), (1, 11): ("a", "c")}),
    ]
)
def test_every_place_has_the_life_that_the_reports_tell(
    migrated_sqlite: Path, sent: list[Sent]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "platform.sqlite"
        shutil.copyfile(migrated_sqlite, file)
        assert asyncio.run(stored(sqlite_url(file), sent)) == expected(sent)


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.lists(SENT, min_size=1, max_size=7))
def test_every_place_has_that_life_on_postgresql(
    migrated_postgres: EmptiedDatabase, sent: list[Sent]
) -> None:
    assert asyncio.run(stored(migrated_postgres.for_next(), sent)) == expected(sent)
