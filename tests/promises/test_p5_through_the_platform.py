"""P5 through the platform: kills, full disks, keys in the wrong place, gateways as witnesses."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update
from tests.support.audit_kit import ADA, ORG, Rig, gateway_entry, logged, record
from tests.support.canaries import Family, plant, search_files
from tests.support.databases import (
    clock,
    database,
    everything_in,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
    postgres,
)
from tests.support.log_kit import signer
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import (
    AuditLogUnavailable,
    DatabaseUnavailable,
    NoteInvalid,
    ResourceNotFound,
    SecretMisused,
    WitnessRefused,
)
from keylease.platform.audit.interfaces import Audit, make_audit
from keylease.platform.audit.tables import AUDIT_CHECKPOINTS, AUDIT_LOGS
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database, sqlite_url
from keylease.primitives.transparency.directory import WITNESSED
from keylease.primitives.transparency.notes import KeyKind, NoteKey
from keylease.primitives.transparency.witness import Witness

__all__ = ["clock", "database", "migrated_postgres", "migrated_sqlite", "migrated_url", "postgres"]
GATEWAY = "018f0000-0000-7000-8000-00000000000a"
AS_GATEWAY = Caller(principal=Principal(PrincipalKind.GATEWAY, GATEWAY), organization_id=ORG)


@pytest.fixture
def rig(database: Database, clock: ManualClock, tmp_path: Path) -> Rig:
    return Rig(database, tmp_path / "audit", clock)


@pytest.fixture
def audit(rig: Rig) -> Audit:
    return make_audit(rig.database, directory=rig.directory, clock=rig.clock)


async def test_a_platform_killed_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random()  # noqa: S311 - moments of death
    committed: list[str] = []
    for life in range(4):
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs while it writes
            [sys.executable, "-m", "tests.support.audit_writer", str(tmp_path), f"life{life}"],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        head = b"".join(process.stdout.readline() for _ in range(chance.randint(20, 200)))
        process.kill()
        committed += (head + process.stdout.read()).decode().split("\n")[:-1]  # whole lines
        process.stdout.close()
        process.wait()
    database = Database(sqlite_url(tmp_path / "platform.sqlite"), clock=ManualClock())
    rig = Rig(database, tmp_path / "audit", ManualClock())
    await rig.sequencer.drain()
    rig.verify()
    subjects = [item.object for item in logged(rig) if item.action == AuditAction.POLICY_LOADED]
    assert len(subjects) == len(set(subjects))
    assert set(committed) <= set(subjects)
    assert len(set(subjects) - set(committed)) <= 4  # committed, and killed before it was said
    for life in range(4):
        numbers = [int(s.split("-")[1]) for s in subjects if s.startswith(f"life{life}-")]
        assert numbers == list(range(len(numbers)))
    await database.close()


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
async def test_on_a_full_disk_a_change_that_cannot_be_recorded_does_not_happen(rig: Rig) -> None:
    await record(rig.database, "before")
    async with rig.database.transaction() as tx:
        await tx.execute(text("CREATE TABLE things (name TEXT)"))
    # SQLite then answers as on a full disk; one connection, because the bound is a connection's
    async with rig.database.engine.connect() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
    await rig.database.engine.dispose()

    async def change(name: str) -> None:
        caller = Caller(principal=ADA, organization_id=ORG)
        async with rig.database.transaction(caller) as tx:
            await tx.execute(text(f"PRAGMA max_page_count = {pages + 1}"))
            await tx.execute(text("INSERT INTO things VALUES (:name)"), [{"name": name}])
            for _ in range(200):
                await tx.record(AuditAction.POLICY_LOADED, name, details={"filler": "x y " * 400})

    with pytest.raises(DatabaseUnavailable):
        await change("refused")
    await rig.database.engine.dispose()
    async with rig.database.reading() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM things"))).scalar_one() == 0
    await rig.sequencer.drain()
    assert [item.object for item in logged(rig)] == ["before"]
    rig.verify()


async def test_when_the_log_cannot_be_written_nothing_is_changed(rig: Rig) -> None:
    """The log's folder is taken away: another way for a disk to go."""
    await record(rig.database, "before")
    await rig.sequencer.drain()
    rig.database.before_recording = rig.sequencer.check
    await record(rig.database, "waits")
    shutil.move(rig.directory / "logs", rig.directory / "away")
    assert await rig.sequencer.round() == 0
    with pytest.raises(AuditLogUnavailable):
        await record(rig.database, "refused")
    shutil.rmtree(rig.directory / "logs", ignore_errors=True)
    shutil.move(rig.directory / "away", rig.directory / "logs")
    rig.clock.advance(2)
    await rig.sequencer.drain()
    await record(rig.database, "after")
    await rig.sequencer.drain()
    assert [item.object for item in logged(rig)] == ["before", "waits", "after"]
    rig.verify()


