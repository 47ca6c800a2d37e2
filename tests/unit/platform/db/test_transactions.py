from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError
from tests.support.manual_clock import ManualClock
from tests.support.postgres import PostgresServer

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import DatabaseUnavailable, ResourceConflict, SecretMisused
from keylease.platform.db.callers import Caller, IdempotencyKey
from keylease.platform.db.database import Database
from keylease.platform.db.tables import OUTBOX

ADA = Principal(kind=PrincipalKind.USER, id="018f0000-0000-7000-8000-000000000001")


def caller(key: str = "", digest: str = "d") -> Caller:
    return Caller(
        principal=ADA,
        organization_id="018f0000-0000-7000-8000-0000000000aa",
        idempotency=IdempotencyKey(key=key, request_digest=digest) if key else None,
    )


async def entries(database: Database) -> int:
    async with database.reading() as tx:
        return int((await tx.execute(select(func.count()).select_from(OUTBOX))).scalar_one())


async def test_an_entry_commits_with_its_change(database: Database) -> None:
    async with database.transaction(caller()) as tx:
        await tx.record(AuditAction.POLICY_LOADED, "7")
    assert await entries(database) == 1


async def test_a_change_that_fails_leaves_no_entry_and_wakes_nobody(database: Database) -> None:
    woken: list[str] = []

    async def change() -> None:
        async with database.transaction(caller()) as tx:
            tx.after_commit(lambda: woken.append("woken"))
            await tx.record(AuditAction.POLICY_LOADED, "7")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change()
    assert await entries(database) == 0
    assert not woken


async def test_who_waits_is_woken_after_the_commit(database: Database) -> None:
    woken: list[str] = []
    async with database.transaction(caller()) as tx:
        tx.after_commit(lambda: woken.append("woken"))
        assert not woken
    assert woken


async def test_an_entry_that_looks_like_a_key_stops_the_change(database: Database) -> None:
    with pytest.raises(SecretMisused):
        async with database.transaction(caller()) as tx:
            await tx.record(AuditAction.POLICY_LOADED, "sk-proj-" + "aB3" * 20)
    assert await entries(database) == 0


async def test_writers_take_turns(database: Database) -> None:
    async def write() -> None:
        async with database.transaction(caller()) as tx:
            await tx.record(AuditAction.POLICY_LOADED, "7")
            await asyncio.sleep(0)

    await asyncio.gather(*(write() for _ in range(20)))
    assert await entries(database) == 20


async def test_a_create_that_is_sent_again_is_recognised(database: Database) -> None:
    async with database.transaction(caller("k1")) as tx:
        assert await tx.created_before("project") is None
        made = tx.new_id()
        await tx.created("project", made)
    async with database.transaction(caller("k1")) as tx:
        assert await tx.created_before("project") == made
    with pytest.raises(ResourceConflict):
        async with database.transaction(caller("k1", digest="other")) as tx:
            await tx.created_before("project")


async def test_a_database_that_cannot_be_reached_says_so(clock: ManualClock) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", clock=clock)
    with pytest.raises(DatabaseUnavailable):
        await nowhere.check()
    await nowhere.close()


async def test_a_lock_that_is_not_given_in_time_is_no_defect(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("writers queue inside the process")
    async with database.transaction(caller()) as holder:
        await holder.execute(text("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"))

        async def wait() -> None:
            async with database.transaction(caller()) as tx:
                await tx.execute(text("SET LOCAL lock_timeout = '50ms'"))
                await tx.record(AuditAction.POLICY_LOADED, "7")

        with pytest.raises(DatabaseUnavailable):
            await wait()


async def test_a_server_that_went_away_is_said_and_then_found_again(
    database: Database, postgres: PostgresServer
) -> None:
    if database.is_sqlite:
        pytest.skip("a file does not go away")
    await database.check()
    postgres.stop()
    try:
        with pytest.raises(DatabaseUnavailable):
            await database.check()
    finally:
        postgres.start()
    async with database.transaction(caller()) as tx:
        await tx.record(AuditAction.POLICY_LOADED, "7")
    assert await entries(database) == 1


async def test_a_reader_sees_one_state_from_its_first_statement_on(database: Database) -> None:
    async with database.reading() as reader:
        assert (await reader.execute(select(func.count()).select_from(OUTBOX))).scalar_one() == 0
        async with database.transaction(caller()) as tx:
            await tx.record(AuditAction.POLICY_LOADED, "7")
        assert (await reader.execute(select(func.count()).select_from(OUTBOX))).scalar_one() == 0
    assert await entries(database) == 1


async def test_who_reads_changes_nothing(database: Database) -> None:
    if database.is_sqlite:
        return  # readers are told apart by what they ask for; nothing there writes
    with pytest.raises(DBAPIError):
        async with database.reading() as reader:
            await reader.execute(delete(OUTBOX))


async def test_who_reads_nothing_leaves_no_transaction_behind(database: Database) -> None:
    for _ in range(2):  # the pool gives the same connection again
        async with database.reading():
            pass
        async with database.transaction(caller()) as tx:
            await tx.record(AuditAction.POLICY_LOADED, "7")
    assert await entries(database) == 2


async def test_many_rows_and_what_a_statement_changed(database: Database) -> None:
    async with database.transaction(caller()) as tx:
        for number in range(3):
            await tx.record(AuditAction.POLICY_LOADED, str(number))
        changed = await tx.execute(update(OUTBOX).values(organization_id=ADA.id))
        assert changed.rowcount == 3
        names = await tx.execute(delete(OUTBOX).returning(OUTBOX.c.organization_id))
        assert names.scalars().all() == [ADA.id] * 3
    assert await entries(database) == 0
