"""How long an authorisation takes, in an organization with ten thousand grants.

    python bench/access.py [GRANTS]

A real database (SQLite in a temporary directory) with users, nested groups, projects and grants of
roles and single permissions, some over. Two numbers are promised: uncached under 1 ms and cached
under 50 microseconds at the median. The others say what they do not cover: the version is read
again every 100 ms, and after a change the snapshot catches up first.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import insert

from keylease.contracts.principals import Principal
from keylease.platform.access import repository
from keylease.platform.access.decisions import Question, decide
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.roles import BUILT_IN
from keylease.platform.access.rules import AccessRules, access_rules
from keylease.platform.access.snapshot import Snapshot
from keylease.platform.access.tables import GRANTS
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.identity.directory.tables import GROUP_MEMBERS, GROUPS, PROJECTS, USERS
from keylease.primitives.clock import SystemClock
from keylease.primitives.identifiers import uuid7

CLOCK = SystemClock()
UNCACHED_MICROSECONDS = 1000.0
CACHED_MICROSECONDS = 50.0


def identifiers(count: int) -> list[str]:
    return [uuid7(CLOCK) for _ in range(count)]


async def fill(database: Database, organization_id: str, grants: int) -> list[str]:
    """Write the organization; gives its users."""
    choose = random.Random(1)  # noqa: S311 - the same organization each time
    users, groups, projects = identifiers(grants // 10), identifiers(200), identifiers(100)
    group_names = [f"group:{group}" for group in groups]
    holders = [*(f"user:{user}" for user in users), *group_names]
    common = {"organization_id": organization_id, "version": 1}
    named = common | {"description": "", "created_at": 0}
    now = CLOCK.now()
    members = {(choose.choice(groups), f"user:{user}") for user in users for _ in range(3)} | {
        (groups[number // 3], group_names[number]) for number in range(3, 200)
    }

    def grant() -> dict[str, object]:
        single = choose.random() < 0.2
        return common | {
            "id": uuid7(CLOCK),
            "holder": choose.choice(holders),
            "role_id": "" if single else choose.choice(list(BUILT_IN)),
            "permission": choose.choice(list(Permission)).value if single else "",
            "project_id": choose.choice([*projects, "", ""]),
            "object": f"credential/{uuid7(CLOCK)}" if choose.random() < 0.3 else "",
            "starts_at": 0,
            "ends_at": now - 1 if choose.random() < 0.1 else None,
            "given_by": "",
            "given_at": 0,
            "reason": "",
            "revoked_by": "",
            "access_version": 1,
        }

    async with database.transaction(platform_itself(organization_id)) as tx:
        await tx.execute(
            insert(USERS),
            [
                common | {"id": user, "state": "active", "created_at": 0, "state_since": 0}
                for user in users
            ],
        )
        await tx.execute(insert(GROUPS), [named | {"id": g, "name": g} for g in groups])
        await tx.execute(insert(PROJECTS), [named | {"id": p, "name": p} for p in projects])
        await tx.execute(
            insert(GROUP_MEMBERS),
            [
                {
                    "organization_id": organization_id,
                    "group_id": group,
                    "member": member,
                    "added_at": 0,
                    "added_by": "",
                }
                for group, member in sorted(members)
            ],
        )
        await tx.execute(insert(GRANTS), [grant() for _ in range(grants)])
        await repository.count_up(tx, organization_id, directory=True)
    return users


def p50(durations: list[float]) -> float:
    return statistics.median(durations) * 1e6


def timed(calls: list[Callable[[], object]]) -> float:
    durations = []
    for call in calls:
        begun = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begun)
    return p50(durations)


async def timed_async(calls: list[Callable[[], Awaitable[object]]]) -> float:
    durations = []
    for call in calls:
        begun = time.perf_counter()
        await call()
        durations.append(time.perf_counter() - begun)
    return p50(durations)


def questions(snapshot: Snapshot, users: list[str], count: int) -> list[Question]:
    choose = random.Random(2)  # noqa: S311 - the same questions each time
    projects = [*sorted(snapshot.projects), ""]
    return [
        Question(
            principal=f"user:{choose.choice(users)}",
            permission=choose.choice(list(Permission)),
            place=Place(project_id=choose.choice(projects)),
        )
        for _ in range(count)
    ]


async def change(database: Database, rules: AccessRules, organization_id: str, user: str) -> None:
    caller = platform_itself(organization_id)
    async with database.transaction(caller) as tx:
        await rules.authority.give_role(tx, f"user:{user}", "viewer", "")


async def measure(database: Database, grants: int) -> list[tuple[str, float, float | None]]:
    organization_id = uuid7(CLOCK)
    users = await fill(database, organization_id, grants)
    rules = access_rules(database, DirectoryFacts(), CLOCK)
    decisions = rules.decisions
    begun = time.perf_counter()
    async with database.reading() as tx:
        snapshot = await repository.read_snapshot(tx, organization_id, DirectoryFacts())
    read_all = (time.perf_counter() - begun) * 1e6
    asked = questions(snapshot, users, 5000)
    now = CLOCK.now()
    uncached = timed([lambda q=q: decide(snapshot, q, now=now) for q in asked])

    def ask(question: Question) -> Callable[[], Awaitable[object]]:
        caller = Caller(
            principal=Principal.parse(question.principal), organization_id=organization_id
        )
        project_id = question.place.project_id
        return lambda: decisions.decision(caller, question.permission, project_id=project_id)

    calls = [ask(question) for question in asked]
    await timed_async(calls)  # every principal is known now
    cached = await timed_async(calls)
    versions = []
    after_changes = []
    for call in calls[:50]:
        await asyncio.sleep(0.11)
        versions.append(await timed_async([call]))
        await change(database, rules, organization_id, users[0])
        after_changes.append(await timed_async([call]))
    return [
        ("uncached: groups resolved, grants searched", uncached, UNCACHED_MICROSECONDS),
        ("cached: as a route asks", cached, CACHED_MICROSECONDS),
        ("... when the version is read again (every 100 ms)", statistics.median(versions), None),
        ("... first one after a grant was given", statistics.median(after_changes), None),
        ("reading everything, once per process", read_all, None),
    ]


async def main() -> int:
    grants = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "bench.sqlite"), clock=CLOCK)
        await migrate(database)
        rows = await measure(database, grants)
        await database.close()
    print(f"Authorisation with {grants:,} grants, median in microseconds\n")
    print(f"{'':52}{'p50':>12}{'promised':>12}")
    missed = False
    for name, value, promised in rows:
        bound = "" if promised is None else f"< {promised:.0f}"
        missed = missed or (promised is not None and value >= promised)
        print(f"{name:52}{value:12.1f}{bound:>12}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