async def test_no_key_is_found_in_the_log_or_beside_it(
    rig: Rig, audit: Audit, tmp_path: Path
) -> None:
    family = Family()
    # In the form of a real key, so that the detectors know it; the core is what is searched for.
    key = "sk-proj-" + family.core.decode() * 3
    caller = Caller(principal=ADA, organization_id=ORG)
    for place in ("subject", "reason", "details"):
        with pytest.raises(SecretMisused):
            async with rig.database.transaction(caller) as tx:
                await tx.record(
                    AuditAction.POLICY_LOADED,
                    key if place == "subject" else "x",
                    reason=key if place == "reason" else "",
                    details={"note": f"it is {key}"} if place == "details" else {},
                )
    raw = gateway_entry(1)
    for count, hidden in enumerate(
        (
            raw.replace(b"lease-1", key.encode()),
            gateway_entry(2).replace(b'"reason":""', b'"reason":"' + key.encode() + b'"'),
            b"garbage with " + key.encode(),
        ),
        start=1,
    ):
        await audit.intake.accept(AS_GATEWAY, GATEWAY, [hidden])
        assert count
    await audit.sequencer.drain()
    assert len(logged(rig)) >= 3
    assert family.core not in await everything_in(rig.database)
    await rig.database.close()
    assert search_files(tmp_path, secrets=[family.core]) == []
    (tmp_path / "control").mkdir()
    planted = plant(tmp_path / "control", family.core)
    found = search_files(tmp_path, secrets=[family.core])
    assert len({finding.place.split(" ")[0] for finding in found}) >= len(planted)


async def test_a_gateway_witnesses_and_finds_a_rollback(
    rig: Rig, audit: Audit, tmp_path: Path
) -> None:
    witness = Witness(
        tmp_path / "witness",
        signer(f"keylease/gateway/{GATEWAY}", KeyKind.COSIGNER),
        clock=rig.clock,
    )

    async def witness_once(*, independent: bool = True) -> int:
        size = witness.size(f"keylease/audit/{ORG}")
        offer = await audit.witnessing.offer(ORG, witnessed=size)
        assert offer is not None
        witness.introduce(NoteKey.parse(offer.log_key), offer.rotations)
        signature = witness.cosign(offer.checkpoint, old_size=offer.old_size, proof=offer.proof)
        await audit.witnessing.accept(
            AS_GATEWAY,
            GATEWAY,
            size=offer.size,
            line=signature.line,
            key=str(witness.key),
            independent=independent,
        )
        return offer.size

    assert await audit.witnessing.offer(ORG, witnessed=0) is None
    for number in range(300):
        async with rig.database.transaction(Caller(principal=ADA, organization_id=ORG)) as tx:
            await tx.record(AuditAction.POLICY_LOADED, str(number))
        if number in {5, 100}:
            await audit.sequencer.drain()
            await witness_once()
    await audit.sequencer.drain()
    shutil.copytree(rig.directory, tmp_path / "earlier")
    await record(rig.database, "last")
    await audit.sequencer.drain()
    await audit.sequencer.rotate_key(Caller(principal=ADA, organization_id=ORG))
    seen = await witness_once(independent=False)
    [state] = await audit.witnessing.state(ORG)
    assert (state.size, state.independent, state.behind) == (seen, False, 0)
    kept = witness.note(f"keylease/audit/{ORG}")
    assert kept is not None
    assert (rig.files.reader(ORG).read(WITNESSED) or b"") == kept
    report = rig.verify(outside=(kept,), witness_keys=(witness.key,))
    assert report.outside_size == seen
    assert report.cosigned

    shutil.rmtree(rig.directory)  # files and database are put back to an earlier state together
    shutil.copytree(tmp_path / "earlier", rig.directory)
    earlier = rig.files.checkpoint(ORG)
    assert earlier is not None
    async with rig.database.transaction() as tx:
        await tx.execute(update(AUDIT_LOGS).values(size=earlier[0].size, root=earlier[0].root))
        await tx.execute(
            delete(AUDIT_CHECKPOINTS).where(AUDIT_CHECKPOINTS.c.size > earlier[0].size)
        )
    offer = await audit.witnessing.offer(ORG, witnessed=seen)
    assert offer is not None
    with pytest.raises(WitnessRefused) as refused:
        witness.cosign(offer.checkpoint, old_size=offer.old_size, proof=offer.proof)
    assert refused.value.reason == "rollback"


async def test_a_cosignature_that_does_not_hold_is_refused_and_written_down(
    rig: Rig, audit: Audit
) -> None:
    await record(rig.database, "a")
    await audit.sequencer.drain()
    key = signer("keylease/gateway/x", KeyKind.COSIGNER)
    line = key.sign("something else\n", at=1).line
    with pytest.raises(NoteInvalid):
        await audit.witnessing.accept(
            AS_GATEWAY, GATEWAY, size=1, line=line, key=str(key.public), independent=True
        )
    other = signer("keylease/gateway/x", KeyKind.COSIGNER)
    with pytest.raises(NoteInvalid):
        await audit.witnessing.accept(
            AS_GATEWAY, GATEWAY, size=1, line=line, key=str(other.public), independent=True
        )
    with pytest.raises(NoteInvalid):
        await audit.witnessing.accept(
            AS_GATEWAY, GATEWAY, size=1, line=line, key=str(signer().public), independent=True
        )
    with pytest.raises(ResourceNotFound):
        await audit.witnessing.accept(
            AS_GATEWAY, GATEWAY, size=99, line=line, key=str(key.public), independent=True
        )
    await audit.sequencer.drain()
    actions = [item.action for item in logged(rig)]
    assert actions.count(AuditAction.AUDIT_WITNESS_REFUSED) == 2
    assert await audit.witnessing.state(ORG) == []


async def test_a_checkpoint_is_signed_while_entries_come(rig: Rig) -> None:
    """Every entry is covered by a signed checkpoint without anybody asking for it."""
    async with rig.sequencer.running():
        for number in range(30):
            await record(rig.database, str(number))
            if number % 10 == 9:
                async with asyncio.timeout(30), rig.sequencer.grown:
                    await rig.sequencer.grown.wait_for(partial(_reached, rig, number + 1))
    assert rig.verify().size == 30


def _reached(rig: Rig, size: int) -> bool:
    return rig.size() >= size
